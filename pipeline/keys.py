"""The objects a video leads to, by its key: what clients look for. Standard library only.

`video-splitting/frames.py` makes these keys, in a task root that imports nothing from here; a test
holds the two together.
"""

from __future__ import annotations

from pipeline.settings import VIDEO_SUFFIXES


def stem(video: str) -> str:
    """What every key made from the key `video` starts with: `a/b.mp4` -> `a/b`, `c.mov` stays."""
    short = video[:-4] if video.endswith(".mp4") else video
    return video if short.lower().endswith(VIDEO_SUFFIXES) else short


def frame_key(video: str) -> str:
    """The stage-1 object of a video of which one frame is taken."""
    return f"{stem(video)}.jpg"


def output_key(video: str) -> str:
    """The output object that holds the video's name."""
    return f"{stem(video)}.txt"
