"""Lambda `video-splitting`: a video in S3 -> frames -> the recognizer -> the agreed name."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import boto3
import botocore
import ffmpeg
import frames
import recognizer
import store
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# Time kept for uploads, the summary and the answer when ffmpeg's share is worked out.
MARGIN_S = 5.0


class UnexpectedEvent(Exception):
    """The event is not one that S3 sends about an object."""


class SettingMissing(Exception):
    """An environment variable is missing or not a number in range."""


class StoreRefused(Exception):
    """S3 or Lambda refused a request; its error code is in the text."""


class VideosFailed(Exception):
    """More than one video of the event failed; the text lists each with its reason."""


# What can go wrong with one video and must not keep the others of the event from being tried.
EXPECTED = (
    ffmpeg.VideoError,
    recognizer.RecognitionFailed,
    recognizer.RecognitionThrottled,
    recognizer.RecognitionBadAnswer,
    StoreRefused,
    OSError,
)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Split every video named in an S3 event and have its faces named.

    Every video is tried; then the one error, or VideosFailed with all of them, is raised.
    """
    sources = videos_in(event)
    done: list[dict[str, Any]] = []
    failed: list[tuple[store.Source, Exception]] = []
    for source in sources:
        try:
            with logged("video", source) as notes:
                notes.update(split(source, context))
                done.append({"video": str(source), **notes})
        except EXPECTED as error:
            failed.append((source, error))
    if len(failed) == 1:
        raise failed[0][1]
    if failed:
        reasons = "; ".join(f"{type(error).__name__}: {error}" for _, error in failed)
        raise VideosFailed(f"{len(failed)} of {len(sources)} videos failed. {reasons}")
    return {"videos": done}


def videos_in(event: dict[str, Any]) -> list[store.Source]:
    """The videos an S3 event names, each once; none for S3's test event."""
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
        raise UnexpectedEvent(f"A record without s3 {error} in the event: not from S3.") from error
    return list(dict.fromkeys(named))


def split(named: store.Source, context: Any) -> dict[str, Any]:
    """Frames of one video to stage-1, the recognizer called, the agreed name written."""
    wanted = number("FRAMES", 1, 100)
    with naming(named):
        source = store.look(s3(), named)
        with logged("frames", source) as notes:
            keys = store.kept_frames(s3(), setting("STAGE_1_BUCKET"), source, wanted)
            notes.update(frames=len(keys), reused=bool(keys))
            if not keys:
                keys = make_frames(source, wanted, context)
                notes.update(frames=len(keys))
        with logged("invoke", source) as notes:
            results = recognition().recognize(
                setting("STAGE_1_BUCKET"), keys, lambda: remaining_s(context)
            )
            notes.update(frames=len(keys))
        store.check_own(source, results)
        key = results[0]["output_key"]
        if wanted > 1:
            with logged("agree", source) as notes:
                for bucket in (setting("STAGE_1_BUCKET"), setting("OUTPUT_BUCKET")):
                    removed = store.remove_surplus(s3(), bucket, source, len(keys))
                    notes["removed"] = notes.get("removed", 0) + removed
                key = store.put_agreed(s3(), setting("OUTPUT_BUCKET"), source, results)
        # Last: whoever overwrites the video from here on has an event that begins after all this.
        store.check_still_there(s3(), source)
        return {"frames": len(keys), "output_key": key}


def make_frames(source: store.Source, wanted: int, context: Any) -> list[str]:
    """Take the frames with ffmpeg and upload them; return their keys in order."""
    seconds = min(number("FFMPEG_TIMEOUT_S", 1, 900), remaining_s(context) - MARGIN_S)
    url = store.presigned(s3(), source, max(int(seconds), 1) + 60)
    authorities = os.environ.get("AWS_CA_BUNDLE") or str(
        Path(botocore.__file__).parent / "cacert.pem"
    )
    with tempfile.TemporaryDirectory(prefix="frames-") as folder:
        with logged("ffmpeg", source):
            taken = frames.take(
                ffmpeg.Video(url, source.etag, authorities), wanted, Path(folder), seconds
            )

        def upload(frame: frames.Frame) -> str:
            key = frames.frame_key(source.key, frame.index, wanted)
            where = (setting("STAGE_1_BUCKET"), key)
            store.put_frame(s3(), where, source, frame, len(taken), frames.policy(wanted))
            return key

        with logged("upload", source), ThreadPoolExecutor(max_workers=4) as pool:
            return list(pool.map(upload, taken))


@contextmanager
def naming(source: store.Source) -> Iterator[None]:
    """Give every error of one video the video's name, and AWS's refusals a class of their own."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise StoreRefused(f"{source}: {error}") from error
    except EXPECTED as error:
        raise type(error)(f"{source}: {error}") from error


@contextmanager
def logged(step: str, source: store.Source) -> Iterator[dict[str, Any]]:
    """Print one line of JSON when a step ends: what, which video, how long, and why it failed."""
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


def remaining_s(context: Any) -> float:
    """Seconds until Lambda ends this invocation."""
    return float(context.get_remaining_time_in_millis()) / 1000


def setting(name: str) -> str:
    """An environment variable that the deploy scripts set."""
    value = os.environ.get(name)
    if not value:
        raise SettingMissing(f"{name} is not set. Deploy the function with deploy/functions.py.")
    return value


def number(name: str, low: int, high: int) -> int:
    """A whole number from the environment."""
    value = setting(name)
    if not value.isdecimal() or not low <= int(value) <= high:
        raise SettingMissing(f"{name} is {value!r}: use a whole number from {low} to {high}.")
    return int(value)


@cache
def s3() -> Any:
    """The client for the buckets.

    Virtual addressing puts the region's own host into presigned URLs; the global one answers with
    redirects for a new bucket, and ffmpeg is allowed none. An endpoint of one's own has no names
    for buckets.
    """
    own = any(os.environ.get(name) for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"))
    return boto3.client(
        "s3",
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if own else "virtual"},
            connect_timeout=5,
            read_timeout=30,
            retries={"total_max_attempts": 3, "mode": "standard"},
        ),
    )


@cache
def recognition() -> recognizer.Recognizer:
    """The recognizer as this deployment calls it."""
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
