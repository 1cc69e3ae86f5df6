"""Run ffmpeg on a video behind a URL and read what it reports.

The URL is presigned, so anyone who has it can read the video. No message that leaves this module
contains it.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from video_errors import MAX_PIXELS, FfmpegFailed, FfmpegTimeout

# The containers that the trigger accepts, and MPEG-TS, which is often named .mpg. Playlists (HLS,
# DASH, concat) refer to other files and hosts, so they are not allowed under any name.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo,mpegts"
PROTOCOLS = "http,https,tcp,tls"
# One frame of a 121 MB file: 5.3 MB in requests of 1 MiB, 11-15 MB in one open-ended request.
REQUEST_BYTES = 1 << 20
STALL_S = 15
STDERR_BYTES = 64 * 1024
# How often ffmpeg's memory is checked, and how much of the function's memory stays free to cover
# the time between two checks: decoding 8K takes about 10 MB more every 10 ms.
MEMORY_CHECK_S = 0.01
MEMORY_RESERVE_BYTES = 32 << 20
NO_TIMESTAMP = str(-(2**63))  # what ffmpeg lists for a packet without a timestamp
# The filter that makes ffmpeg print the time of each frame; `parse_probe` reads it as `start`.
SHOWINFO = "showinfo=checksum=0"


@dataclass(frozen=True)
class Video:
    """Where to read a video: its URL, the ETag to expect and the CA certificates to trust."""

    url: str
    etag: str
    ca_file: str


@dataclass(frozen=True)
class Probe:
    """What ffmpeg reported about its input, in seconds and frames per second; None if unknown.

    `duration` is that of the file, including its sound. `start` is the time of the first frame
    that passed the SHOWINFO filter.
    """

    duration: float | None
    rate: float | None
    start: float | None = None


@dataclass(frozen=True)
class Packets:
    """When the last picture of a stretch of video appears, and when it ends, in seconds."""

    last: float
    end: float


def command(video: Video, seek: float, output: list[str], pick: str = "") -> list[str]:
    """The argument list that reads `video` from `seek` seconds on and writes JPEGs to `output`.

    `pick` is a filter that selects frames.
    """
    # Make the pixels square before encoding: JPEG would squash the faces of anamorphic video.
    filters = "scale=w='clip(round(iw*sar),1,4*iw)':h=ih,setsar=1"
    if pick:
        filters = f"{pick},{filters}"
    return [*_input_arguments(video, seek), "-vf", filters, "-q:v", "2", "-f", "image2", *output]


def packets_command(
    video: Video, seek: float, output: Path, span: float | None = None
) -> list[str]:
    """The argument list that lists the packets of `video` from the key frame before `seek` on.

    The list ends `span` seconds after `seek`, if given. Nothing is decoded.
    """
    until = [] if span is None else ["-t", f"{span:.6f}"]
    listing = ["-c", "copy", "-copypriorss", "1", *until, "-f", "framecrc", str(output)]
    return [*_input_arguments(video, seek, "-noaccurate_seek"), *listing]


def _input_arguments(video: Video, seek: float, *options: str) -> list[str]:
    """The arguments that read the first video stream of `video`."""
    argv = [os.environ.get("FFMPEG", "ffmpeg"), "-nostdin", "-hide_banner", "-nostats"]
    argv += ["-loglevel", "info", "-y"]
    argv += ["-protocol_whitelist", PROTOCOLS, "-format_whitelist", FORMATS]
    argv += ["-max_pixels", str(MAX_PIXELS), "-threads", "1"]
    argv += ["-rw_timeout", str(STALL_S * 1_000_000), "-max_redirects", "0"]
    argv += ["-reconnect_on_network_error", "1", "-reconnect_on_http_error", "5xx"]
    argv += ["-reconnect_delay_max", "2", "-reconnect_max_retries", "2"]
    argv += ["-multiple_requests", "1", "-request_size", str(REQUEST_BYTES)]
    if video.etag:
        argv += ["-headers", f'If-Match: "{video.etag}"\r\n']
    if video.url.startswith("https:"):
        argv += ["-tls_verify", "1", "-ca_file", video.ca_file]
    if seek > 0:
        argv += ["-ss", f"{seek:.6f}"]
    # V selects video streams that are not cover pictures.
    return [*argv, *options, "-i", video.url, "-map", "0:V:0"]


def run(argv: list[str], url: str, seconds: float, limit: float | None = None) -> tuple[int, str]:
    """Run ffmpeg for at most `seconds`; return its exit code and its messages without the URL.

    `limit` is the time that all runs on a video share; error messages name it. Raises
    FfmpegTimeout, or FfmpegFailed if ffmpeg cannot be started, is killed or nearly exhausts the
    function's memory. No process outlives the call.
    """
    # ffmpeg does not need the function's credentials.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    with tempfile.TemporaryFile() as log:
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise FfmpegFailed(
                f"cannot run '{argv[0]}': {error.strerror}. Attach the layer that "
                "install_ffmpeg.sh builds for the function's architecture."
            ) from error
        # wait(timeout=...) polls at growing intervals and notices the end of a 35 ms run at 64 ms.
        timed_out = threading.Event()
        timer = threading.Timer(max(seconds, 0), _stop, (process, timed_out))
        timer.start()
        ended, out_of_memory = threading.Event(), threading.Event()
        watcher = threading.Thread(
            target=_watch_memory, args=(process, ended, out_of_memory), daemon=True
        )
        watcher.start()
        try:
            code = process.wait()
        finally:
            timer.cancel()
            ended.set()
            _stop(process, threading.Event())
        if out_of_memory.is_set():
            raise FfmpegFailed(
                f"ffmpeg was stopped before it used up the function's {_memory_mb()} MB: pictures "
                "this large need more. Raise memory_mb in config.json, or upload a smaller video."
            )
        if timed_out.is_set():
            allowed = max(seconds if limit is None else limit, 0)
            raise FfmpegTimeout(
                f"ffmpeg was stopped after {math.ceil(allowed)} s. Raise FFMPEG_TIMEOUT_S and "
                "the function's timeout, or upload a smaller video."
            )
        text = _head_and_tail(log.fileno()).decode("utf-8", "replace")
    if code == -signal.SIGKILL:
        raise FfmpegFailed(
            "ffmpeg was killed, most likely because memory ran out. Raise memory_mb in config.json."
        )
    return code, redact(text, url)


def _stop(process: subprocess.Popen[bytes], stopped: threading.Event) -> None:
    """Kill the process and its children if it is still running, and set `stopped` if so."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.killpg(process.pid, signal.SIGKILL)
            stopped.set()
        process.wait()


def _watch_memory(
    process: subprocess.Popen[bytes], ended: threading.Event, out_of_memory: threading.Event
) -> None:
    """Stop ffmpeg before it exhausts the function's memory.

    Lambda would end the whole environment, and no message would name the video.
    """
    allowed = (_memory_mb() << 20) - MEMORY_RESERVE_BYTES
    while allowed > 0 and not ended.wait(MEMORY_CHECK_S):
        if _resident_bytes(os.getpid()) + _resident_bytes(process.pid) > allowed:
            _stop(process, out_of_memory)


def _memory_mb() -> int:
    """The function's memory; 0 outside Lambda."""
    return int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "0"))


def _resident_bytes(pid: int) -> int:
    """The memory that a process uses; 0 if it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _head_and_tail(descriptor: int) -> bytes:
    """The start of the messages, which describes the input, and the end, which has the errors."""
    size = os.fstat(descriptor).st_size
    head = os.pread(descriptor, STDERR_BYTES, 0)
    tail_at = max(STDERR_BYTES, size - STDERR_BYTES)
    return head + b"\n" + os.pread(descriptor, STDERR_BYTES, tail_at)


def redact(text: str, url: str) -> str:
    """`text` with every URL replaced, because a presigned URL contains credentials."""
    return re.sub(r"(?i)\bhttps?:[^\s'\"]*", "<video>", text.replace(url, "<video>"))


def is_jpeg(path: Path) -> bool:
    """Whether `path` is a complete JPEG."""
    if not path.is_file():
        return False
    content = path.read_bytes()
    return content.startswith(b"\xff\xd8") and content.endswith(b"\xff\xd9")


def parse_probe(messages: str) -> Probe:
    """Read the duration, frame rate and first frame's time from ffmpeg's messages."""
    # Exactly two spaces: a video's own metadata, which can say anything, is indented further.
    length = re.search(r"^  Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)", messages, re.MULTILINE)
    duration = None
    if length:
        hours, minutes, seconds = length.groups()
        duration = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    rate = re.search(r"^  Stream #0:.*: Video: .*?, ([\d.]+)(k?) fps\b", messages, re.MULTILINE)
    fps = float(rate[1]) * (1000 if rate[2] else 1) if rate else 0.0
    shown = re.search(
        r"^\[Parsed_showinfo_\S+ @ \S+\] n: *0 .*?\bpts_time:(-?[\d.]+)", messages, re.MULTILINE
    )
    return Probe(duration or None, fps or None, float(shown[1]) if shown else None)


def parse_packets(listing: Path, seek: float, span: float | None = None) -> Packets | None:
    """Read a list that `packets_command` wrote, in the video's time; None if it has no packets."""
    text = listing.read_text() if listing.is_file() else ""
    base = re.search(r"^#tb 0: (\d+)/(\d+)$", text, re.MULTILINE)
    if not base:
        return None
    unit = int(base[1]) / int(base[2])
    # stream, decoding time, presentation time, duration, ...; MPEG-PS times only some packets
    rows = re.findall(r"^0, *(-?\d+), *(-?\d+), *(\d+),", text, re.MULTILINE)
    ticks = [(int(dts if pts == NO_TIMESTAMP else pts), int(length)) for dts, pts, length in rows]
    spans = [(start * unit, (start + length) * unit) for start, length in ticks]
    # Packets come in decoding order, which differs from the order of presentation.
    spans = [(start, end) for start, end in spans if span is None or start <= span]
    if not spans:
        return None
    return Packets(seek + max(start for start, _ in spans), seek + max(end for _, end in spans))
