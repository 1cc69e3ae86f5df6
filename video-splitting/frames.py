"""Choose the frames of a video and take them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import ffmpeg
import ffmpeg_output
import single_pass
from camera import OUT_OF_REACH, ROUNDING_S, Camera, Shot, raise_if_read_failed
from ffmpeg_output import Packets, Probe

# A video of unknown length is read from its start, one frame per second.
UNKNOWN_LENGTH_STEP_S = 1.0
# If nothing can be decoded from a given time, because the key frame comes earlier, reading starts
# this much earlier, one step after the other.
STEPS_BACK_S = (1.0, 2.0, 4.0, 8.0, 16.0)
# A frame that appears this long after the requested time is not what the video shows at that time.
LATE_S = 0.5


@dataclass(frozen=True)
class Frame:
    """One picture: its index among the video's frames, its time in seconds and its file.

    A damaged frame may be a smear; it was taken because no whole one was near.
    """

    index: int
    time: float
    path: Path
    damaged: bool = False


def times(wanted: int, duration: float, rate: float | None) -> list[float]:
    """`wanted` times spread evenly over `duration`, starting at 0, and at most one per frame."""
    count = wanted
    if rate:
        count = max(1, min(wanted, round(duration * rate)))
    return [index * duration / count for index in range(count)]


class Footage:
    """The frames of one video, taken as they are asked for."""

    def __init__(self, camera: Camera) -> None:
        """Take nothing yet."""
        self._camera = camera
        self._probe: Probe | None = None
        self._first: Frame | None = None
        self._shot: Shot
        self.cut = ""  # why there are fewer frames than the video has, if so

    def first(self) -> Frame:
        """The first frame. Raises a VideoError if there is none."""
        if self._first is None:
            shot, self._probe = self._camera.first()
            self._shot = shot
            # A picture that merely starts late counts as the one at 0.
            is_first = shot.path == self._camera.first_path
            at = 0.0 if is_first else round(max(shot.appears, 0.0), 3)
            self._first = Frame(0, at, shot.path, shot.damaged)
        return self._first

    def spread(self, wanted: int) -> list[Frame]:
        """Up to `wanted` frames, spread evenly, starting with the first.

        A truncated video yields the frames that can still be read; so does a video that takes too
        long or can no longer be reached, and `cut` says why. Raises a VideoError if there are none.
        """
        if wanted > 1:
            self._pass_over(wanted)
        taken = [self.first()]
        if wanted > 1:
            try:
                self._add_later(taken, wanted)
            except OUT_OF_REACH as error:
                self.cut = f"{type(error).__name__}: {error}"
        return taken

    def _pass_over(self, wanted: int) -> None:
        """Take the frames of a short clip in one pass, so that nothing need be sought later."""
        listed = self._camera.listing(wanted)
        if not listed:
            return
        listing, stream = listed
        unit, shown = float(listing.unit), single_pass.shown_starts(listing)
        begin, last = shown[0] * unit, shown[-1] * unit
        end = max(packet.end for packet in listing.packets) * unit
        later = times(wanted, end - begin, stream.rate)[1:]
        sought = [min(begin + after, last) - ROUNDING_S for after in later]
        starts = single_pass.starts_from(listing, sought)
        if single_pass.pays(listing, starts, stream.pixels, has_first=self._first is not None):
            self._camera.pass_over(listing, starts)

    def _add_later(self, taken: list[Frame], wanted: int) -> None:
        """Append the frames after the first to `taken`, each as soon as it has been taken."""
        probe, camera = self._probe, self._camera
        assert probe is not None  # noqa: S101  # first() has set it
        if probe.duration is None:
            self._add_by_second(taken, wanted)
            return
        start = max(probe.start or 0.0, 0.0)
        tail = _tail(camera, probe.duration)
        appeared = max(self._shot.appears, start)
        rate = probe.stream.rate if probe.stream else None
        spread = times(wanted, tail.end - start, rate)
        step = spread[1] - spread[0] if len(spread) > 1 else 0.0
        for after in spread[1:]:
            if appeared > tail.last - ROUNDING_S:
                break
            shot = _shown_at(camera, min(start + after, tail.last))
            if shot and shot.appears > appeared + ROUNDING_S:
                whole = camera.whole(shot, step)
                at = start + after if whole is shot else whole.appears
                taken.append(Frame(len(taken), round(at, 3), whole.path, whole.damaged))
                appeared = whole.appears
        if len(taken) < wanted and appeared < tail.last - ROUNDING_S:
            shot = _shown_at(camera, tail.last)  # a short last picture may fall between two times
            if shot and shot.appears > appeared + ROUNDING_S:
                at = round(tail.last, 3)
                taken.append(Frame(len(taken), at, shot.path, shot.damaged))

    def _add_by_second(self, taken: list[Frame], wanted: int) -> None:
        """Append one frame per second of a video of unknown length, in one pass from its start."""
        camera, step = self._camera, UNKNOWN_LENGTH_STEP_S
        pick = f"select='isnan(prev_selected_t)+gte(t-prev_selected_t,{step})',{ffmpeg.SHOWINFO}"
        output = ["-fps_mode", "vfr", "-frames:v", str(wanted), "-start_number", "0"]
        at: list[float] = []
        try:
            messages = camera.shoot(0, [*output, str(camera.folder / "second-%d.jpg")], pick)
            at = ffmpeg_output.parse_times(messages)
            if not at:
                raise_if_read_failed(messages)
        finally:  # what was written before time ran out counts
            paths = [camera.folder / f"second-{index}.jpg" for index in range(wanted)]
            for index, path in enumerate(paths):
                second = at[index] - at[0] if index < len(at) else index * step
                if ffmpeg.is_jpeg(path) and second > taken[-1].time + ROUNDING_S:
                    taken.append(Frame(len(taken), round(second, 3), path))


def _tail(camera: Camera, duration: float) -> Packets:
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
    return Packets(duration, duration)


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
