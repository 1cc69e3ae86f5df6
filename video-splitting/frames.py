"""Choose the frames of a video, name them and take them with ffmpeg."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ffmpeg
from video_errors import NoVideoStream, UnreadableVideo, failure

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".avi", ".webm", ".mpg", ".mpeg")
# A video of unknown length is read from its start, one frame per second.
UNKNOWN_LENGTH_STEP_S = 1.0
# If nothing can be decoded from a given time, because the key frame comes earlier, reading starts
# this much earlier, one step after the other.
STEPS_BACK_S = (1.0, 2.0, 4.0, 8.0, 16.0)
# Seek this far ahead of the frame, so that rounding cannot move the seek past it.
ROUNDING_S = 0.001
# A frame that appears this long after the requested time is not what the video shows at that time.
LATE_S = 0.5


@dataclass(frozen=True)
class Frame:
    """One picture: its index among the video's frames, its time in seconds and its file."""

    index: int
    time: float
    path: Path


@dataclass(frozen=True)
class Shot:
    """One picture and the time at which it appears in the video."""

    appears: float
    path: Path


@dataclass(frozen=True)
class Camera:
    """Runs ffmpeg on one video, as often as needed, until `deadline`.

    `seconds` is the time that all runs share.
    """

    video: ffmpeg.Video
    folder: Path
    seconds: float
    deadline: float
    clock: Callable[[], float]

    def shoot(self, seek: float, output: list[str], pick: str = "") -> str:
        """Write the frames from `seek` on that pass the filter `pick`; return ffmpeg's messages."""
        return self._run(ffmpeg.command(self.video, seek, output, pick))

    def shot(self, seek: float, wait: float = 0) -> Shot | None:
        """The first frame from `wait` seconds after `seek` on; None if none can be decoded."""
        path = self.folder / f"from-{seek:.6f}-{wait:.6f}.jpg"
        pick = f"select='gte(t,{wait:.6f})',{ffmpeg.SHOWINFO}" if wait else ffmpeg.SHOWINFO
        messages = self.shoot(seek, ["-frames:v", "1", "-update", "1", str(path)], pick)
        if not ffmpeg.is_jpeg(path):
            _raise_if_read_failed(messages)
            return None
        return Shot(seek + (ffmpeg.parse_probe(messages).start or 0.0), path)

    def packets(self, seek: float, span: float | None = None) -> ffmpeg.Packets | None:
        """The packets from the key frame before `seek` to `span` seconds after, or to the end."""
        listing = self.folder / "packets"
        listing.unlink(missing_ok=True)
        messages = self._run(ffmpeg.packets_command(self.video, seek, listing, span))
        found = ffmpeg.parse_packets(listing, seek, span)
        if found is None:
            _raise_if_read_failed(messages)
        return found

    def _run(self, argv: list[str]) -> str:
        left = self.deadline - self.clock()
        return ffmpeg.run(argv, self.video.url, left, self.seconds)[1]


def stem(key: str) -> str:
    """The start of every key made from the video `key`; no two videos share one.

    `.mp4` is removed; any other extension stays (`a.mov`, `a.MP4`). `.mp4` also stays if removing
    it would leave the name of another video: `a.mov.mp4` would share `a.mov.jpg` with `a.mov`.
    """
    short = key.removesuffix(".mp4")
    return key if short.lower().endswith(VIDEO_SUFFIXES) else short


def frame_key(key: str, index: int, wanted: int) -> str:
    """The stage-1 key of frame `index` of the video `key`, if `wanted` frames are taken.

    With several frames, `x/output-00.mp4` and frame 0 of `x.mp4` both write `x/output-00.txt`.
    Avoid such names for videos: the two cannot be told apart.
    """
    return f"{stem(key)}.jpg" if wanted == 1 else f"{stem(key)}/output-{index:02d}.jpg"


def is_surplus(made: str, key: str, count: int) -> bool:
    """Whether `made` names frame `count` or a later one of the video `key`, or its text."""
    found = re.fullmatch(rf"{re.escape(stem(key))}/output-(\d\d+)\.(jpg|txt)", made)
    return found is not None and int(found[1]) >= count


def policy(wanted: int) -> str:
    """The name of the frame policy; frames made under another policy are made again."""
    return "first" if wanted == 1 else f"even-{wanted}"


def times(wanted: int, duration: float, rate: float | None) -> list[float]:
    """`wanted` times spread evenly over `duration`, starting at 0, and at most one per frame."""
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
    """Write up to `wanted` frames of `video` to `folder` within `seconds`.

    A truncated video yields the frames that can still be read. Raises a VideoError if there are
    none, if the object cannot be read or if time runs out.
    """
    camera = Camera(video, folder, seconds, clock() + seconds, clock)
    first = folder / "first.jpg"
    output = ["-frames:v", "1", "-update", "1", str(first)]
    messages = camera.shoot(0, output, "" if wanted == 1 else ffmpeg.SHOWINFO)
    if not ffmpeg.is_jpeg(first):
        raise failure(messages)
    taken = [Frame(0, 0.0, first)]
    if wanted == 1:
        return taken
    probe = ffmpeg.parse_probe(messages)
    if probe.duration is None:
        return _from_start(camera, wanted) or taken
    start = max(probe.start or 0.0, 0.0)
    tail = _tail(camera, probe.duration)
    appeared = start
    for after in times(wanted, tail.end - start, probe.rate)[1:]:
        if appeared > tail.last - ROUNDING_S:
            break
        shot = _shown_at(camera, min(start + after, tail.last))
        if shot and shot.appears > appeared + ROUNDING_S:
            taken.append(Frame(len(taken), round(start + after, 3), shot.path))
            appeared = shot.appears
    if len(taken) < wanted and appeared < tail.last - ROUNDING_S:
        shot = _shown_at(camera, tail.last)  # a short last picture may fall between two times
        if shot and shot.appears > appeared + ROUNDING_S:
            taken.append(Frame(len(taken), round(tail.last, 3), shot.path))
    return taken


def _tail(camera: Camera, duration: float) -> ffmpeg.Packets:
    """The end of the video stream: the sound may run longer, and the last picture may stay long.

    The search for the last key frame starts at the end of the file and, for containers that
    cannot seek there, goes back in doubling steps. A truncated video ends with its last packet.
    """
    back = 0.0
    while back < duration:
        found = camera.packets(duration - back)
        # Times past the end mean that ffmpeg could not seek and counted from where it was.
        if found and found.last <= duration:
            return found
        back = 2 * back or 1.0
    return ffmpeg.Packets(duration, duration)


def _shown_at(camera: Camera, at: float) -> Shot | None:
    """The picture that the video shows at `at` or soon after; None if it is damaged there."""
    next_shot = camera.shot(max(at - ROUNDING_S, 0))
    if next_shot and next_shot.appears - at <= LATE_S:
        return next_shot
    # The picture appeared earlier: it may stay long, or the container cannot find key frames.
    before = camera.packets(at, ROUNDING_S)
    appeared = max(before.last if before else at, 0)
    found = camera.shot(max(appeared - ROUNDING_S, 0)) if before else None
    for back in STEPS_BACK_S:
        if found and found.appears - at <= LATE_S:
            return found
        seek = max(appeared - back, 0)
        found = camera.shot(seek, max(appeared - seek - ROUNDING_S, 0))
        if seek == 0:
            break
    return found or next_shot


def _from_start(camera: Camera, wanted: int) -> list[Frame]:
    """One frame per second of a video of unknown length, in one pass from its start."""
    step = UNKNOWN_LENGTH_STEP_S
    pick = f"select='isnan(prev_selected_t)+gte(t-prev_selected_t,{step})'"
    output = ["-fps_mode", "vfr", "-frames:v", str(wanted), "-start_number", "0"]
    messages = camera.shoot(0, [*output, str(camera.folder / "second-%d.jpg")], pick)
    paths = [camera.folder / f"second-{index}.jpg" for index in range(wanted)]
    found = [path for path in paths if ffmpeg.is_jpeg(path)]
    if not found:
        _raise_if_read_failed(messages)
    return [Frame(index, index * step, path) for index, path in enumerate(found)]


def _raise_if_read_failed(messages: str) -> None:
    """Raise, unless the frame is missing only because the video ends or is damaged before it."""
    cause = failure(messages)
    if not isinstance(cause, (UnreadableVideo, NoVideoStream)):
        raise cause
