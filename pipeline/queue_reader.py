"""Reads the failure queue. SQS cannot look without receiving, so messages are hidden meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.failure_record import FailedVideo, failed_videos, failure_reason, parse

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

T = TypeVar("T")

RECEIVERS = 4  # requests at the same time
BATCH = 10  # messages per request; SQS's maximum

# What SQS says of a message that somebody else has deleted or received meanwhile.
NOT_HELD = (
    *("MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight"),
    *("InvalidParameterValue", "ReceiptHandleIsInvalid"),
)


@dataclass(frozen=True)
class FailedEvent:
    """One message in the queue: an event that the splitter could not handle, and why."""

    message_id: str
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


class Sweep:
    """Reads the messages of a queue once, with several requests at a time."""

    def __init__(self, sqs: SQSClient, url: str, hide_s: Callable[[int], int], wait_s: int) -> None:
        """Read nothing yet.

        `hide_s` takes the number of messages seen so far and returns for how many seconds the
        next ones are hidden from other readers. `wait_s` is how long to wait for the first
        message; 0 asks only some of SQS's servers, so that an empty answer may be chance.
        """
        self._sqs, self._url = sqs, url
        self._hide_s = hide_s
        self._wait_s = wait_s
        self._handles: dict[str, str] = {}  # of the messages that are hidden, by message ID
        self._seen: set[str] = set()
        self._running: set[Future[list[MessageTypeDef]]] = set()

    def __iter__(self) -> Iterator[list[FailedEvent]]:
        """Yield each message once, up to ten at a time and in no order; [] if none was new.

        Ends when SQS returns nothing, or, in a queue so long that its first messages become
        visible again before the last have been read, nothing new for some time.
        """
        stale = 0  # requests in a row that brought nothing new
        with ThreadPoolExecutor(RECEIVERS) as pool:
            running = self._running
            running.update(pool.submit(self._receive, self._wait_s) for _ in range(RECEIVERS))
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                running -= done
                for messages in _results(done):
                    fresh = [m for m in messages if m["MessageId"] not in self._seen]
                    self._seen.update(message["MessageId"] for message in fresh)
                    stale = 0 if fresh else stale + 1
                    if messages and stale <= RECEIVERS + len(self._seen) // 20:
                        running.add(pool.submit(self._receive, min(1, self._wait_s)))
                    yield [FailedEvent(m["MessageId"], parse(m["Body"])) for m in fresh]

    def _receive(self, wait_s: int) -> list[MessageTypeDef]:
        messages = self._sqs.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=BATCH,
            VisibilityTimeout=self._hide_s(len(self._seen)),
            WaitTimeSeconds=wait_s,
        ).get("Messages", [])
        # Here, as nobody takes the result of a request that is running when the sweep is ended.
        self._handles.update({m["MessageId"]: m["ReceiptHandle"] for m in messages})
        return messages

    def delete(self, events: Iterable[FailedEvent]) -> dict[str, str]:
        """Delete the messages of up to ten events; return SQS's reason for each that is left."""
        ids = [event.message_id for event in events]
        if not ids:
            return {}
        answer = self._sqs.delete_message_batch(
            QueueUrl=self._url,
            Entries=[
                {"Id": str(n), "ReceiptHandle": self._handles[message_id]}
                for n, message_id in enumerate(ids)
            ],
        )
        failed = {
            ids[int(entry["Id"])]: f"{entry['Code']}: {entry.get('Message', '')}"
            for entry in answer.get("Failed", [])
        }
        for message_id in ids:
            if message_id not in failed:
                del self._handles[message_id]
        return failed

    def release(self) -> int:
        """Let other readers see the messages that were not deleted.

        Returns how many stay hidden until their time is over, because SQS refused.
        """
        wait(self._running)  # there are some if an error ended the sweep
        handles = list(self._handles.values())
        batches = [handles[start : start + BATCH] for start in range(0, len(handles), BATCH)]
        with ThreadPoolExecutor(RECEIVERS) as pool:
            return sum(pool.map(self._release, batches))

    def _release(self, handles: list[str]) -> int:
        answer = self._sqs.change_message_visibility_batch(
            QueueUrl=self._url,
            Entries=[
                {"Id": str(n), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                for n, handle in enumerate(handles)
            ],
        )
        return sum(entry["Code"] not in NOT_HELD for entry in answer.get("Failed", []))


def _results(futures: Iterable[Future[T]]) -> Iterator[T]:
    for future in futures:
        yield future.result()
