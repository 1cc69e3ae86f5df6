"""Runs ffmpeg on a video behind a URL, and says in plain words why it failed.

The URL is presigned: whoever has it can read the video. It never leaves this module in a message.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Containers the trigger lets in, and MPEG-TS, which is often named .mpg. Playlists (HLS, DASH,
# concat), which name other files and hosts, are not among them, whatever a file calls itself.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo,mpegts"
PROTOCOLS = "http,https,tcp,tls"
# One frame of a 121 MB file: 5.3 MB in requests of 1 MiB, 11-15 MB in one open-ended request.
REQUEST_BYTES = 1 << 20
STALL_S = 15
# Frames larger than 8K (7680x4320) would need more memory than the function has.
MAX_PIXELS = 7680 * 4320
STDERR_BYTES = 64 * 1024
# How often ffmpeg's memory is looked at, and what is left of the function's for the moment between:
# decoding 8K takes some 10 MB more in each 10 ms.
WATCH_S = 0.01
SPARE_BYTES = 32 << 20


class VideoError(Exception):
    """A video from which no frame could be taken."""


class EmptyVideo(VideoError):
    """The object has no bytes."""


class UnreadableVideo(VideoError):
    """No frame of the object can be decoded: not a video, cut short, or an unknown codec."""


class NoVideoStream(VideoError):
    """The file is fine but has no moving pictures, only sound for instance."""


class VideoGone(VideoError):
    """The object was deleted before, or while, it was read."""


class VideoChanged(VideoError):
    """The object was overwritten while it was read."""


class VideoForbidden(VideoError):
    """The function's role may not read the object."""


class VideoUnreachable(VideoError):
    """The store did not answer, or answered with an error of its own."""


class FfmpegTimeout(VideoError):
    """ffmpeg was stopped because it took longer than it may."""


class FfmpegFailed(VideoError):
    """ffmpeg cannot be run here, or was killed."""


@dataclass(frozen=True)
class Video:
    """Where a video is read: its URL, the ETag it must have, and who vouches for the server."""

    url: str
    etag: str
    ca_file: str


@dataclass(frozen=True)
class Report:
    """What ffmpeg said about its input; None where it could not tell.

    `duration` is the file's, sound included; `start` is when the first picture that ffmpeg was
    told to show comes.
    """

    duration: float | None
    rate: float | None
    start: float | None = None


@dataclass(frozen=True)
class Packets:
    """When the last picture of a stretch of video comes, and when it ends; in seconds."""

    last: float
    end: float


NO_TIME = str(-(2**63))  # what stands where a packet has no time
# The filter after which a report has a `start`.
SHOW = "showinfo=checksum=0"


def command(video: Video, seek: float, output: list[str], pick: str = "") -> list[str]:
    """The argument list that reads `video` from `seek` seconds on and writes JPEGs to `output`.

    `pick` is a filter that chooses among the frames.
    """
    # Pixels become square before they become JPEG: faces of anamorphic video would be squashed.
    filters = "scale=w='clip(round(iw*sar),1,4*iw)':h=ih,setsar=1"
    if pick:
        filters = f"{pick},{filters}"
    return [*_reading(video, seek), "-vf", filters, "-q:v", "2", "-f", "image2", *output]


def packets_command(
    video: Video, seek: float, output: Path, span: float | None = None
) -> list[str]:
    """The argument list that lists packets of `video`, from the key frame before `seek` on.

    It ends `span` seconds after `seek`, if that is given. Nothing is decoded.
    """
    until = [] if span is None else ["-t", f"{span:.6f}"]
    listing = ["-c", "copy", "-copypriorss", "1", *until, "-f", "framecrc", str(output)]
    return [*_reading(video, seek, "-noaccurate_seek"), *listing]


def _reading(video: Video, seek: float, *options: str) -> list[str]:
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
    # V: a video stream that is no cover picture.
    return [*argv, *options, "-i", video.url, "-map", "0:V:0"]


def run(argv: list[str], url: str, seconds: float, limit: float | None = None) -> tuple[int, str]:
    """Run ffmpeg for at most `seconds`; return its exit code and its messages without the URL.

    `limit` is what all runs on a video may take together, for the message. Raises FfmpegTimeout,
    or FfmpegFailed when it cannot be started, was killed or would use up the function's memory.
    No process is left behind in any case.
    """
    # The credentials of the function are not ffmpeg's business.
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
        # Not wait(timeout=...): that polls ever more slowly and notices a 35 ms run after 64 ms.
        late = threading.Event()
        alarm = threading.Timer(max(seconds, 0), _stop, (process, late))
        alarm.start()
        ended, large = threading.Event(), threading.Event()
        guard = threading.Thread(target=_watch_memory, args=(process, ended, large), daemon=True)
        guard.start()
        try:
            code = process.wait()
        finally:
            alarm.cancel()
            ended.set()
            _stop(process, threading.Event())
        if large.is_set():
            raise FfmpegFailed(
                f"ffmpeg was stopped because the function's {_memory_mb()} MB were nearly used "
                "up: pictures so large need more. Raise memory_mb in config.json, or upload a "
                "smaller video."
            )
        if late.is_set():
            whole = max(seconds if limit is None else limit, 0)
            raise FfmpegTimeout(
                f"ffmpeg was stopped after {whole:.0f} s. Raise FFMPEG_TIMEOUT_S and "
                "the function's timeout, or upload a smaller video."
            )
        text = _ends(log.fileno()).decode("utf-8", "replace")
    if code == -signal.SIGKILL:
        raise FfmpegFailed(
            "ffmpeg was killed, most likely for want of memory. Raise memory_mb in config.json."
        )
    return code, redact(text, url)


def _stop(process: subprocess.Popen[bytes], stopped: threading.Event) -> None:
    """Kill the process and its children, if it still runs."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):  # it ended just now
            os.killpg(process.pid, signal.SIGKILL)
            stopped.set()
        process.wait()


def _watch_memory(
    process: subprocess.Popen[bytes], ended: threading.Event, large: threading.Event
) -> None:
    """Stop ffmpeg before it takes what is left of the function's memory.

    Lambda would end the whole environment, and nothing would say which video it was.
    """
    allowed = (_memory_mb() << 20) - SPARE_BYTES
    while allowed > 0 and not ended.wait(WATCH_S):
        if _resident(os.getpid()) + _resident(process.pid) > allowed:
            _stop(process, large)


def _memory_mb() -> int:
    """The function's memory; 0 outside Lambda."""
    return int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "0"))


def _resident(pid: int) -> int:
    """The bytes of memory that a process uses; 0 when it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _ends(descriptor: int) -> bytes:
    """The head of the messages, where the input is described, and the tail, with the errors."""
    size = os.fstat(descriptor).st_size
    head = os.pread(descriptor, STDERR_BYTES, 0)
    tail_at = max(STDERR_BYTES, size - STDERR_BYTES)
    return head + b"\n" + os.pread(descriptor, STDERR_BYTES, tail_at)


def redact(text: str, url: str) -> str:
    """`text` with every URL replaced: a presigned one holds credentials."""
    return re.sub(r"(?i)\bhttps?:[^\s'\"]*", "<video>", text.replace(url, "<video>"))


def is_jpeg(path: Path) -> bool:
    """Whether `path` is a JPEG written to its end."""
    if not path.is_file():
        return False
    content = path.read_bytes()
    return content.startswith(b"\xff\xd8") and content.endswith(b"\xff\xd9")


def report(messages: str) -> Report:
    """Duration in seconds and frames a second, as ffmpeg printed them about its input."""
    # Exactly two spaces: a video's own metadata, which may say anything, is indented by more.
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
    return Report(duration or None, fps or None, float(shown[1]) if shown else None)


def packets(listing: Path, seek: float, span: float | None = None) -> Packets | None:
    """What `packets_command` listed, in the video's own time; None if there is no packet."""
    text = listing.read_text() if listing.is_file() else ""
    base = re.search(r"^#tb 0: (\d+)/(\d+)$", text, re.MULTILINE)
    if not base:
        return None
    unit = int(base[1]) / int(base[2])
    # stream, decoding time, time, duration, ...; MPEG-PS tells the time of some packets only
    rows = re.findall(r"^0, *(-?\d+), *(-?\d+), *(\d+),", text, re.MULTILINE)
    ticks = [(int(decoded if at == NO_TIME else at), int(long)) for decoded, at, long in rows]
    spans = [(at * unit, (at + long) * unit) for at, long in ticks]
    # Packets come in the order of decoding, which is not that of the pictures.
    spans = [(at, end) for at, end in spans if span is None or at <= span]
    if not spans:
        return None
    return Packets(seek + max(at for at, _ in spans), seek + max(end for _, end in spans))


def failure(messages: str) -> VideoError:
    """Why ffmpeg, whose messages these are, wrote no frame."""
    for pattern, build in CAUSES:
        found = re.search(pattern, messages)
        if found:
            return build(found[0])
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    last = re.sub(r"^\[[^]]*\] ", "", lines[-1]) if lines else "ffmpeg said nothing"
    return UnreadableVideo(f"no frame could be decoded ({last}). Upload a video that plays.")


def _unreadable(why: str) -> Callable[[str], VideoError]:
    return lambda words: UnreadableVideo(f"{why} ({words}). Upload a video that plays.")


# The first that matches is the cause: network before content, since half a file looks broken.
CAUSES: list[tuple[str, Callable[[str], VideoError]]] = [
    (
        r"(?:HTTP error|Server returned) 403.*",
        lambda _: VideoForbidden(
            "the store refused to give it. Give the function's role s3:GetObject on it, and "
            "kms:Decrypt if it is encrypted with a customer's key."
        ),
    ),
    (
        r"(?:HTTP error|Server returned) 404.*",
        lambda _: VideoGone("it was deleted while it was read. Upload it again if it is needed."),
    ),
    (
        r"(?:HTTP error|Server returned) 412.*",
        lambda _: VideoChanged("it was overwritten while it was read. A retry reads the new one."),
    ),
    (
        r"(?:HTTP error|Server returned) \d.*|Failed to resolve.*|Connection (?:refused|reset).*"
        r"|.*[Cc]onnection.* timed out|certificate verify failed|Network is unreachable",
        lambda words: VideoUnreachable(f"the store did not give it ({words}). Try again."),
    ),
    (
        r"Error opening input: (?:Input/output|I/O) error",
        lambda _: VideoUnreachable(
            "it could not be read: the store hung up or sent ffmpeg elsewhere. Try again."
        ),
    ),
    (
        r"matches no streams",
        lambda _: NoVideoStream("it has no video stream. Upload a file with moving pictures."),
    ),
    (
        r"moov atom not found",
        _unreadable("it is no video, or was cut short before its index"),
    ),
    (r"Format not on whitelist|Not detecting m3u8.*", _unreadable("it is no video file")),
    (
        r"Picture size \S+ (?:is invalid|exceeds.*)",
        _unreadable(f"its pictures have over {MAX_PIXELS:,} pixels"),
    ),
    (
        r"(?:Decoder|decoder) .*not found.*|no decoder.*|Could not find codec parameters.*",
        _unreadable("its codec is not known or its header is damaged"),
    ),
    (
        r"Invalid data found when processing input",
        _unreadable("it is no video, or a damaged one"),
    ),
]
