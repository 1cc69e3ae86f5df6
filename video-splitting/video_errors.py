"""Why no frame could be taken from a video, as errors and from ffmpeg's messages."""

from __future__ import annotations

import re
from collections.abc import Callable

# Frames larger than 8K (7680x4320) would need more memory than the function has.
MAX_PIXELS = 7680 * 4320


class VideoError(Exception):
    """No frame could be taken from a video."""


class EmptyVideo(VideoError):
    """The object has no bytes."""


class UnreadableVideo(VideoError):
    """No frame can be decoded: the object is not a video, is cut short or has an unknown codec."""


class NoVideoStream(VideoError):
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
    """ffmpeg could not be started, was killed or was about to exhaust the function's memory."""


def failure(messages: str) -> VideoError:
    """The reason that ffmpeg wrote no frame, read from its messages."""
    for pattern, build in CAUSES:
        found = re.search(pattern, messages)
        if found:
            return build(found[0])
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    last = re.sub(r"^\[[^]]*\] ", "", lines[-1]) if lines else "ffmpeg printed nothing"
    return UnreadableVideo(f"no frame could be decoded ({last}). Upload a video that plays.")


def _unreadable(why: str) -> Callable[[str], VideoError]:
    return lambda words: UnreadableVideo(f"{why} ({words}). Upload a video that plays.")


# The first match is the cause: network errors come first, because half a file looks damaged.
CAUSES: list[tuple[str, Callable[[str], VideoError]]] = [
    (
        r"(?:HTTP error|Server returned) 403.*",
        lambda _: VideoForbidden(
            "access was denied while it was read. Give the function's role s3:GetObject on it, "
            "and kms:Decrypt if it is encrypted with a customer managed key."
        ),
    ),
    (
        r"(?:HTTP error|Server returned) 404.*",
        lambda _: VideoGone("it was deleted while it was read. Upload it again if it is needed."),
    ),
    (
        r"(?:HTTP error|Server returned) 412.*",
        lambda _: VideoChanged(
            "it was overwritten while it was read. A retry reads the new version."
        ),
    ),
    (
        r"(?:HTTP error|Server returned) \d.*|Failed to resolve.*|Connection (?:refused|reset).*"
        r"|.*[Cc]onnection.* timed out|certificate verify failed|Network is unreachable",
        lambda words: VideoUnreachable(f"it could not be fetched ({words}). Try again."),
    ),
    (
        r"Error opening input: (?:Input/output|I/O) error",
        lambda _: VideoUnreachable(
            "it could not be read: the store closed the connection or sent a redirect. Try again."
        ),
    ),
    (
        r"matches no streams",
        lambda _: NoVideoStream("it has no video stream. Upload a file with moving pictures."),
    ),
    (
        r"moov atom not found",
        _unreadable("it is not a video, or was cut short before its index"),
    ),
    (r"Format not on whitelist|Not detecting m3u8.*", _unreadable("it is not a video file")),
    (
        r"Picture size \S+ (?:is invalid|exceeds.*)",
        _unreadable(f"its pictures have more than {MAX_PIXELS:,} pixels"),
    ),
    (
        r"(?:Decoder|decoder) .*not found.*|no decoder.*|Could not find codec parameters.*",
        _unreadable("its codec is unknown or its header is damaged"),
    ),
    (
        r"Invalid data found when processing input",
        _unreadable("it is not a video, or it is damaged"),
    ),
]
