"""Read what ffmpeg printed or listed about a video.

Every message starts with its time and level (`-loglevel level+datetime+info`). Texts inside the
video, such as its title, can say anything and have line breaks, but know no time (`own_lines`), and
ffmpeg indents them further than its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

# Messages may bear a time this much before ffmpeg started or after it ended: clocks are adjusted.
CLOCK_S = 1.0
TIME_LENGTH = len("2026-01-31 12:00:00.000")
NO_TIMESTAMP = str(-(2**63))  # what ffmpeg lists for a packet without a timestamp


@dataclass(frozen=True)
class Stream:
    """A video stream: its index in the file and its frames per second, None if unknown.

    `pixels` is the size of its pictures, 0 if unknown.
    """

    index: int
    rate: float | None
    is_default: bool
    is_cover: bool
    pixels: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Probe:
    """What ffmpeg reported about its input; times are in seconds, None if unknown.

    `duration` is that of the file, including its sound. `start` is the time of the first frame
    that passed the SHOWINFO filter. `streams` are all video streams, in the file's order.
    `container` is ffmpeg's name for the file's format, and `begins` the file's own first time, from
    which ffmpeg counts all others.
    """

    duration: float | None
    start: float | None
    streams: tuple[Stream, ...]
    container: str = ""
    begins: float | None = None

    @property
    def stream(self) -> Stream | None:
        """The stream that players show: the first default one, else the first; never a cover."""
        shown = [stream for stream in self.streams if not stream.is_cover]
        return next((s for s in shown if s.is_default), shown[0] if shown else None)


@dataclass(frozen=True)
class Packet:
    """A packet's start and end in units of its list, and whether it is a key frame.

    Edit lists hide packets that are decoded but not shown.
    """

    start: int
    end: int
    is_key: bool
    is_hidden: bool


@dataclass(frozen=True)
class Listing:
    """The packets that ffmpeg listed, in decoding order, and the seconds of one unit of time.

    `unreferenced` are the numbers of those that no other picture refers to, as far as known.
    """

    unit: Fraction
    packets: tuple[Packet, ...]
    unreferenced: tuple[int, ...] = ()


@dataclass(frozen=True)
class Packets:
    """When the last picture of a stretch of video appears, and when it ends, in seconds."""

    last: float
    end: float


def own_lines(printed: str, begun: float, ended: float) -> str:
    """What ffmpeg printed from `begun` to `ended` (Unix time), one message per line, without times.

    A line without such a time continues the message above it: its second line, or a text of the
    video with a line break in it, which may imitate a message.
    """
    first, last = (
        datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:TIME_LENGTH]
        for at in (begun - CLOCK_S, ended + CLOCK_S)
    )
    lines: list[str] = []
    for line in printed.split("\n"):
        if first <= line[:TIME_LENGTH] <= last:
            lines.append(line[TIME_LENGTH + 1 :])
        elif lines:
            lines[-1] += f" {line}" if line else ""
        else:
            lines.append(line)
    return "\n".join(lines)


def parse_probe(messages: str) -> Probe:
    """Read the duration, the video streams and the first frame's time from ffmpeg's messages."""
    length = re.search(r"^\[info\]   Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)", messages, re.M)
    begins = re.search(r"^\[info\]   Duration: \S+, start: (-?[\d.]+)", messages, re.M)
    container = re.search(r"^\[info\] Input #0, (\S+), from ", messages, re.M)
    duration = None
    if length:
        hours, minutes, seconds = length.groups()
        duration = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    before_output = messages.partition("\n[info] Stream mapping:")[0]
    found = re.findall(
        r"^\[info\]   Stream #0:(\d+)(?:\[\w+\])?(?:\(.*?\))?: Video: (.*)$", before_output, re.M
    )
    # A stream of several MPEG-TS programs is printed once for each.
    streams = {int(index): _stream(int(index), text) for index, text in found}
    shown = re.search(SHOWN_FIRST + r" .*?\bpts_time:(-?[\d.]+)", messages, re.MULTILINE)
    return Probe(
        duration or None,
        float(shown[1]) if shown else None,
        tuple(streams[index] for index in sorted(streams)),
        container[1] if container else "",
        float(begins[1]) if begins else None,
    )


# How SHOWINFO begins its line about the first frame.
SHOWN_FIRST = r"^\[Parsed_showinfo_\S+ @ \S+\] \[info\] n: *0\b"


def _stream(index: int, text: str) -> Stream:
    """A stream, from what ffmpeg prints after its number; its dispositions come last."""
    rate = re.search(r", ([\d.]+)(k?) fps\b", text)
    fps = float(rate[1]) * (1000 if rate[2] else 1) if rate else 0.0
    size = re.search(r", (\d+)x(\d+)\b", text)
    pixels = int(size[1]) * int(size[2]) if size else 0
    return Stream(index, fps or None, "(default)" in text, "(attached pic)" in text, pixels)


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
    # The parser of packets goes by the decoder's name, and reads ahead to where a file was cut off.
    parsers = re.findall(r"^\[\w+ @ (\w+)\] \[error\] missing picture in access unit", before, re.M)
    others = rf"(?!(?:{'|'.join(parsers)})\])" if parsers else ""
    decoder = rf"\[(?:{names}) @ {others}\w+\] \[error\]"
    own = r"\[vist#\S+ @ \w+\] \[dec:\S+ @ \w+\] (?:\[error\]|\[warning\] corrupt decoded frame)"
    return re.search(rf"^(?:{decoder}|{own})", before, re.MULTILINE) is not None


def complains(messages: str) -> bool:
    """Whether ffmpeg reported any error, in the file, in a packet or in writing."""
    error = r"(?:\[[^]]* @ \w+\] )*(?:\[(?:error|fatal|panic)\]|\[warning\] corrupt decoded frame)"
    return re.search(rf"^{error}", messages, re.MULTILINE) is not None


# How SHOWINFO begins its line about a frame.
SHOWN = r"^\[Parsed_showinfo_\S+ @ \S+\] \[info\] n: *\d+ "


def parse_times(messages: str) -> list[float]:
    """The times of all frames that passed the SHOWINFO filter, in order."""
    return [float(time) for time in re.findall(SHOWN + r".*?\bpts_time:(-?[\d.]+)", messages, re.M)]


def parse_starts(messages: str) -> tuple[Fraction | None, list[int]]:
    """The unit of time in seconds and the starts of all frames that passed the SHOWINFO filter.

    The unit is None unless it stayed the same, as well as the size and format of the pictures.
    """
    config = r"^\[Parsed_showinfo_\S+ @ \S+\] \[info\] config in time_base: (\d+)/(\d+)"
    units = re.findall(config, messages, re.M)
    unit = Fraction(int(units[0][0]), int(units[0][1])) if len(units) == 1 else None
    return unit, [int(start) for start in re.findall(SHOWN + r"pts: *(-?\d+)", messages, re.M)]


def parse_packets(listing: Path, seek: float, span: float | None = None) -> Packets | None:
    """The end of a list that `packets_command` wrote, in the video's time; None if it is empty."""
    found = parse_listing(listing)
    if found is None:
        return None
    unit = float(found.unit)
    spans = [(one.start * unit, one.end * unit) for one in found.packets]
    spans = [one for one in spans if span is None or one[0] <= span]
    if not spans:
        return None
    last, end = max(start for start, _ in spans), max(end for _, end in spans)
    return Packets(seek + last, seek + end)


def parse_keys(listing: Path, seek: float) -> list[float]:
    """When the key frames of a list that `packets_command` wrote appear, in the video's time."""
    found = parse_listing(listing)
    if found is None:
        return []
    return sorted(seek + one.start * float(found.unit) for one in found.packets if one.is_key)


def parse_listing(listing: Path) -> Listing | None:
    """A list that `packets_command` wrote; None if there is none.

    Packets come in decoding order, which differs from the order of presentation.
    """
    text = listing.read_text() if listing.is_file() else ""
    base = re.search(r"^#tb 0: (\d+)/(\d+)$", text, re.MULTILINE)
    if not base:
        return None
    # stream, decoding time, presentation time, duration, size, checksum, and flags unless they say
    # just that it is a key frame; MPEG-PS times only some packets
    pattern = r"^0, *(-?\d+), *(-?\d+), *(\d+),[^,]*,[^,\n]*(?:, F=0x([0-9A-Fa-f]+))?"
    packets = []
    for dts, pts, length, flags in re.findall(pattern, text, re.MULTILINE):
        start = int(dts if pts == NO_TIMESTAMP else pts)
        bits = int(flags or "1", 16)
        packets.append(Packet(start, start + int(length), bits & 1 == 1, bits & 4 == 4))
    return Listing(Fraction(int(base[1]), int(base[2])), tuple(packets))
