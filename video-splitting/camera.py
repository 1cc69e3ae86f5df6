"""Take pictures of one video with ffmpeg, run as often as needed."""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import ffmpeg
import ffmpeg_output
import single_pass
from ffmpeg_output import Listing, Packets, Probe, Stream
from video_errors import (
    FfmpegTimeout,
    NoVideoStream,
    TooLittleMemory,
    UnreadableVideo,
    VideoUnreachable,
    failure,
    is_lost,
)

# Seek this far ahead of the frame, so that rounding cannot move the seek past it.
ROUNDING_S = 0.001
# How far ahead the key frames are listed after a damaged picture, and how many are tried. x264 and
# x265 write one at least every 250 pictures.
WHOLE_WITHIN_S = 12.0
WHOLE_TRIES = 4
# Pictures are decoded up to this much earlier than they appear.
REORDERING_S = 0.5
# The part of the time left that each run for a single pass may take. Seeking has the rest.
PASS_SHARE = 0.25
# Errors after which the frames taken so far are kept.
OUT_OF_REACH = (FfmpegTimeout, VideoUnreachable)


def packets_up_to(number: int) -> tuple[str, ...]:
    """The input options that hide from the decoder what follows packet `number`, counted from 0."""
    return "-bsf:v", rf"noise=drop=gt(n\,{number})"


# The options that let only one packet through. By the time alone, ffmpeg reads on until the decoder
# gives the picture, and hands a packet that was cut short to it all the same.
ONE_PACKET = ("-t", f"{ROUNDING_S}", *packets_up_to(0))


@dataclass(frozen=True)
class Shot:
    """One picture, the time at which it appears in the video, and whether it may be a smear."""

    appears: float
    path: Path
    damaged: bool = False


class Camera:
    """Runs ffmpeg on one video for at most `seconds` in all.

    `allowed` says how many seconds a run may take now. After pictures that take too much memory,
    only key frames are decoded, which takes far less.
    """

    def __init__(
        self,
        video: ffmpeg.Video,
        folder: Path,
        seconds: float,
        allowed: Callable[[], float] = lambda: float("inf"),
        fetch: Callable[[Path], bool] = lambda _: False,
    ) -> None:
        """Write the pictures to `folder`. `fetch` writes the whole video to a file, if it can."""
        self.video = video
        self.folder = folder
        self.first_path = folder / "first.jpg"
        self.seconds = seconds
        self._allowed = allowed
        self._fetch = fetch
        self._spent = 0.0
        self._key_frames_only = False
        self._pass: single_pass.Pass | None = None

    def listing(self, wanted: int) -> tuple[Listing, Stream] | None:
        """All packets of the stream that players show, and the stream, for one pass.

        None if the file is too long for `wanted` frames, or seeking is safer.
        """
        if self._key_frames_only or not single_pass.is_short(self.video.size, wanted):
            return None
        self._fetch_once()
        listing, messages = self._list_all(hurry=True)
        probe = ffmpeg_output.parse_probe(messages)
        if probe.container not in single_pass.CONTAINERS:
            return None
        if self._moves_to_shown_stream(probe) or probe.container == single_pass.MATROSKA:
            hurry = probe.container != single_pass.MATROSKA
            listing, messages = self._list_all(hurry)
            probe = ffmpeg_output.parse_probe(messages)
            if not hurry and probe.duration is None:
                return None
        if ffmpeg_output.complains(messages) or not probe.stream or not listing:
            return None
        return (listing, probe.stream) if single_pass.shown_starts(listing) else None

    def _list_all(self, hurry: bool) -> tuple[Listing | None, str]:
        """All packets of the stream, None if it cannot be listed, and what ffmpeg said."""
        path, references = self.folder / "all-packets", self.folder / "references"
        has_references = self._has_codec_with_references()
        command = ffmpeg.all_packets_command(self.video, path, hurry)
        with_references = ffmpeg.all_packets_command(self.video, path, hurry, references)
        messages = self._attempt(with_references if has_references else command)
        if has_references and ffmpeg_output.complains(messages):
            has_references, messages = False, self._attempt(command)
        listing = ffmpeg_output.parse_listing(path)
        if listing and has_references:
            referred = ffmpeg_output.parse_listing(references)
            unreferenced = single_pass.unreferenced(listing, referred)
            listing = replace(listing, unreferenced=unreferenced)
        return listing, messages

    def _has_codec_with_references(self) -> bool:
        """Whether the file seems to have a codec in which ffmpeg knows what may be skipped."""
        if not self.video.file:
            return False
        with (
            self.video.file.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            return any(content.find(mark) >= 0 for mark in single_pass.CODECS_WITH_REFERENCES)

    def _fetch_once(self) -> None:
        """Read the file from the store once, instead of once or twice for each run of ffmpeg.

        If that fails, ffmpeg reads it itself, and says why if it cannot.
        """
        if self.video.file:
            return
        started, path = time.monotonic(), self.folder / "video"
        if self._fetch(path):
            self.video = replace(self.video, file=path)
        self._spent += time.monotonic() - started

    def pass_over(self, listing: Listing, starts: list[int]) -> None:
        """Take the pictures that start at `starts`, the first one among them, in one pass.

        `first`, `packets` and `shot` then answer from it, if it proves complete. Otherwise they
        seek, as they do for what it lacks.
        """
        skipped, pattern = single_pass.skipped(listing, starts), self.folder / "pass-%d.jpg"
        messages = self._attempt(ffmpeg.pass_command(self.video, starts, skipped, str(pattern)))
        files = sorted(self.folder.glob("pass-*.jpg"), key=lambda path: int(path.stem[5:]))
        self._pass = single_pass.result(messages, listing, files)

    def _attempt(self, argv: list[str]) -> str:
        """Run ffmpeg for a part of the time; "" if that or the memory is not enough."""
        try:
            return self._run(argv, PASS_SHARE)
        except (FfmpegTimeout, TooLittleMemory):
            return ""  # seeking needs less of both, and says what is wrong if it fails as well

    def _moves_to_shown_stream(self, probe: Probe) -> bool:
        """Whether another stream than the one that players show was read; if so, it changes."""
        read = next((stream for stream in probe.streams if not stream.is_cover), None)
        if self.video.stream is not None or not probe.stream or probe.stream == read:
            return False
        self.video = replace(self.video, stream=probe.stream.index)
        return True

    def first(self) -> tuple[Shot, Probe]:
        """The first picture, or the first whole one soon after it; and what ffmpeg reported.

        Reads the stream that players show. Raises the reason if nothing can be decoded.
        """
        path = self.first_path
        if self._pass:
            appears, found = self._pass.first()
            found.replace(path)
            return Shot(appears, path), replace(self._pass.probe, start=appears)
        output = ["-frames:v", "1", "-update", "1", str(path)]
        messages = self.shoot(0, output, ffmpeg.SHOWINFO)
        probe = ffmpeg_output.parse_probe(messages)
        if self._moves_to_shown_stream(probe):
            path.unlink(missing_ok=True)
            messages = self.shoot(0, output, ffmpeg.SHOWINFO)
            probe = ffmpeg_output.parse_probe(messages)
        if not ffmpeg.is_jpeg(path):
            raise failure(messages)
        shot = Shot(probe.start or 0.0, path, ffmpeg_output.first_is_damaged(messages))
        return self.whole(self._confirmed(shot, 0)), probe

    def whole(self, shot: Shot, within: float = WHOLE_WITHIN_S) -> Shot:
        """`shot`; if it is damaged, the next key frame within so many seconds that is not.

        A key frame starts a group of pictures that refers to no earlier one. If all are damaged,
        it is `shot` after all.
        """
        if not shot.damaged:
            return shot
        try:
            return self._next_whole(shot, within) or shot
        except OUT_OF_REACH:
            return shot

    def _next_whole(self, shot: Shot, within: float) -> Shot | None:
        start = max(shot.appears - ROUNDING_S, 0)
        listing = self._list(start, within)
        keys = [key for key in ffmpeg_output.parse_keys(listing, start) if start <= key]
        for key in [key for key in keys if key <= shot.appears + within][:WHOLE_TRIES]:
            found = self._key_frame(key)
            if found and not found.damaged:
                return found
        return None

    def _key_frame(self, key: float) -> Shot | None:
        """The key frame that appears at `key`, decoded alone; None if it cannot be reached."""
        early = min(REORDERING_S, key)
        for seek, wait, only in ((key + ROUNDING_S, 0.0, ONE_PACKET), (key - early, early, ())):
            shot = self.shot(seek, max(wait - ROUNDING_S, 0), (*ffmpeg.KEY_FRAMES_ALONE, *only))
            # MPEG-TS is seeked by decoding times and may land a group later.
            if shot and abs(shot.appears - key) <= 3 * ROUNDING_S:
                return shot
        return None

    def shot(self, seek: float, wait: float = 0, options: tuple[str, ...] = ()) -> Shot | None:
        """The first frame from `wait` seconds after `seek` on; None if none can be decoded."""
        taken = self._pass.shot(seek) if self._pass and not wait and not options else None
        if taken:
            return Shot(*taken)
        path = self.folder / f"from-{seek:.6f}-{wait:.6f}-{len(options)}.jpg"
        path.unlink(missing_ok=True)
        pick = f"select='gte(t,{wait:.6f})',{ffmpeg.SHOWINFO}" if wait else ffmpeg.SHOWINFO
        output = ["-frames:v", "1", "-update", "1", str(path)]
        messages = self.shoot(seek, output, pick, options)
        if not ffmpeg.is_jpeg(path):
            raise_if_read_failed(messages)
            return None
        appears = seek + (ffmpeg_output.parse_probe(messages).start or 0.0)
        shot = Shot(appears, path, ffmpeg_output.first_is_damaged(messages))
        return shot if options else self._confirmed(shot, seek)

    def _confirmed(self, shot: Shot, seek: float) -> Shot:
        """`shot`, taken from `seek`; damaged only if what it is made from is.

        The decoder runs ahead of the pictures that come out of it, sometimes far enough to complain
        of a packet that comes later. Here it gets the packets up to the picture's own alone.
        """
        if not shot.damaged or self._key_frames_only:
            return shot
        ahead = shot.appears - seek
        try:
            listing = ffmpeg_output.parse_listing(self._list(seek, ahead + REORDERING_S))
            starts = [] if listing is None else [p.start * listing.unit for p in listing.packets]
            own = [n for n, start in enumerate(starts) if abs(start - ahead) <= ROUNDING_S]
            if not own:
                return shot
            path = self.folder / "confirmed.jpg"
            path.unlink(missing_ok=True)
            wait = max(ahead - ROUNDING_S, 0)
            pick = f"select='gte(t,{wait:.6f})',{ffmpeg.SHOWINFO}"
            output = ["-frames:v", "1", "-update", "1", str(path)]
            messages = self.shoot(seek, output, pick, packets_up_to(own[0]))
        except OUT_OF_REACH:
            return shot
        is_damaged = ffmpeg_output.first_is_damaged(messages) or not ffmpeg.is_jpeg(path)
        return replace(shot, damaged=is_damaged)

    def packets(self, seek: float, span: float | None = None) -> Packets | None:
        """The packets from the key frame before `seek` to `span` seconds after, or to the end."""
        if self._pass and span is None and (tail := self._pass.tail(seek)).last <= seek:
            return tail
        return ffmpeg_output.parse_packets(self._list(seek, span), seek, span)

    def shoot(
        self, seek: float, output: list[str], pick: str = "", options: tuple[str, ...] = ()
    ) -> str:
        """Write the frames from `seek` on that pass the filter `pick`; return ffmpeg's messages."""
        if not self._key_frames_only:
            try:
                return self._run(ffmpeg.command(self.video, seek, output, pick, options))
            except TooLittleMemory:
                self._key_frames_only = True
        options = options or ffmpeg.KEY_FRAMES_ALONE
        return self._run(ffmpeg.command(self.video, seek, output, pick, options))

    def _list(self, seek: float, span: float | None) -> Path:
        listing = self.folder / "packets"
        listing.unlink(missing_ok=True)
        messages = self._run(ffmpeg.packets_command(self.video, seek, listing, span))
        if is_lost(messages) or ffmpeg_output.parse_packets(listing, seek, span) is None:
            raise_if_read_failed(messages)
        return listing

    def _run(self, argv: list[str], share: float = 1.0) -> str:
        started = time.monotonic()
        limit = min(self.seconds, self._spent + max(self._allowed(), 0))
        left = (limit - self._spent) * share
        try:
            return ffmpeg.run(argv, self.video.url, left, limit, self.video.file)[1]
        finally:
            self._spent += time.monotonic() - started


def raise_if_read_failed(messages: str) -> None:
    """Raise, unless the frame is missing only because the video ends or is damaged before it."""
    cause = failure(messages)
    if not isinstance(cause, (UnreadableVideo, NoVideoStream)):
        raise cause
