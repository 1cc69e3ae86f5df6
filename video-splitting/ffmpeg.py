"""Run ffmpeg on a video behind a URL. What it prints is read by ffmpeg_output.py.

The URL is presigned, so anyone who has it can read the video. No message that leaves this module
contains it.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import ffmpeg_output
from video_errors import MAX_PIXELS, FfmpegFailed, FfmpegTimeout, TooLittleMemory

# Containers that hold everything in one file, as video_errors.CONTAINERS names them. Playlists
# (HLS, DASH, concat) refer to other files and hosts, so they are not allowed under any name.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo,mpegts,asf,asf_o,flv,ogg,mxf,h264,"
    "hevc"
)
PROTOCOLS = "http,https,tcp,tls"
# A video that was fetched is standard input, and nothing else can be opened.
FETCHED_PROTOCOLS = "fd"
# One frame of a 121 MB file: 5.3 MB in requests of 1 MiB, 11-15 MB in one open-ended request.
REQUEST_BYTES = 1 << 20
STALL_S = 15
STDERR_BYTES = 64 * 1024
# How often ffmpeg's memory is checked, and how much of the function's memory stays free to cover
# the time between two checks: decoding 8K takes about 10 MB more every 10 ms.
MEMORY_CHECK_S = 0.01
MEMORY_RESERVE_BYTES = 32 << 20
# The filter that makes ffmpeg print the time of each frame.
SHOWINFO = "showinfo=checksum=0"
# The input options that decode key frames alone. Each is whole by itself, whatever is damaged
# around it, and takes a quarter of the memory: for 8K HEVC in 10 bits, 190 MB instead of 745.
KEY_FRAMES_ALONE = ("-noaccurate_seek", "-skip_frame", "nokey")


@dataclass(frozen=True)
class Video:
    """Where to read a video: its URL, the ETag to expect and the CA certificates to trust.

    `stream` is the index of the stream to read; None for the first one that is not a cover. `size`
    is in bytes, 0 if unknown. `file` has the whole video, if it was fetched. `stall_s` is how long
    the store may be silent.
    """

    url: str
    etag: str
    ca_file: str
    stream: int | None = None
    size: int = 0
    file: Path | None = None
    stall_s: float = STALL_S


def command(
    video: Video, seek: float, output: list[str], pick: str = "", options: tuple[str, ...] = ()
) -> list[str]:
    """The argument list that reads `video` from `seek` seconds on and writes JPEGs to `output`.

    `pick` is a filter that selects frames; `options` are further options for the input.
    """
    # Make the pixels square before encoding: JPEG would squash the faces of anamorphic video.
    filters = "scale=w='clip(round(iw*sar),1,4*iw)':h=ih,setsar=1"
    if pick:
        filters = f"{pick},{filters}"
    argv = _input_arguments(video, seek, *options)
    return [*argv, "-vf", filters, "-q:v", "2", "-f", "image2", *output]


def packets_command(
    video: Video, seek: float, output: Path, span: float | None = None
) -> list[str]:
    """The argument list that lists the packets of `video` from the key frame before `seek` on.

    The list ends `span` seconds after `seek`, if given. Nothing is decoded.
    """
    until = [] if span is None else ["-t", f"{span:.6f}"]
    argv = [*_input_arguments(video, seek, "-noaccurate_seek"), "-copypriorss", "1", *until]
    return [*argv, *_listing(output)]


def all_packets_command(
    video: Video, output: Path, hurry: bool, references: Path | None = None
) -> list[str]:
    """The argument list that lists all packets of `video`, in the file's own times.

    In a `hurry`, nothing is decoded to learn more about the streams. It takes half the time, but
    ffmpeg then knows no duration of an MP4, no true times in Matroska, and no streams of formats
    without a header. `references` lists again those that other pictures may refer to; ffmpeg fails
    if it cannot tell in this codec.
    """
    options = ["-copyts", *(["-nofind_stream_info"] if hurry else [])]
    argv = [*_input_arguments(video, 0, *options), *_listing(output)]
    if references is None:
        return argv
    discard = ["-bsf:v", "filter_units=discard=nonref"]
    return [*argv, "-map", _stream(video), *discard, *_listing(references)]


def pass_command(
    video: Video, starts: Sequence[int], skipped: Sequence[int], output: str
) -> list[str]:
    """The argument list that decodes `video` from its start and writes frames as JPEGs.

    Writes the very first one and those that start at `starts`, in the stream's own units of time,
    to `output`, numbered from 0. Hides the packets whose numbers are `skipped` from the decoder.
    """
    wanted = "+".join(f"eq(pts,{start})" for start in starts)
    frames = ["-fps_mode", "passthrough", "-frames:v", str(len(starts)), "-start_number", "0"]
    pick = f"select='eq(n,0)+{wanted}',{SHOWINFO}"
    hidden = "+".join(rf"eq(n\,{number})" for number in skipped)
    options = ("-copyts", *(("-bsf:v", f"noise=drop={hidden}") if skipped else ()))
    return command(video, 0, [*frames, output], pick, options)


def _listing(output: Path) -> list[str]:
    """The arguments that list packets."""
    return ["-c", "copy", "-f", "framecrc", str(output)]


def _stream(video: Video) -> str:
    """Which stream is read. V selects video streams that are not cover pictures."""
    return "0:V:0" if video.stream is None else f"0:{video.stream}"


def _input_arguments(video: Video, seek: float, *options: str) -> list[str]:
    """The arguments that read one video stream of `video`."""
    argv = [os.environ.get("FFMPEG", "ffmpeg"), "-nostdin", "-hide_banner", "-nostats"]
    argv += ["-loglevel", "level+datetime+info", "-y"]
    protocols = FETCHED_PROTOCOLS if video.file else PROTOCOLS
    argv += ["-protocol_whitelist", protocols, "-format_whitelist", FORMATS]
    argv += ["-max_pixels", str(MAX_PIXELS), "-threads", "1"]
    if seek > 0:
        argv += ["-ss", f"{seek:.6f}"]
    if not video.file:
        argv += _http_arguments(video)
    address = "fd:" if video.file else video.url
    return [*argv, *options, "-i", address, "-map", _stream(video)]


def _http_arguments(video: Video) -> list[str]:
    """The arguments that read `video` from its URL."""
    argv = ["-rw_timeout", str(int(video.stall_s * 1_000_000)), "-max_redirects", "0"]
    argv += ["-reconnect_on_network_error", "1", "-reconnect_on_http_error", "5xx"]
    argv += ["-reconnect_delay_max", "2", "-reconnect_max_retries", "2"]
    # One connection per request. After seeking past the end, as in an AVI cut short, ffmpeg (9.0)
    # counts wrongly what is left of an answer, and waits for it on a kept connection for STALL_S.
    argv += ["-multiple_requests", "0", "-request_size", str(REQUEST_BYTES)]
    if video.etag:
        argv += ["-headers", f'If-Match: "{video.etag}"\r\n']
    if video.url.startswith("https:"):
        argv += ["-tls_verify", "1", "-ca_file", video.ca_file]
    return argv


def run(
    argv: list[str],
    url: str,
    seconds: float,
    limit: float | None = None,
    stdin: Path | None = None,
) -> tuple[int, str]:
    """Run ffmpeg for at most `seconds`; return its exit code and its messages without the URL.

    `limit` is the time that all runs on a video share; error messages name it. Raises
    FfmpegTimeout, TooLittleMemory before ffmpeg exhausts the function's memory, or FfmpegFailed if
    it cannot be started or is killed. No process outlives the call, even if the caller is killed.
    """
    allowed = seconds if limit is None else limit
    if seconds <= 0:
        raise _out_of_time(allowed)
    # ffmpeg does not need the function's credentials.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    environment["TZ"] = "UTC0"  # of the times in its messages
    begun = time.time()
    with (
        tempfile.TemporaryFile() as log,
        (stdin or Path(os.devnull)).open("rb") as source,
        _pipe() as lifeline,
    ):
        try:
            process = subprocess.Popen(
                argv,
                stdin=source,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=environment,
                start_new_session=True,
                pass_fds=(lifeline,),
            )
        except OSError as error:
            raise FfmpegFailed(
                f"cannot run '{argv[0]}': {error.strerror}. Attach the layer that "
                "install_ffmpeg.sh builds for the function's architecture."
            ) from error
        _kill_at_end(process, lifeline)
        # wait(timeout=...) polls at growing intervals and notices the end of a 35 ms run at 64 ms.
        timed_out = threading.Event()
        timer = threading.Timer(seconds, _stop, (process, timed_out))
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
            # Whichever of them stopped ffmpeg says so only after it has.
            timer.join()
            watcher.join()
        if out_of_memory.is_set():
            raise TooLittleMemory(
                f"ffmpeg was stopped before it used up the function's {_memory_mb()} MB: pictures "
                "this large need more. Raise memory_mb, or upload a smaller video."
            )
        if timed_out.is_set():
            raise _out_of_time(allowed)
        printed = _head_and_tail(log.fileno()).decode("utf-8", "replace")
    if code == -signal.SIGKILL:
        raise FfmpegFailed(
            "ffmpeg was killed, most likely because memory ran out. Raise memory_mb."
        )
    return code, redact(ffmpeg_output.own_lines(printed, begun, time.time()), url)


def _out_of_time(allowed: float) -> FfmpegTimeout:
    """The error of a video on which ffmpeg was `allowed` that many seconds, 0 or less if none."""
    what = f"ffmpeg was stopped after {math.ceil(allowed)} s"
    if allowed <= 0:
        what = "no time was left for ffmpeg"
    return FfmpegTimeout(
        f"{what}. Raise FFMPEG_TIMEOUT_S and the function's timeout, or upload a smaller video."
    )


@contextlib.contextmanager
def _pipe() -> Iterator[int]:
    """The reading end of a pipe whose writing end only this process has."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


def _kill_at_end(process: subprocess.Popen[bytes], lifeline: int) -> None:
    """Have the system kill `process`, which has `lifeline` open, when this process ends.

    The end of a pipe is input, for which fcntl(2) can send any signal. PR_SET_PDEATHSIG would have
    to be set between fork and exec, and a fork copies the tables of this process's memory: 2 ms
    with 30 MB, 5 ms with 100 MB.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, process.pid)
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC)


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
