"""Lambda `video-splitting`: split a video into frames and have their faces recognized."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote_plus

import boto3
import botocore
import ffmpeg
import frames
import recognizer
import store
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from video_errors import VideoError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Time reserved for uploads, the agreed name and the answer when ffmpeg's share is computed.
MARGIN_S = 5.0


class SplitterError(Exception):
    """The event, the settings or a service kept videos from being split."""


class UnexpectedEvent(SplitterError):
    """The event is not an S3 object event."""


class SettingsError(SplitterError):
    """An environment variable is missing, or is not a number in range."""


class StoreRefused(SplitterError):
    """S3 or Lambda refused a request; the message has its error code."""


class VideosFailed(SplitterError):
    """Several videos of the event failed; the message gives the reason for each."""


# Errors of one video, which must not keep the event's other videos from being tried.
PER_VIDEO_ERRORS = (VideoError, recognizer.RecognitionError, StoreRefused, OSError)


class Context(Protocol):
    """The part of Lambda's context object that the handler uses."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends this invocation."""


def handler(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """Split every video named in an S3 event and have its faces recognized.

    Tries every video, then raises the only error, or VideosFailed with all of them.
    """
    sources = videos_in(event)
    done: list[dict[str, Any]] = []
    failed: list[tuple[store.Source, Exception]] = []
    for source in sources:
        try:
            with logged("video", source) as notes:
                notes.update(split(source, context))
                done.append({"video": str(source), **notes})
        except PER_VIDEO_ERRORS as error:
            failed.append((source, error))
    if len(failed) == 1:
        raise failed[0][1]
    if failed:
        reasons = "; ".join(f"{type(error).__name__}: {error}" for _, error in failed)
        raise VideosFailed(f"{len(failed)} of {len(sources)} videos failed. {reasons}")
    return {"videos": done}


def videos_in(event: dict[str, Any]) -> list[store.Source]:
    """The videos that an S3 event names, without duplicates; none for S3's test event."""
    if event.get("Event") == "s3:TestEvent":
        return []
    records = event.get("Records")
    if not isinstance(records, list):
        raise UnexpectedEvent(f"No Records in the event {json.dumps(event)[:200]}: not from S3.")
    try:
        named = [
            store.Source(
                record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"])
            )
            for record in records
        ]
    except (KeyError, TypeError) as error:
        raise UnexpectedEvent(f"A record of the event lacks {error}: not from S3.") from error
    return list(dict.fromkeys(named))


def split(named: store.Source, context: Context) -> dict[str, Any]:
    """Write the video's frames to stage-1, call the recognizer and write the agreed name."""
    wanted = number("FRAMES", 1, 100)
    with naming_errors(named):
        source = store.inspect(s3(), named)
        with logged("frames", source) as notes:
            keys = store.reusable_frames(s3(), setting("STAGE_1_BUCKET"), source, wanted)
            notes.update(frames=len(keys), reused=bool(keys))
            if not keys:
                keys = make_frames(source, wanted, context)
                notes.update(frames=len(keys))
        with logged("invoke", source) as notes:
            results = recognition().recognize(
                setting("STAGE_1_BUCKET"), keys, partial(remaining_s, context)
            )
            notes.update(frames=len(keys))
        store.check_frames_match(source, results)
        key = results[0]["output_key"]
        if wanted > 1:
            with logged("agree", source) as notes:
                for bucket in (setting("STAGE_1_BUCKET"), setting("OUTPUT_BUCKET")):
                    removed = store.remove_surplus(s3(), bucket, source, len(keys))
                    notes["removed"] = notes.get("removed", 0) + removed
                key = store.put_agreed_name(s3(), setting("OUTPUT_BUCKET"), source, results)
        # Must come last: if the video is overwritten later, the new event starts after all this.
        store.check_not_overwritten(s3(), source)
        return {"frames": len(keys), "output_key": key}


def make_frames(source: store.Source, wanted: int, context: Context) -> list[str]:
    """Take the frames with ffmpeg and upload them; return their keys in order."""
    seconds = min(number("FFMPEG_TIMEOUT_S", 1, 900), remaining_s(context) - MARGIN_S)
    url = store.presigned(s3(), source, max(int(seconds), 1) + 60)
    ca_file = os.environ.get("AWS_CA_BUNDLE") or str(Path(botocore.__file__).parent / "cacert.pem")
    video = ffmpeg.Video(url, source.etag, ca_file)
    with tempfile.TemporaryDirectory(prefix="frames-") as folder:
        with logged("ffmpeg", source):
            taken = frames.take(video, wanted, Path(folder), seconds)
        with logged("upload", source), ThreadPoolExecutor(max_workers=4) as pool:
            bucket = setting("STAGE_1_BUCKET")
            put = partial(store.put_frame, s3(), bucket, source, wanted, len(taken))
            return list(pool.map(put, taken))


@contextmanager
def naming_errors(source: store.Source) -> Iterator[None]:
    """Prefix every error with the video's name; raise AWS errors as StoreRefused."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise StoreRefused(f"{source}: {error}") from error
    except PER_VIDEO_ERRORS as error:
        raise type(error)(f"{source}: {error}") from error


@contextmanager
def logged(step: str, source: store.Source) -> Iterator[dict[str, Any]]:
    """Print one JSON line when a step ends: the step, video, duration, notes and any error."""
    notes: dict[str, Any] = {}
    started = time.perf_counter()
    try:
        yield notes
    except Exception as error:
        notes["error"] = f"{type(error).__name__}: {error}"
        raise
    finally:
        elapsed = round((time.perf_counter() - started) * 1000, 1)
        print(json.dumps({"step": step, "video": str(source), "ms": elapsed, **notes}), flush=True)


def remaining_s(context: Context) -> float:
    """Seconds until Lambda ends this invocation."""
    return context.get_remaining_time_in_millis() / 1000


def setting(name: str) -> str:
    """An environment variable that the deploy scripts set."""
    value = os.environ.get(name)
    if not value:
        raise SettingsError(f"{name} is not set. Deploy the function with deploy/functions.py.")
    return value


def number(name: str, low: int, high: int) -> int:
    """A whole number from the environment."""
    value = setting(name)
    if not value.isdecimal() or not low <= int(value) <= high:
        raise SettingsError(f"{name} is {value!r}: use a whole number from {low} to {high}.")
    return int(value)


@cache
def s3() -> S3Client:
    """The client for the buckets.

    Virtual addressing puts the region's host name into presigned URLs. The global host redirects
    requests for a new bucket, and ffmpeg may not follow redirects. A custom endpoint has no host
    names for buckets.
    """
    custom = any(os.environ.get(name) for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"))
    return boto3.client(
        "s3",
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if custom else "virtual"},
            connect_timeout=5,
            read_timeout=30,
            retries={"total_max_attempts": 3, "mode": "standard"},
        ),
    )


@cache
def recognition() -> recognizer.Recognizer:
    """The recognizer, with the settings of this deployment."""
    timeout_s = number("RECOGNITION_TIMEOUT_S", 1, 900)
    concurrency = number("INVOKE_CONCURRENCY", 1, 100)
    settings = recognizer.client_settings(timeout_s, concurrency)
    return recognizer.Recognizer(
        client=boto3.client("lambda", config=Config(**settings)),
        function=setting("RECOGNITION_FUNCTION"),
        timeout_s=timeout_s,
        frames_per_invoke=number("FRAMES_PER_INVOKE", 1, 1000),
        concurrency=concurrency,
    )
