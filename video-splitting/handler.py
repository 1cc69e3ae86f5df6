"""Lambda `video-splitting`: split a video into frames and have their faces recognized."""

from __future__ import annotations

import gc

gc.disable()  # INIT makes no garbage, and looking for it takes a fifth of its time

import json
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import unquote_plus

import botocore.session
import configuration
import keys
import messages
import permanent
import recognizer
import store
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.loaders import Loader
from configuration import SettingsError, SplitterError, number, setting
from splitting import Splitter
from step_log import begin, log, logged
from video_errors import VideoError

if TYPE_CHECKING:
    from botocore.session import Session
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

__all__ = ["SettingsError", "handler"]


class UnexpectedEvent(SplitterError):
    """The event is not an S3 object event."""

    retry = False


class StoreRefused(SplitterError):
    """S3, Lambda or SQS refused a request; the message has its error code."""


class VideosFailed(SplitterError):
    """Several videos of the event failed; the message gives the reason for each."""


class Unforeseen(SplitterError):
    """An error that this code does not know; the message has its type, the log its traceback."""


# How long S3 may be silent: three attempts take a third of the time, which ffmpeg and the
# recognizer leave free. TIMEOUT_S has the seconds that an invocation may take.
SHARE_OF_TIMEOUT = 1 / 9
DEFAULT_TIMEOUT_S = 280


class Context(Protocol):
    """The part of Lambda's context object that the handler uses."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends this invocation."""


def handler(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """Split every video named in an S3 event and have its faces recognized.

    The event comes from S3, or in messages of a queue, each of which succeeds or fails alone.
    Raises what `answer` raises for an event of S3.
    """
    begin(context)
    if not messages.are_in(event):
        return answer(event, context)

    def waited(event: dict[str, Any], waited_ms: float) -> None:
        for source in videos_in(event):
            log("queued", source, ms=round(waited_ms, 1))
        answer(event, context)

    failures = os.environ.get("FAILURE_QUEUE_URL", "")
    return messages.Messages(sqs, failures, context).handle_each(event, waited)


def answer(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """Answer every video in an S3 event.

    Tries every video. If no retry can mend any failure, they are sent to the failure queue and
    returned. Else raises the only error, or VideosFailed with all of them.
    """
    records = videos_in(event)
    done: list[dict[str, Any]] = []
    failed: list[tuple[store.Source, Exception]] = []
    for source in records:
        if reason := keys.skip_reason(source.key):
            log("skipped", source, reason=reason)
            continue
        log("start", source)
        try:
            with logged("video", source) as notes, naming_errors(source):
                notes.update(splitter(context).split(source))
                done.append({"video": str(source), **notes})
        except Exception as error:  # noqa: BLE001 - reported, and the other videos are tried
            failed.append((source, error))
    if not failed:
        return {"videos": done}
    if reported(failed, records, context):
        failures = [
            {"video": str(source), "error": f"{type(error).__name__}: {error}"}
            for source, error in failed
        ]
        return {"videos": done, "failed": failures}
    if len(failed) == 1:
        raise failed[0][1]
    reasons = "; ".join(f"{type(error).__name__}: {error}" for _, error in failed)
    raise VideosFailed(f"{len(failed)} of {len(records)} videos failed. {reasons}")


def reported(
    failed: list[tuple[store.Source, Exception]],
    records: dict[store.Source, dict[str, Any]],
    context: Context,
) -> bool:
    """Whether the failures are in the failure queue because no retry can mend them.

    If a retry can mend one, none is sent: the retry tries all videos of the event again. If the
    queue refuses one, Lambda's own retries take care of them.
    """
    queue = os.environ.get("FAILURE_QUEUE_URL", "")
    if not queue or any(getattr(error, "retry", True) for _, error in failed):
        return False
    try:
        for source, error in failed:
            content = {"requestPayload": {"Records": [records[source]]}}
            permanent.send(sqs(), queue, content, error, context)
    except (ClientError, BotoCoreError) as error:
        for source, _ in failed:
            log("report", source, error=f"{type(error).__name__}: {error}")
        return False
    return True


def splitter(context: Context) -> Splitter:
    """The splitter, with the settings of this deployment."""
    return Splitter(
        s3=s3(),
        recognizer=recognition(),
        stage=setting("STAGE_1_BUCKET"),
        output=setting("OUTPUT_BUCKET"),
        plan=configuration.plan(),
        answers=configuration.answers(),
        ffmpeg_s=number("FFMPEG_TIMEOUT_S", 1, 900),
        ca_file=os.environ.get("AWS_CA_BUNDLE")
        or str(Path(botocore.__file__).parent / "cacert.pem"),
        remaining_s=lambda: context.get_remaining_time_in_millis() / 1000,
    )


def videos_in(event: dict[str, Any]) -> dict[store.Source, dict[str, Any]]:
    """The objects that an S3 event names, each with its record; none for S3's test event."""
    if not isinstance(event, dict):
        raise UnexpectedEvent(f"The event {json.dumps(event)[:200]} is not an object: not from S3.")
    if event.get("Event") == "s3:TestEvent":
        return {}
    records = event.get("Records")
    if not isinstance(records, list):
        raise UnexpectedEvent(f"No Records in the event {json.dumps(event)[:200]}: not from S3.")
    return {_named_in(record): record for record in records}


def _named_in(record: Any) -> store.Source:
    """The object that a record names; raises UnexpectedEvent."""
    try:
        bucket, key = record["s3"]["bucket"]["name"], record["s3"]["object"]["key"]
    except (KeyError, TypeError) as error:
        raise UnexpectedEvent("A record of the event names no object: not from S3.") from error
    for what, name in (("bucket", bucket), ("key", key)):
        if not isinstance(name, str) or not name or not _is_utf8(name):
            shown = json.dumps(name)[:200]
            raise UnexpectedEvent(f"A record of the event has the {what} {shown}: not from S3.")
    return store.Source(bucket, unquote_plus(key))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can escape
        return False
    return True


@contextmanager
def naming_errors(source: store.Source) -> Iterator[None]:
    """Prefix every error with the video's name; raise AWS errors as StoreRefused.

    Errors of the settings concern no single video.
    """
    try:
        yield
    except SplitterError:
        raise
    except (ClientError, BotoCoreError) as error:
        raise StoreRefused(f"{source}: {error}") from error
    except (VideoError, recognizer.RecognitionError, OSError) as error:
        raise type(error)(f"{source}: {error}") from error
    except Exception as error:
        traceback.print_exc()
        raise Unforeseen(f"{source}: {type(error).__name__}: {error}") from error


class OurServices(Loader):
    """botocore's data, without looking through the folders of 400 services for what there is."""

    def list_available_services(self, type_name: str) -> list[str]:
        """The services that this function calls."""
        return ["lambda", "s3", "sqs"]


@cache
def session() -> Session:
    """What makes clients: botocore alone, which starts in less time than boto3 on top of it."""
    made = botocore.session.get_session()
    made.register_component("data_loader", OurServices())
    return made


@cache
def s3() -> S3Client:
    """The client for the buckets.

    Virtual addressing puts the region's host name into presigned URLs. The global host redirects
    requests for a new bucket, and ffmpeg may not follow redirects. A custom endpoint has no host
    names for buckets.
    """
    timeout_s = number("TIMEOUT_S", 1, 900) if os.environ.get("TIMEOUT_S") else DEFAULT_TIMEOUT_S
    custom = any(os.environ.get(name) for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"))
    client = session().create_client(
        "s3",
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if custom else "virtual"},
            connect_timeout=min(5.0, timeout_s * SHARE_OF_TIMEOUT),
            read_timeout=timeout_s * SHARE_OF_TIMEOUT,
            retries={"total_max_attempts": 3, "mode": "standard"},
        ),
    )
    return cast("S3Client", client)


@cache
def sqs() -> SQSClient:
    """The client for the failure queue."""
    retries: Any = {"total_max_attempts": 3, "mode": "standard"}
    config = Config(connect_timeout=5, read_timeout=10, retries=retries)
    return cast("SQSClient", session().create_client("sqs", config=config))


@cache
def recognition() -> recognizer.Recognizer:
    """The recognizer, with the settings of this deployment."""
    timeout_s = number("RECOGNITION_TIMEOUT_S", 1, 900)
    concurrency = number("INVOKE_CONCURRENCY", 1, 100)
    settings = recognizer.client_settings(timeout_s, concurrency)
    return recognizer.Recognizer(
        client=cast("LambdaClient", session().create_client("lambda", config=Config(**settings))),
        function=setting("RECOGNITION_FUNCTION"),
        timeout_s=timeout_s,
        frames_per_invoke=number("FRAMES_PER_INVOKE", 1, 1000),
        concurrency=concurrency,
    )


try:
    if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
        # While an environment starts, it has a whole vCPU, later a part of one, and clients take
        # 0.1 s of a whole one to make. A missing setting is an error of the first event, which
        # names it.
        with suppress(SettingsError):
            s3()
            recognition()
finally:
    gc.enable()
