"""Lambda `video-splitting`: a video in S3 -> frames -> the recogniser -> the agreed name."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_plus

import boto3
import botocore
import ffmpeg
import frames
import recognizer
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# Time kept for uploads, the summary and the answer when ffmpeg's share is worked out.
MARGIN_S = 5.0
ARCHIVED = {"GLACIER", "DEEP_ARCHIVE"}


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


@dataclass(frozen=True)
class Source:
    """A video as it is in the bucket now."""

    bucket: str
    key: str
    etag: str = ""
    version: str | None = None

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    @property
    def metadata(self) -> dict[str, str]:
        """What every object made from the video says about it."""
        return {
            "source-bucket": self.bucket,
            "source-key": quote(self.key),
            "source-etag": self.etag,
        }


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Split every video named in an S3 event and have its faces named.

    Every video is tried; then the one error, or VideosFailed with all of them, is raised.
    """
    sources = videos_in(event)
    done: list[dict[str, Any]] = []
    failed: list[tuple[Source, Exception]] = []
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


def videos_in(event: dict[str, Any]) -> list[Source]:
    """The videos an S3 event names, each once; none for S3's test event."""
    if event.get("Event") == "s3:TestEvent":
        return []
    records = event.get("Records")
    if not isinstance(records, list):
        raise UnexpectedEvent(f"No Records in the event {json.dumps(event)[:200]}: not from S3.")
    try:
        named = [
            Source(record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"]))
            for record in records
        ]
    except (KeyError, TypeError) as error:
        raise UnexpectedEvent(f"A record without s3 {error} in the event: not from S3.") from error
    return list(dict.fromkeys(named))


def split(named: Source, context: Any) -> dict[str, Any]:
    """Frames of one video to stage-1, the recogniser called, the agreed name written."""
    wanted = number("FRAMES", 1, 100)
    with naming(named):
        source = look(named)
        with logged("frames", source) as notes:
            keys = kept_frames(source, wanted)
            notes.update(frames=len(keys), reused=bool(keys))
            if not keys:
                keys = make_frames(source, wanted, context)
                notes.update(frames=len(keys))
        with logged("recognize", source) as notes:
            results = recognition().recognize(
                setting("STAGE_1_BUCKET"), keys, lambda: remaining_s(context)
            )
            notes.update(frames=len(keys))
        if wanted == 1:
            return {"frames": 1, "output_key": results[0]["output_key"]}
        with logged("agree", source):
            return {"frames": len(keys), "output_key": write_agreed(source, results)}


def look(named: Source) -> Source:
    """The object as it is now: its ETag and version, so that every frame is of that one."""
    try:
        head = s3().head_object(Bucket=named.bucket, Key=named.key)
    except ClientError as error:
        if error.response["Error"]["Code"] in {"404", "NoSuchKey", "NotFound"}:
            raise ffmpeg.VideoGone(
                "it was deleted before it was read. Upload it again if it is needed."
            ) from error
        if error.response["Error"]["Code"] in {"403", "AccessDenied"}:
            raise ffmpeg.VideoForbidden(
                "access denied. Give the function's role s3:GetObject on it and s3:ListBucket on "
                "its bucket, and kms:Decrypt if it is encrypted with a customer's key."
            ) from error
        raise
    if head["ContentLength"] == 0:
        raise ffmpeg.EmptyVideo("it has no bytes. Upload it again, whole.")
    if head.get("StorageClass") in ARCHIVED and 'ongoing-request="false"' not in head.get(
        "Restore", ""
    ):
        raise ffmpeg.VideoForbidden(
            f"it is archived ({head['StorageClass']}). Restore it, then send the event again."
        )
    version = head.get("VersionId")
    return Source(
        named.bucket,
        named.key,
        head["ETag"].strip('"'),
        version if version != "null" else None,
    )


def kept_frames(source: Source, wanted: int) -> list[str]:
    """Keys of the frames that an earlier event left, if all are of this very video; else none."""
    first = frame_metadata(frames.frame_key(source.key, 0, wanted))
    if not _same(first, source, wanted):
        return []
    keys = [
        frames.frame_key(source.key, index, wanted) for index in range(int(first["frame-count"]))
    ]
    with ThreadPoolExecutor(max_workers=4) as pool:
        others = list(pool.map(frame_metadata, keys[1:]))
    return keys if all(_same(other, source, wanted) for other in others) else []


def _same(metadata: dict[str, str], source: Source, wanted: int) -> bool:
    expected = {**source.metadata, "frame-policy": frames.policy(wanted)}
    return metadata.get("frame-count", "").isdigit() and expected.items() <= metadata.items()


def frame_metadata(key: str) -> dict[str, str]:
    """User metadata of a frame in stage-1; empty when there is no such frame."""
    try:
        head = s3().head_object(Bucket=setting("STAGE_1_BUCKET"), Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] in {"404", "NoSuchKey", "NotFound"}:
            return {}
        raise
    return dict(head["Metadata"])


def make_frames(source: Source, wanted: int, context: Any) -> list[str]:
    """Take the frames with ffmpeg and upload them; return their keys in order."""
    seconds = min(number("FFMPEG_TIMEOUT_S", 1, 900), remaining_s(context) - MARGIN_S)
    version = {"VersionId": source.version} if source.version else {}
    url = s3().generate_presigned_url(
        "get_object",
        Params={"Bucket": source.bucket, "Key": source.key, **version},
        ExpiresIn=max(int(seconds), 1) + 60,
    )
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
            s3().put_object(
                Bucket=setting("STAGE_1_BUCKET"),
                Key=key,
                Body=frame.path.read_bytes(),
                ContentType="image/jpeg",
                Metadata={
                    **source.metadata,
                    "frame-index": str(frame.index),
                    "frame-count": str(len(taken)),
                    "frame-time": f"{frame.time:g}",
                    "frame-policy": frames.policy(wanted),
                },
            )
            return key

        with logged("upload", source), ThreadPoolExecutor(max_workers=4) as pool:
            return list(pool.map(upload, taken))


def write_agreed(source: Source, results: list[recognizer.Result]) -> str:
    """Write the name most frames agree on, and nothing else, beside the frames' own names."""
    name, votes = recognizer.agreed_name(results)
    key = f"{frames.stem(source.key)}.txt"
    s3().put_object(
        Bucket=setting("OUTPUT_BUCKET"),
        Key=key,
        Body=name.encode(),
        ContentType="text/plain; charset=utf-8",
        Metadata={
            **source.metadata,
            "name": quote(name),
            "votes": str(votes),
            "frames": str(len(results)),
            "model": str(results[0]["model"]),
        },
    )
    return key


@contextmanager
def naming(source: Source) -> Iterator[None]:
    """Give every error of one video the video's name, and AWS's refusals a class of their own."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise StoreRefused(f"{source}: {error}") from error
    except EXPECTED as error:
        raise type(error)(f"{source}: {error}") from error


@contextmanager
def logged(step: str, source: Source) -> Iterator[dict[str, Any]]:
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
    """The recogniser as this deployment calls it."""
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
