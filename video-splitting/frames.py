"""Which frames of a video are taken, what they are called, and taking them with ffmpeg."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ffmpeg

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".avi", ".webm", ".mpg", ".mpeg")
# A video that does not tell its length is read from its start, a frame from each second.
UNKNOWN_LENGTH_STEP_S = 1.0

# (seek, output arguments, filter that picks frames) -> ffmpeg's messages
Shoot = Callable[[float, list[str], str], str]


@dataclass(frozen=True)
class Frame:
    """One picture: its place among the video's frames, its time in seconds and its file."""

    index: int
    time: float
    path: Path


def stem(key: str) -> str:
    """The key that everything made from the video `key` starts with; no two videos share one.

    `.mp4` is taken off; any other extension stays (`a.mov`, `a.MP4`). It also stays where taking
    it off would leave another video's name: `a.mov.mp4` would share `a.mov.jpg` with `a.mov`.
    """
    short = key.removesuffix(".mp4")
    return key if short.lower().endswith(VIDEO_SUFFIXES) else short


def frame_key(key: str, index: int, wanted: int) -> str:
    """The stage-1 key of frame `index` of the video `key`, when `wanted` frames are asked for.

    With several frames, `x/output-00.mp4` writes `x/output-00.txt`, and so does frame 0 of
    `x.mp4`: such names cannot be told apart and are best not used for videos.
    """
    return f"{stem(key)}.jpg" if wanted == 1 else f"{stem(key)}/output-{index:02d}.jpg"


def policy(wanted: int) -> str:
    """The frame policy in a word; frames made under another are made again."""
    return "first" if wanted == 1 else f"even-{wanted}"


def times(wanted: int, duration: float, rate: float | None) -> list[float]:
    """`wanted` times evenly spread over `duration`, the first at 0; never more than frames."""
    count = wanted
    if rate:
        count = max(1, min(wanted, round(duration * rate)))
    return [index * duration / count for index in range(count)]


def take(
    video: ffmpeg.Video,
    wanted: int,
    folder: Path,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> list[Frame]:
    """Write up to `wanted` frames of `video` into `folder`, within `seconds`.

    A video cut short gives the frames that can still be read. Raises a VideoError when there is
    none, when the object cannot be read, or when the time is over.
    """
    deadline = clock() + seconds

    def shoot(seek: float, output: list[str], pick: str = "") -> str:
        argv = ffmpeg.command(video, seek, output, pick)
        _, messages = ffmpeg.run(argv, video.url, deadline - clock())
        return messages

    first = folder / "first.jpg"
    messages = shoot(0, ["-frames:v", "1", "-update", "1", str(first)])
    if not ffmpeg.is_jpeg(first):
        raise ffmpeg.failure(messages)
    taken = [Frame(0, 0.0, first)]
    if wanted == 1:
        return taken
    about = ffmpeg.report(messages)
    if about.duration is None:
        return _from_start(shoot, wanted, folder) or taken
    for at in times(wanted, about.duration, about.rate)[1:]:
        path = folder / f"at-{at:.3f}.jpg"
        messages = shoot(at, ["-frames:v", "1", "-update", "1", str(path)])
        if ffmpeg.is_jpeg(path):
            taken.append(Frame(len(taken), round(at, 3), path))
        else:
            _rise_if_unread(messages)
    return taken


def _from_start(
    shoot: Callable[[float, list[str], str], str], wanted: int, folder: Path
) -> list[Frame]:
    """A frame from each second of a video of unknown length, in one pass from its start."""
    step = UNKNOWN_LENGTH_STEP_S
    pick = f"select='isnan(prev_selected_t)+gte(t-prev_selected_t,{step})'"
    output = ["-fps_mode", "vfr", "-frames:v", str(wanted), "-start_number", "0"]
    messages = shoot(0, [*output, str(folder / "second-%d.jpg")], pick)
    paths = [folder / f"second-{index}.jpg" for index in range(wanted)]
    found = [path for path in paths if ffmpeg.is_jpeg(path)]
    if not found:
        _rise_if_unread(messages)
    return [Frame(index, index * step, path) for index, path in enumerate(found)]


def _rise_if_unread(messages: str) -> None:
    """Raise unless the frame is missing because the video ends, or is damaged, before it."""
    cause = ffmpeg.failure(messages)
    if not isinstance(cause, (ffmpeg.UnreadableVideo, ffmpeg.NoVideoStream)):
        raise cause
