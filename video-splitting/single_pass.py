"""Take all frames of a short clip in one run of ffmpeg, where that costs less than seeking.

Seeking starts ffmpeg once per frame and decodes from the key frame before it. One pass decodes
everything once. It must give the very frames that seeking gives: they are looked up by the times at
which ffmpeg would seek, rounded as ffmpeg rounds, and the pass counts only if it proves complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import ffmpeg
import ffmpeg_output
from ffmpeg_output import Listing, Packets, Probe

# For each frame, seeking requests one or two MiB. A short file is fetched once instead.
BYTES_PER_FRAME = 1 << 20
# Starting ffmpeg and opening the video take as long as decoding so many pixels: an estimate for
# H.264 at 480p to 1080p; codecs that decode more slowly are worth fewer.
START_PIXELS = 20_000_000
# The size of a picture if ffmpeg cannot tell without decoding.
USUAL_PIXELS = 1920 * 1080
# What MP4 and Matroska say of H.264 and HEVC. ffmpeg's filter fails for most other codecs, and few
# of those have pictures without references.
CODECS_WITH_REFERENCES = (b"avcC", b"hvcC", b"V_MPEG4/ISO/AVC", b"V_MPEGH/ISO/HEVC")
# How many packets are hidden from the decoder at most: ffmpeg compares each with all of them.
MOST_SKIPPED = 1000
# The containers in which every packet has its own exact time, and seeking finds the key frame
# before it. For MPEG-TS and others, ffmpeg guesses either.
MATROSKA = "matroska,webm"
CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", MATROSKA)


def is_short(size: int, wanted: int) -> bool:
    """Whether reading all of a file of `size` bytes (0: unknown) costs less than `wanted` seeks."""
    return 0 < size <= wanted * BYTES_PER_FRAME


def shown_starts(listing: Listing) -> list[int]:
    """The starts of all pictures in order, in units of the listing."""
    return sorted(packet.start for packet in listing.packets if not packet.is_hidden)


def starts_from(listing: Listing, times: Sequence[float]) -> list[int]:
    """The starts of the first picture and of the first ones at or after `times`, each once.

    Times are in seconds, in the file's own time.
    """
    shown = shown_starts(listing)
    wanted = [_units(round(time * 1_000_000), listing.unit) for time in times]
    found = [next((start for start in shown if start >= unit), shown[-1]) for unit in wanted]
    return sorted({shown[0], *found})


def unreferenced(listing: Listing, references: Listing | None) -> tuple[int, ...]:
    """The numbers of the packets that are not in `references`, the same list without them."""
    packets = listing.packets
    if references is None or len({packet.start for packet in packets}) < len(packets):
        return ()  # packets are told apart by their times
    kept = {packet.start for packet in references.packets}
    return tuple(number for number, packet in enumerate(packets) if packet.start not in kept)


def skipped(listing: Listing, starts: Sequence[int]) -> tuple[int, ...]:
    """The numbers of the packets that need not be decoded for the pictures at `starts`."""
    found = (n for n in listing.unreferenced if listing.packets[n].start not in starts)
    return tuple(islice(found, MOST_SKIPPED))


def pays(listing: Listing, starts: Sequence[int], pixels: int, has_first: bool) -> bool:
    """Whether one pass costs less than seeking each frame; all packets are listed already.

    `pixels` is the size of a picture, 0 if unknown. If `has_first`, nobody needs the first frame.
    Only starting ffmpeg and decoding are counted.
    """
    start, hidden = Fraction(START_PIXELS, pixels or USUAL_PIXELS), set(skipped(listing, starts))
    decoded = since_key = 0
    one_pass, seeking = start, 1 + start  # seeking lists the last packets first
    if not has_first:
        seeking += 1 + start
    for number, packet in enumerate(listing.packets):
        decoded += number not in hidden
        since_key = 1 if packet.is_key else since_key + 1
        if packet.start in starts[1:]:
            one_pass = start + decoded
            seeking += start + since_key
    return one_pass < seeking


def _units(microseconds: int, unit: Fraction) -> int:
    """A time in units, rounded as ffmpeg does: half away from zero."""
    exact = Fraction(microseconds, 1_000_000) / unit
    size = int(abs(exact) + Fraction(1, 2))
    return size if exact >= 0 else -size


@dataclass(frozen=True)
class Pass:
    """What one run gave, and how seeking would have reported it.

    `paths` are the JPEGs by the start of their picture.
    """

    listing: Listing
    probe: Probe
    paths: dict[int, Path]

    def first(self) -> tuple[float, Path]:
        """When the first picture appears, in seconds, and its file."""
        start = shown_starts(self.listing)[0]
        return float((start - self._at(0)) * self.listing.unit), self.paths[start]

    def tail(self, seek: float) -> Packets:
        """What a list of the packets from the key frame before `seek` to the end would say.

        `seek` must be no earlier than the last picture.
        """
        at, unit = self._at(seek), float(self.listing.unit)
        last = max(packet.start for packet in self.listing.packets)
        end = max(packet.end for packet in self.listing.packets)
        return Packets(seek + (last - at) * unit, seek + (end - at) * unit)

    def shot(self, seek: float) -> tuple[float, Path] | None:
        """The first picture from `seek` on: when it appears and its file; None if not taken."""
        if seek <= 0:
            return None
        at = self._at(seek)
        start = next((start for start in shown_starts(self.listing) if start >= at), None)
        if start is None or start not in self.paths:
            return None
        return seek + (start - at) * float(self.listing.unit), self.paths[start]

    def _at(self, seek: float) -> int:
        """Where ffmpeg starts to count when it seeks to `seek` seconds."""
        begins = round((self.probe.begins or 0.0) * 1_000_000)
        return _units(round(float(f"{seek:.6f}") * 1_000_000) + begins, self.listing.unit)


def result(messages: str, listing: Listing, files: Sequence[Path]) -> Pass | None:
    """What a pass gave; None unless it proves to have every frame that it shows.

    It has no proof if ffmpeg complained, if the pictures changed on the way, if the decoder left
    out the first one, or if a file is missing. `files` are the JPEGs in order.
    """
    probe = ffmpeg_output.parse_probe(messages)
    unit, starts = ffmpeg_output.parse_starts(messages)
    if (
        ffmpeg_output.complains(messages)
        or unit != listing.unit
        or probe.duration is None
        or probe.begins is None
        or not starts
        or starts[0] != shown_starts(listing)[0]
        or len(set(starts)) != len(files)
        or not all(map(ffmpeg.is_jpeg, files))
    ):
        return None
    return Pass(listing, probe, dict(zip(starts, files, strict=True)))
