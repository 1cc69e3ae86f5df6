"""Reads the failure queue. SQS cannot look without receiving, so messages are hidden meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.failure_record import FailedVideo, failed_videos, failure_reason, parse

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


@dataclass(frozen=True)
class FailedEvent:
    """One message in the queue: an event that the splitter could not handle, and why.

    `handle` is what SQS deletes the message by, unless somebody else has received it since.
    """

    message_id: str
    handle: str
    record: dict[str, Any]

    @property
    def videos(self) -> list[FailedVideo]:
        """The videos in the event."""
        return failed_videos(self.record)

    @property
    def reason(self) -> str:
        """The error's type and message, or the condition under which Lambda gave up."""
        return failure_reason(self.record)

    @property
    def when(self) -> str:
        """When Lambda gave up, ISO 8601."""
        return str(self.record.get("timestamp", ""))


def receive(
    sqs: SQSClient, url: str, hide_s: Callable[[], int], wait_s: int
) -> Iterator[list[FailedEvent]]:
    """Yield the messages of the queue, up to ten at a time, until SQS returns none.

    Each stays in the queue, hidden from other readers for `hide_s()` seconds, and is yielded again
    if it becomes visible meanwhile. `wait_s` is how long to wait for the first message; 0 asks
    only some of SQS's servers, so that an empty answer may be chance.
    """
    wait = wait_s
    while True:
        messages = sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=hide_s(),
            WaitTimeSeconds=wait,
        ).get("Messages", [])
        if not messages:
            return
        yield [
            FailedEvent(message["MessageId"], message["ReceiptHandle"], parse(message["Body"]))
            for message in messages
        ]
        wait = min(1, wait_s)
