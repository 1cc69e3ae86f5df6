"""Why no frame could be taken from a video, as errors and from ffmpeg's messages."""

from __future__ import annotations

import re
from collections.abc import Callable

# The largest pictures of cameras, 8192x4320 (DCI 8K). Larger ones are refused before decoding.
MAX_PIXELS = 8192 * 4320
# What ffmpeg.py lets ffmpeg read, as users name it.
CONTAINERS = "MP4, MOV, 3GP, MKV, WebM, AVI, MPEG, MPEG-TS, WMV/ASF, FLV, Ogg, MXF, raw H.264/HEVC"


class VideoError(Exception):
    """No frame could be taken from a video. `retry` says whether another attempt may succeed."""

    retry = True


class PermanentError(VideoError):
    """No attempt can succeed before somebody changes the video or the deployment."""

    retry = False


class NotAVideo(PermanentError):
    """The object's name is not that of a video."""


class KeyTooLong(PermanentError):
    """The video's key leaves no room for the keys of the objects made from it."""


class TooLarge(PermanentError):
    """The video's pictures have more pixels than MAX_PIXELS."""


class TooLittleMemory(PermanentError):
    """Decoding the video's pictures takes more memory than the function has."""


class EmptyVideo(PermanentError):
    """The object has no bytes."""


class UnreadableVideo(PermanentError):
    """No frame can be decoded: the object is not a video, is cut short or has an unknown codec."""


class NoVideoStream(PermanentError):
    """The file is fine but has no moving pictures, for example only sound."""


class VideoGone(VideoError):
    """The object was deleted before or while it was read."""


class VideoChanged(VideoError):
    """The object was overwritten while it was processed."""


class VideoForbidden(VideoError):
    """The function's role may not read the object."""


class VideoUnreachable(VideoError):
    """The store did not answer, or answered with a server error."""


class FfmpegTimeout(VideoError):
    """ffmpeg was stopped because it exceeded its time limit."""


class FfmpegFailed(VideoError):
    """ffmpeg could not be started or was killed."""


def failure(messages: str) -> VideoError:
    """The reason that ffmpeg wrote no frame, read from its own messages about its input."""
    for pattern, build in CAUSES:
        found = re.search(pattern, messages, re.MULTILINE)
        if found:
            return build(found["words"])
    lines = [line.strip() for line in messages.split("\n") if line.strip()]
    last = re.sub(r"^(\[[^]]*\] )+", "", lines[-1]) if lines else "ffmpeg printed nothing"
    return UnreadableVideo(f"no frame could be decoded ({last}). Upload a video that plays.")


def is_lost(messages: str) -> bool:
    """Whether ffmpeg gave up reading before the end of its input, though it may be whole."""
    pattern = rf"{INPUT}(?!Invalid data|End of file)"
    return re.search(pattern, messages, re.MULTILINE) is not None


def _unreadable(why: str) -> Callable[[str], VideoError]:
    return lambda words: UnreadableVideo(f"{why} ({words}). Upload a video that plays.")


# How messages begin: those of the protocols, in which no text of the video occurs; those of ffmpeg
# itself about its input; and those of any part about something wrong.
HTTP = r"^\[https? @ \w+\] \[warning\] "
NETWORK = r"^\[(?:https?|tcp|tls) @ \w+\] \[(?:error|fatal)\] "
INPUT = r"^\[in#0\S* @ \w+\] \[error\] Error (?:opening input|during demuxing): "
WRONG = r"^(?:\[[^]]* @ \w+\] )*\[(?:warning|error|fatal)\] .*?"

# The first match is the cause: network errors come first, because half a file looks damaged.
CAUSES: list[tuple[str, Callable[[str], VideoError]]] = [
    (
        rf"{HTTP}(?P<words>HTTP error 403.*)",
        lambda _: VideoForbidden(
            "access was denied while it was read. Give the function's role s3:GetObject on it, "
            "and kms:Decrypt if it is encrypted with a customer managed key."
        ),
    ),
    (
        rf"{HTTP}(?P<words>HTTP error 404.*)",
        lambda _: VideoGone("it was deleted while it was read. Upload it again if it is needed."),
    ),
    (
        rf"{HTTP}(?P<words>HTTP error 412.*)",
        lambda _: VideoChanged(
            "it was overwritten while it was read. A retry reads the new version."
        ),
    ),
    (
        # 416 does not mean that the store failed: ffmpeg reads past the end of a file cut short.
        rf"{HTTP}(?P<words>HTTP error (?!416)\d.*)",
        lambda words: VideoUnreachable(f"it could not be fetched ({words}). Try again."),
    ),
    (
        rf"(?:{NETWORK}|{INPUT}(?=.*(?:timed out|Network is unreachable)))(?P<words>.*)",
        lambda words: VideoUnreachable(f"it could not be fetched ({words}). Try again."),
    ),
    (
        # With any other message before it, it is the file that makes no sense.
        rf"\A{INPUT}(?P<words>Input/output error|I/O error)",
        lambda _: VideoUnreachable(
            "it could not be read: the store closed the connection or sent a redirect. Try again."
        ),
    ),
    (
        rf"{WRONG}(?P<words>matches no streams)",
        lambda _: NoVideoStream("it has no video stream. Upload a file with moving pictures."),
    ),
    (
        rf"{WRONG}(?P<words>moov atom not found)",
        _unreadable("it is not a video, or was cut short before its index"),
    ),
    (
        # ffmpeg names no container here, whichever it has found.
        rf"{WRONG}(?P<words>Format not on whitelist|Not detecting m3u8)",
        lambda _: UnreadableVideo(
            f"it is not a video file that is read here. Upload one of {CONTAINERS}."
        ),
    ),
    (
        rf"{WRONG}(?P<words>Picture size \S+ (?:is invalid|exceeds.*))",
        lambda words: TooLarge(
            f"its pictures have more than {MAX_PIXELS:,} pixels ({words}). Upload a smaller video."
        ),
    ),
    (
        rf"{WRONG}(?P<words>[Dd]ecoder .*not found.*|no decoder.*"
        r"|Could not find codec parameters.*?(?= Consider increasing|$))",
        _unreadable("its codec is unknown or its header is damaged"),
    ),
    (
        rf"{WRONG}(?P<words>Invalid data found when processing input)",
        lambda words: UnreadableVideo(
            f"it is not a video, or it is damaged ({words}). Upload a file that plays, in one of "
            f"{CONTAINERS}."
        ),
    ),
]
