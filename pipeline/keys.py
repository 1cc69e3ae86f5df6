"""The keys of the objects made from a video, for clients. Standard library only.

`video-splitting/frames.py` makes the same keys but, as a Lambda task root, cannot import this
module; a test keeps the two in step.
"""

from __future__ import annotations

from pipeline.settings import VIDEO_SUFFIXES


def stem(video: str) -> str:
    """Return the start of every key made from `video`: `a/b.mp4` -> `a/b`; `c.mov` is unchanged."""
    short = video[:-4] if video.endswith(".mp4") else video
    return video if short.lower().endswith(VIDEO_SUFFIXES) else short


def frame_key(video: str) -> str:
    """Return the stage-1 key of a video's frame, when one frame is taken."""
    return f"{stem(video)}.jpg"


def output_key(video: str) -> str:
    """Return the key of the output object that holds the name recognized in the video."""
    return f"{stem(video)}.txt"
