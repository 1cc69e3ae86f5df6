"""Reads why videos failed from the failure queue; all messages stay in the queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import botocore.exceptions

from pipeline.aws import Aws, error_code
from pipeline.queue_reader import FailedEvent, Sweep

PEEK_S = 1  # how long a message is hidden from other readers; longer in a long queue
SWEEP_LIMIT_S = 30.0
EVENT_TIME_MARGIN_S = 2.0  # between the measured time of an upload and the time in its event


@dataclass(frozen=True)
class Failure:
    """One video of a message: its bucket and key, when it was uploaded, and why it failed."""

    bucket: str
    key: str
    uploaded: float
    reason: str


def peek(
    aws: Aws, queue: str, wait_s: int = 0, is_over: Callable[[], bool] = lambda: False
) -> list[Failure]:
    """Return the failures in all messages that are visible now, and delete none of them.

    `wait_s` is how long to wait for the first message; 0 asks only some of SQS's servers.
    `is_over` is called between requests and ends the reading early.
    Raises ClientError if the queue cannot be read.
    """
    sqs = aws.client("sqs")
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    if is_over():
        return []
    found: list[Failure] = []
    deadline = time.monotonic() + SWEEP_LIMIT_S
    for events in Sweep(sqs, url, lambda seen: PEEK_S + seen // 50, wait_s):
        found.extend(failure for event in events for failure in _failures(event))
        if time.monotonic() >= deadline or is_over():
            break
    return found


def peek_or_note(
    aws: Aws, queue: str, note: Callable[[str], None], wait_s: int = 0
) -> list[Failure] | None:
    """Call `peek`; if the queue is missing or forbidden, `note` that and return None."""
    return read_or_note(lambda: peek(aws, queue, wait_s), queue, note)


def read_or_note(
    read: Callable[[], list[Failure]], queue: str, note: Callable[[str], None]
) -> list[Failure] | None:
    """Call `read`; if the queue is missing or forbidden, `note` that and return None.

    No verdict depends on the queue: it only supplies reasons.
    """
    try:
        return read()
    except botocore.exceptions.ClientError as error:
        code = error_code(error)
        if code in ("AccessDenied", "AccessDeniedException"):
            note(f"Queue '{queue}' may not be read: failures will have no reason.")
        elif "NonExistentQueue" in code or "QueueDoesNotExist" in code:
            note(f"There is no queue '{queue}': failures will have no reason.")
        else:
            raise
        return None


class Watch:
    """Reads the queue in a background thread.

    Reading a queue of hundreds of messages takes up to SWEEP_LIMIT_S, and answers that arrive
    meanwhile must be noticed at once.
    """

    def __init__(self, aws: Aws, queue: str) -> None:
        """Read nothing yet."""
        self._aws = aws
        self._queue = queue
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._found: list[Failure] = []
        self._error: BaseException | None = None

    def begin(self) -> None:
        """Start reading, unless that is under way or its result has not been taken."""
        if self._thread is None:
            self._aws.client("sqs")  # created here: a session cannot create clients in two threads
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()

    def take(self) -> list[Failure]:
        """Return what was found, once the reading has ended; raises the error that ended it."""
        if self._thread is None or self._thread.is_alive():
            return []
        self._thread = None
        if self._error is not None:
            raise self._error
        return self._found

    def stop(self, seconds: float = 3) -> None:
        """Interrupt the reading and wait up to `seconds` for it to end."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(seconds)

    def _work(self) -> None:
        try:
            self._found = peek(self._aws, self._queue, is_over=self._over.is_set)
        except BaseException as error:  # noqa: BLE001 - raised again by `take`
            self._error = error


def _failures(event: FailedEvent) -> list[Failure]:
    """Return the event's videos; none if the message is not Lambda's record of an S3 event."""
    return [Failure(v.bucket, v.key, v.uploaded, event.reason) for v in event.videos]
