"""The keys of the objects made from a video, for clients. Standard library only.

`video-splitting/keys.py` makes the same keys but, as a Lambda task root, cannot import this module;
a test keeps the two in step.
"""

from __future__ import annotations

import re

from pipeline.settings import NOT_VIDEOS, VIDEO_SUFFIXES

# The ending of what is kept beside a frame with KEEP_EMBEDDINGS=1.
EMBEDDINGS_ENDING = ".faces.json"
# The folder of the input bucket in which recognize.py puts a folder for each run, named by time.
RECOGNIZED = "recognize"


def is_video(key: str) -> bool:
    """Return whether an upload under `key` is taken for a video: by its suffix, in any case."""
    return _suffix(key) in VIDEO_SUFFIXES


def is_skipped(key: str) -> bool:
    """Return whether an upload under `key` is plainly no video: skipped with a log line.

    What is neither this nor a video fails, and its failure names it.
    """
    return key.endswith("/") or _suffix(key) in NOT_VIDEOS


def _suffix(key: str) -> str:
    _, dot, suffix = key.rpartition("/")[2].rpartition(".")
    return f"{dot}{suffix}".lower() if dot else ""


def stem(video: str) -> str:
    """Return the start of every key made from `video`: `a/b.mp4` -> `a/b`; `c.mov` is unchanged.

    `.mp4` also stays if the rest is the name of a video or of a frame: `a.mov.mp4`,
    `a/output-00.mp4`.
    """
    short = video[:-4] if video.endswith(".mp4") else video
    is_frame = re.fullmatch(r".*/output-\d\d+", short, re.ASCII | re.DOTALL)
    return video if is_frame or short.lower().endswith(VIDEO_SUFFIXES) else short


def frame_key(video: str) -> str:
    """Return the stage-1 key of a video's frame, when one frame is kept."""
    return f"{stem(video)}.jpg"


def output_key(video: str) -> str:
    """Return the key of the output object that holds the name recognized in the video."""
    return f"{stem(video)}.txt"


def details_key(video: str) -> str:
    """Return the key of the details beside the name, with ANSWERS=txt+json."""
    return f"{stem(video)}.json"


def embeddings_key(frame: str) -> str:
    """Return the key of the embeddings of unknown faces beside the frame with the key `frame`."""
    return f"{frame}{EMBEDDINGS_ENDING}"
