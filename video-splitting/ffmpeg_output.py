"""Read what ffmpeg printed or listed about a video.

Every line starts with the level of its message (`-loglevel level+info`). Texts inside the video,
such as its title, can say anything, but ffmpeg indents them further than its own lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

NO_TIMESTAMP = str(-(2**63))  # what ffmpeg lists for a packet without a timestamp


@dataclass(frozen=True)
class Stream:
    """A video stream: its index in the file and its frames per second, None if unknown."""

    index: int
    rate: float | None
    is_default: bool
    is_cover: bool


@dataclass(frozen=True)
class Probe:
    """What ffmpeg reported about its input; times are in seconds, None if unknown.

    `duration` is that of the file, including its sound. `start` is the time of the first frame
    that passed the SHOWINFO filter. `streams` are all video streams, in the file's order.
    """

    duration: float | None
    start: float | None
    streams: tuple[Stream, ...]

    @property
    def stream(self) -> Stream | None:
        """The stream that players show: the first default one, else the first; never a cover."""
        shown = [stream for stream in self.streams if not stream.is_cover]
        return next((s for s in shown if s.is_default), shown[0] if shown else None)


@dataclass(frozen=True)
class Packets:
    """When the last picture of a stretch of video appears, and when it ends, in seconds."""

    last: float
    end: float


def parse_probe(messages: str) -> Probe:
    """Read the duration, the video streams and the first frame's time from ffmpeg's messages."""
    length = re.search(r"^\[info\]   Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)", messages, re.M)
    duration = None
    if length:
        hours, minutes, seconds = length.groups()
        duration = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    before_output = messages.partition("\n[info] Stream mapping:")[0]
    found = re.findall(r"^\[info\]   Stream #0:(\d+)\S*: Video: (.*)$", before_output, re.M)
    # A stream of several MPEG-TS programs is printed once for each.
    streams = {int(index): _stream(int(index), text) for index, text in found}
    shown = re.search(SHOWN_FIRST + r" .*?\bpts_time:(-?[\d.]+)", messages, re.MULTILINE)
    return Probe(
        duration or None,
        float(shown[1]) if shown else None,
        tuple(streams[index] for index in sorted(streams)),
    )


# How SHOWINFO begins its line about the first frame.
SHOWN_FIRST = r"^\[Parsed_showinfo_\S+ @ \S+\] \[info\] n: *0\b"


def _stream(index: int, text: str) -> Stream:
    """A stream, from what ffmpeg prints after its number; its dispositions come last."""
    rate = re.search(r", ([\d.]+)(k?) fps\b", text)
    fps = float(rate[1]) * (1000 if rate[2] else 1) if rate else 0.0
    return Stream(index, fps or None, "(default)" in text, "(attached pic)" in text)


def first_is_damaged(messages: str) -> bool:
    """Whether the decoder complained before the first frame came out of it.

    It may also have complained about a frame that it decoded ahead. `KEY_FRAMES_ALONE` for one
    packet tells. Not every damage shows: HEVC, VP9 and AV1 decode most wrong bits to wrong pixels
    without a word.
    """
    decoding = messages.partition("\n[info] Stream mapping:")[2]
    used = re.search(r"^\[info\]   Stream #0:\d+ -> #0:0 \((\S+) \((\S+)\)", decoding, re.M)
    before = re.split(SHOWN_FIRST, decoding, maxsplit=1, flags=re.MULTILINE)[0]
    # [h264 @ 0x1] [error] ..., and ffmpeg's own [vist#0:0/h264 @ 0x1] [dec:h264 @ 0x2] ...
    names = "|".join(map(re.escape, used.groups())) if used else "video"
    decoder = rf"\[(?:{names}) @ \w+\] \[error\]"
    own = r"\[vist#\S+ @ \w+\] \[dec:\S+ @ \w+\] (?:\[error\]|\[warning\] corrupt decoded frame)"
    return re.search(rf"^(?:{decoder}|{own})", before, re.MULTILINE) is not None


def parse_times(messages: str) -> list[float]:
    """The times of all frames that passed the SHOWINFO filter, in order."""
    shown = r"^\[Parsed_showinfo_\S+ @ \S+\] \[info\] n: *\d+ .*?\bpts_time:(-?[\d.]+)"
    return [float(time) for time in re.findall(shown, messages, re.MULTILINE)]


def parse_packets(listing: Path, seek: float, span: float | None = None) -> Packets | None:
    """The end of a list that `packets_command` wrote, in the video's time; None if it is empty."""
    spans = [row for row in _rows(listing) if span is None or row[0] <= span]
    if not spans:
        return None
    last, end = max(start for start, _, _ in spans), max(end for _, end, _ in spans)
    return Packets(seek + last, seek + end)


def parse_keys(listing: Path, seek: float) -> list[float]:
    """When the key frames of a list that `packets_command` wrote appear, in the video's time."""
    return sorted(seek + start for start, _, is_key in _rows(listing) if is_key)


def _rows(listing: Path) -> list[tuple[float, float, bool]]:
    """Each packet's start and end in seconds after the seek, and whether it is a key frame.

    Packets come in decoding order, which differs from the order of presentation.
    """
    text = listing.read_text() if listing.is_file() else ""
    base = re.search(r"^#tb 0: (\d+)/(\d+)$", text, re.MULTILINE)
    if not base:
        return []
    unit = int(base[1]) / int(base[2])
    # stream, decoding time, presentation time, duration, size, checksum, and flags unless they say
    # just that it is a key frame; MPEG-PS times only some packets
    pattern = r"^0, *(-?\d+), *(-?\d+), *(\d+),[^,]*,[^,\n]*(, F=0x([0-9A-Fa-f]+))?"
    rows = []
    for dts, pts, length, _, flags in re.findall(pattern, text, re.MULTILINE):
        start = int(dts if pts == NO_TIMESTAMP else pts)
        is_key = not flags or int(flags, 16) & 1 == 1
        rows.append((start * unit, (start + int(length)) * unit, is_key))
    return rows
