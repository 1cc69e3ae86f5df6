"""The keys of a video and of the objects made from it. Standard library only.

`pipeline/keys.py` computes the same for clients; tests keep the two in step.
"""

from __future__ import annotations

import re

from video_errors import KeyTooLong, NotAVideo

# What ffmpeg reads without opening other files (ffmpeg.py lists the containers), in any case.
# fmt: off
VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m2v", ".vob", ".ts",
    ".mts", ".m2ts", ".3gp", ".3g2", ".wmv", ".asf", ".flv",
    ".f4v", ".ogv", ".ogg", ".mxf", ".h264", ".264", ".h265", ".265", ".hevc",
)
# Objects with these suffixes, in any case, are plainly no videos: they are skipped with a log line.
NOT_VIDEOS = (
    # images
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".heic",
    ".heif", ".avif", ".svg", ".ico", ".psd", ".raw",
    # text and data
    ".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".html", ".htm", ".md", ".log", ".yaml",
    ".yml", ".ini", ".srt", ".vtt", ".ass", ".py", ".sh",
    ".parquet", ".sql", ".db", ".ds_store",
    # archives
    ".zip", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".tar", ".zst",
    # documents
    ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".ppt", ".pptx", ".odt", ".ods", ".odp", ".rtf",
    ".pages", ".key", ".numbers",
    # sound
    ".mp3", ".m4a", ".aac", ".wav", ".flac", ".oga", ".opus", ".wma", ".aif", ".aiff", ".mid",
)
# fmt: on
MAX_KEY_BYTES = 1024  # S3's limit
# The ending of what the recognizer keeps beside a frame, with KEEP_EMBEDDINGS=1.
EMBEDDINGS_ENDING = ".faces.json"
# The longest ending of an object made from a video, for up to 100 frames.
LONGEST_ENDING = f"/output-99.jpg{EMBEDDINGS_ENDING}"


def skip_reason(key: str) -> str | None:
    """Why the object `key` is plainly no video; None if it may be one."""
    if key.endswith("/"):
        return "a folder"
    suffix = _suffix(key)
    return f"its name ends with {suffix}" if suffix in NOT_VIDEOS else None


def check(key: str) -> None:
    """Raise NotAVideo unless `key` has a suffix of a video, KeyTooLong if S3 has no room for its
    objects.
    """
    suffix = _suffix(key)
    if suffix not in VIDEO_SUFFIXES:
        ending = f"ends with {suffix}" if suffix else "has no suffix"
        raise NotAVideo(
            f"its name {ending}, so it is not taken for a video. If it is one, upload it under a "
            f"name that ends with one of {' '.join(VIDEO_SUFFIXES)}."
        )
    length = len((stem(key) + LONGEST_ENDING).encode())
    if length > MAX_KEY_BYTES:
        raise KeyTooLong(
            f"keys made from it would have {length:,} bytes, and S3 allows {MAX_KEY_BYTES:,}. "
            f"Upload it under a key that is {length - MAX_KEY_BYTES:,} bytes shorter."
        )


def _suffix(key: str) -> str:
    """The suffix of the last part of `key`, in lower case, with its dot; "" if there is none."""
    _, dot, suffix = key.rpartition("/")[2].rpartition(".")
    return f"{dot}{suffix}".lower() if dot else ""


def stem(key: str) -> str:
    """The start of every key made from the video `key`; no two videos share one.

    `.mp4` is removed; any other suffix stays (`a.mov`, `a.MP4`). `.mp4` also stays if removing it
    would leave the name of another video (`a.mov.mp4` would share `a.mov.jpg` with `a.mov`) or of
    a frame of one (`a/output-00.mp4` would share `a/output-00.jpg` with the frames of `a.mp4`).
    """
    short = key.removesuffix(".mp4")
    # re.ASCII: frames are numbered with the digits 0 to 9.
    is_frame = re.fullmatch(r".*/output-\d\d+", short, re.ASCII | re.DOTALL)
    return key if is_frame or short.lower().endswith(VIDEO_SUFFIXES) else short


def frame_key(key: str) -> str:
    """The stage-1 key of the frame of the video `key`, if one is kept."""
    return f"{stem(key)}.jpg"


def numbered_key(key: str, index: int) -> str:
    """The stage-1 key of frame `index` of the video `key`, if several are kept or looked at."""
    return f"{stem(key)}/output-{index:02d}.jpg"


def text_key(key: str) -> str:
    """The key of the text that holds the name found in the video `key`."""
    return f"{stem(key)}.txt"


def json_key(key: str) -> str:
    """The key of the details beside the text of the video `key`."""
    return f"{stem(key)}.json"


def is_of_frame(made: str, key: str) -> bool:
    """Whether `made` names the embeddings kept beside any frame of the video `key`."""
    frame = made.removesuffix(EMBEDDINGS_ENDING)
    return frame != made and (frame == frame_key(key) or is_surplus(frame, key, 0))


def is_surplus(made: str, key: str, count: int) -> bool:
    """Whether `made` names frame `count` or a later one of the video `key`, or a frame's text.

    Older deployments wrote one text per frame, so every text is surplus. The frame that is kept
    alone is surplus if several are (`count` is not 0).
    """
    if made == frame_key(key):
        return count > 0
    found = re.fullmatch(rf"{re.escape(stem(key))}/output-(\d\d+)\.(jpg|txt)", made, re.ASCII)
    return found is not None and (found[2] == "txt" or int(found[1]) >= count)
