"""Uploads that waited in a queue: each message holds S3's event, and succeeds or fails alone.

In accounts too small to reserve concurrency, S3 sends its events to a queue that Lambda reads for
the splitter. Lambda deletes the messages that are not returned as failed.
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import permanent
from botocore.exceptions import BotoCoreError, ClientError
from configuration import SplitterError
from step_log import note

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# Seconds until a failed upload is tried again: twice as long each time, as Lambda does with events.
# Without this, it would stay hidden for the queue's visibility timeout.
FIRST_RETRY_S, LONGEST_RETRY_S = 60, 900

# Handles S3's event; called with the event and how long it waited, in milliseconds.
Handle = Callable[[dict[str, Any], float], None]


class NotAnEvent(SplitterError):
    """A message is not an event."""

    retry = False


def are_in(event: Any) -> bool:
    """Whether the event holds messages of a queue."""
    records = event.get("Records") if isinstance(event, dict) else None
    return isinstance(records, list) and any(
        isinstance(record, dict) and record.get("eventSource") == "aws:sqs" for record in records
    )


class Messages:
    """The messages of one invocation.

    `failures` is the URL of the failure queue, or "" if there is none. Whatever fails for good is
    sent there with its error, which Lambda does not do for messages.
    """

    def __init__(self, sqs: Callable[[], SQSClient], failures: str, context: Any) -> None:
        """Keep what is needed to report failures; the client is made when it is."""
        self._sqs = sqs
        self._failures = failures
        self._context = context

    def handle_each(self, event: dict[str, Any], handle: Handle) -> dict[str, Any]:
        """Handle every message; return those to try again, as Lambda wants them named.

        Raises NotAnEvent before handling any if one is not as SQS sends it.
        """
        for message in event["Records"]:
            if not _is_message(message):
                shown = json.dumps(message)[:200]
                raise NotAnEvent(f"The record {shown} is not a message of a queue: not from SQS.")
        again = [
            {"itemIdentifier": message["messageId"]}
            for message in event["Records"]
            if not self._is_done(message, handle)
        ]
        return {"batchItemFailures": again}

    def _is_done(self, message: dict[str, Any], handle: Handle) -> bool:
        """Whether the message is done with: handled, or reported as failed for good."""
        try:
            handle(parsed(message["body"]), _waited_ms(message))
        except Exception as error:  # noqa: BLE001 - reported, and the other messages go on
            return self._is_reported(message, error)
        return True

    def _is_reported(self, message: dict[str, Any], error: Exception) -> bool:
        """Report an error that is final; else have the message tried again after a while.

        If SQS refuses that, the message appears again after its visibility timeout, and SQS moves
        it to the failure queue in the end.
        """
        text, receives = f"{type(error).__name__}: {error}", _receives(message)
        about: dict[str, Any] = {"message": message["messageId"], "receives": receives}
        if not self._failures:
            note("message", **about, error=text)
            return False
        queue = self._queue_of(message)
        try:
            if getattr(error, "retry", True) and receives < self._most_receives(queue):
                delay = min(FIRST_RETRY_S * 2 ** (receives - 1), LONGEST_RETRY_S)
                self._sqs().change_message_visibility(
                    QueueUrl=queue,
                    ReceiptHandle=message["receiptHandle"],
                    VisibilityTimeout=delay,
                )
                note("message", **about, error=text, again_s=delay)
                return False
            content = _content(message["body"])
            permanent.send(self._sqs(), self._failures, content, error, self._context, receives)
        except (ClientError, BotoCoreError) as refusal:
            refused = f"{type(refusal).__name__}: {refusal}"
            note("message", **about, error=text, refused=refused)
            return False
        note("message", **about, error=text, reported=True)
        return True

    def _queue_of(self, message: dict[str, Any]) -> str:
        """The URL of the message's queue: that of the failure queue with the other name."""
        name = str(message["eventSourceARN"]).rpartition(":")[2]
        return f"{self._failures.rpartition('/')[0]}/{name}"

    def _most_receives(self, queue: str) -> int:
        """How often a message is received before SQS gives up on it."""
        found = self._sqs().get_queue_attributes(QueueUrl=queue, AttributeNames=["RedrivePolicy"])
        policy = found.get("Attributes", {}).get("RedrivePolicy", "{}")
        return int(json.loads(policy).get("maxReceiveCount", 1))


def _is_message(record: Any) -> bool:
    """Whether a record of an event has all that is read of a message."""
    if not isinstance(record, dict) or not isinstance(record.get("attributes"), dict):
        return False
    texts = [record.get(name) for name in ("messageId", "receiptHandle", "body", "eventSourceARN")]
    numbers = [
        record["attributes"].get(name) for name in ("ApproximateReceiveCount", "SentTimestamp")
    ]
    return all(isinstance(text, str) for text in [*texts, *numbers]) and all(
        number.isdecimal() and len(number) < 20 for number in numbers
    )


def parsed(body: str) -> dict[str, Any]:
    """The event in a message; raises NotAnEvent if it is not a JSON object."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NotAnEvent(f"The message {body[:200]!r} is not JSON: not from S3.") from error
    if not isinstance(event, dict):
        raise NotAnEvent(f"The message {body[:200]!r} is not a JSON object: not from S3.")
    return event


def _content(body: str) -> dict[str, Any]:
    """The event as Lambda's record holds it; a message that holds none as it is."""
    try:
        event = parsed(body)
    except NotAnEvent:
        return {"message": body}
    return {"requestPayload": event}


def _receives(message: dict[str, Any]) -> int:
    return int(message["attributes"]["ApproximateReceiveCount"])


def _waited_ms(message: dict[str, Any]) -> float:
    """Milliseconds that the message has been in its queue, earlier attempts included."""
    return max(0.0, time.time() * 1000 - int(message["attributes"]["SentTimestamp"]))
