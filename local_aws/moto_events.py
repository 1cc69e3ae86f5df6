"""Events that moto's services send to functions and queues: collected, and completed like S3's."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from itertools import count
from typing import Any

from flask import has_request_context, request
from moto.awslambda.models import LambdaFunction
from moto.s3 import notifications
from moto.s3.models import S3Backend

from local_aws.moto_patch import Method, wrap_method
from local_aws.post_form import IS_FORM


@dataclass(frozen=True)
class PendingEvent:
    """An event for the function or queue `arn`, as JSON."""

    arn: str
    payload: bytes


class PendingEvents:
    """The events that the current request has caused, kept per thread.

    moto invokes functions and sends messages inside PutObject, before it has sent the response, and
    ignores every exception. The front door therefore does both itself, after the response.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._of_thread = threading.local()
        self._sequence = count(1)

    def add(self, arn: str, body: str) -> None:
        """Add an event that this thread's request has caused."""
        event = complete_s3_event(json.loads(body), next(self._sequence))
        self._events().append(PendingEvent(arn, json.dumps(event).encode()))

    def take(self) -> list[PendingEvent]:
        """Return and forget the events that this thread has added."""
        events = list(self._events())
        self._events().clear()
        return events

    def _events(self) -> list[PendingEvent]:
        if not hasattr(self._of_thread, "events"):
            self._of_thread.events = []
        events: list[PendingEvent] = self._of_thread.events
        return events


def collect_events(pending: PendingEvents) -> None:
    """moto runs functions itself, in Docker, and announces objects before they are complete.

    Collect the events in `pending` instead.
    """

    @wrap_method(LambdaFunction, "invoke")
    def invoke(_: Method, function: Any, body: str, *args: Any) -> str:
        pending.add(function.function_arn, body)
        return "null"

    def send(account_id: str, event: Any, queue: str, region: str) -> None:
        pending.add(f"arn:aws:sqs:{region}:{account_id}:{queue}", json.dumps(event))

    notifications._send_sqs_message = send

    @wrap_method(S3Backend, "put_object")
    def put_object(put: Method, backend: Any, *args: Any, **settings: Any) -> Any:
        if has_request_context() and request.environ.get(IS_FORM):  # which reaches moto as a PUT
            settings["request_method"] = "POST"
        return put(backend, *args, **settings)


def complete_s3_event(event: Any, sequence: int) -> Any:
    """Add what moto's S3 events lack: unencoded slashes, a sequencer, and identities.

    Other events are returned as they are.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
    """
    for record in event.get("Records", []) if isinstance(event, dict) else []:
        if record.get("eventSource") != "aws:s3":
            continue
        bucket, item = record["s3"]["bucket"], record["s3"]["object"]
        item["key"] = item["key"].replace("%2F", "/")
        item.setdefault("sequencer", f"{sequence:018X}")
        bucket.setdefault("ownerIdentity", {"principalId": "LOCAL"})
        record.setdefault("userIdentity", {"principalId": "AWS:LOCAL"})
        record.setdefault("requestParameters", {"sourceIPAddress": "127.0.0.1"})
        record.setdefault("responseElements", {"x-amz-request-id": "0", "x-amz-id-2": "0"})
    return event


def bucket_of(event: PendingEvent) -> str:
    """The bucket that an event of S3, or its test event, is about."""
    body = json.loads(event.payload)
    name = body["Bucket"] if "Bucket" in body else body["Records"][0]["s3"]["bucket"]["name"]
    return str(name)
