"""Which frames of a video are taken, what they are called, and taking them with ffmpeg."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ffmpeg

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".avi", ".webm", ".mpg", ".mpeg")
# A video that does not tell its length is read from its start, a frame from each second.
UNKNOWN_LENGTH_STEP_S = 1.0
# Where nothing can be decoded from a time on, because its key frame comes before, reading starts
# so much earlier.
STEPS_BACK_S = (1.0, 2.0, 4.0, 8.0, 16.0)
# A seek goes so much before the frame that it is for, lest rounding makes it go behind it.
ROUNDING_S = 0.001
# A frame that comes so much later than it was asked for is not what the video shows at that time.
LATE_S = 0.5


@dataclass(frozen=True)
class Frame:
    """One picture: its place among the video's frames, its time in seconds and its file."""

    index: int
    time: float
    path: Path


@dataclass(frozen=True)
class Shot:
    """One picture, and when it appears in the video."""

    appears: float
    path: Path


@dataclass(frozen=True)
class Camera:
    """Runs ffmpeg on one video, again and again, until `deadline`."""

    video: ffmpeg.Video
    folder: Path
    seconds: float
    deadline: float
    clock: Callable[[], float]

    def shoot(self, seek: float, output: list[str], pick: str = "") -> str:
        """Write the frames that the filter `pick` leaves from `seek` on; ffmpeg's messages."""
        return self._run(ffmpeg.command(self.video, seek, output, pick))

    def shot(self, seek: float, wait: float = 0) -> Shot | None:
        """The first frame from `wait` seconds after `seek` on; None where none can be decoded."""
        path = self.folder / f"from-{seek:.6f}-{wait:.6f}.jpg"
        pick = f"select='gte(t,{wait:.6f})',{ffmpeg.SHOW}" if wait else ffmpeg.SHOW
        messages = self.shoot(seek, ["-frames:v", "1", "-update", "1", str(path)], pick)
        if not ffmpeg.is_jpeg(path):
            _rise_if_unread(messages)
            return None
        return Shot(seek + (ffmpeg.report(messages).start or 0.0), path)

    def packets(self, seek: float, span: float | None = None) -> ffmpeg.Packets | None:
        """The packets from the key frame before `seek` to `span` seconds after, else to the end."""
        listing = self.folder / "packets"
        listing.unlink(missing_ok=True)
        messages = self._run(ffmpeg.packets_command(self.video, seek, listing, span))
        found = ffmpeg.packets(listing, seek, span)
        if found is None:
            _rise_if_unread(messages)
        return found

    def _run(self, argv: list[str]) -> str:
        left = self.deadline - self.clock()
        return ffmpeg.run(argv, self.video.url, left, self.seconds)[1]


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


def is_surplus(made: str, key: str, count: int) -> bool:
    """Whether `made` is named as frame `count`, or a later one, of the video `key`, or its text."""
    found = re.fullmatch(rf"{re.escape(stem(key))}/output-(\d\d+)\.(jpg|txt)", made)
    return found is not None and int(found[1]) >= count


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
    camera = Camera(video, folder, seconds, clock() + seconds, clock)
    first = folder / "first.jpg"
    output = ["-frames:v", "1", "-update", "1", str(first)]
    messages = camera.shoot(0, output, "" if wanted == 1 else ffmpeg.SHOW)
    if not ffmpeg.is_jpeg(first):
        raise ffmpeg.failure(messages)
    taken = [Frame(0, 0.0, first)]
    if wanted == 1:
        return taken
    about = ffmpeg.report(messages)
    if about.duration is None:
        return _from_start(camera, wanted) or taken
    start = max(about.start or 0.0, 0.0)
    tail = _tail(camera, about.duration)
    appeared = start
    for after in times(wanted, tail.end - start, about.rate)[1:]:
        if appeared > tail.last - ROUNDING_S:
            break
        shot = _shown_at(camera, min(start + after, tail.last))
        if shot and shot.appears > appeared + ROUNDING_S:
            taken.append(Frame(len(taken), round(start + after, 3), shot.path))
            appeared = shot.appears
    if len(taken) < wanted and appeared < tail.last - ROUNDING_S:
        shot = _shown_at(camera, tail.last)  # there is room: a last picture may be a short one
        if shot and shot.appears > appeared + ROUNDING_S:
            taken.append(Frame(len(taken), round(tail.last, 3), shot.path))
    return taken


def _tail(camera: Camera, duration: float) -> ffmpeg.Packets:
    """The end of the video stream: sound may go on for longer, and a picture may stay for long.

    The last key frame is looked for at the end of the file and, where a container cannot be asked
    for it so, ever further before it. A video cut short ends where its packets do.
    """
    back = 0.0
    while back < duration:
        found = camera.packets(duration - back)
        # Times after the end: ffmpeg could not seek there, and counted from where it stood.
        if found and found.last <= duration:
            return found
        back = 2 * back or 1.0
    return ffmpeg.Packets(duration, duration)


def _shown_at(camera: Camera, at: float) -> Shot | None:
    """The picture that the video shows at `at`, or soon after; None if it is damaged there."""
    late = camera.shot(max(at - ROUNDING_S, 0))
    if late and late.appears - at <= LATE_S:
        return late
    # It appeared before: a picture may stay for long, and some containers cannot find key frames.
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
    return found or late


def _from_start(camera: Camera, wanted: int) -> list[Frame]:
    """A frame from each second of a video of unknown length, in one pass from its start."""
    step = UNKNOWN_LENGTH_STEP_S
    pick = f"select='isnan(prev_selected_t)+gte(t-prev_selected_t,{step})'"
    output = ["-fps_mode", "vfr", "-frames:v", str(wanted), "-start_number", "0"]
    messages = camera.shoot(0, [*output, str(camera.folder / "second-%d.jpg")], pick)
    paths = [camera.folder / f"second-{index}.jpg" for index in range(wanted)]
    found = [path for path in paths if ffmpeg.is_jpeg(path)]
    if not found:
        _rise_if_unread(messages)
    return [Frame(index, index * step, path) for index, path in enumerate(found)]


def _rise_if_unread(messages: str) -> None:
    """Raise unless the frame is missing because the video ends, or is damaged, before it."""
    cause = ffmpeg.failure(messages)
    if not isinstance(cause, (ffmpeg.UnreadableVideo, ffmpeg.NoVideoStream)):
        raise cause
