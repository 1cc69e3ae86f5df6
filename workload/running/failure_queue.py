"""Reads what the failure queue says of videos, and leaves every message where it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import botocore.exceptions

from pipeline.aws import Aws, error_code
from pipeline.failure_record import failed_videos, failure_reason, parse

PEEK_S = 1  # messages read are hidden from other readers so long; longer where there are many
SWEEP_LIMIT_S = 30.0
EVENT_TIME_MARGIN_S = 2.0  # between an upload as measured and the time in its event


@dataclass(frozen=True)
class Failure:
    """One video of one message: its bucket and key, when it was uploaded, and why it failed."""

    bucket: str
    key: str
    uploaded: float
    reason: str


def peek(
    aws: Aws, queue: str, wait_s: int = 0, is_over: Callable[[], bool] = lambda: False
) -> list[Failure]:
    """What all messages that are visible now say; None is deleted.

    `wait_s`: seconds to wait for the first message; 0 asks only some of SQS's servers. `is_over`:
    asked between two requests, whether to be content with what is read.
    Raises ClientError when the queue cannot be read.
    """
    sqs = aws.client("sqs")
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    found: list[Failure] = []
    deadline = time.monotonic() + SWEEP_LIMIT_S
    seen: set[str] = set()
    stale = 0
    # Those read first are soon visible again: in a long queue some come twice before others once.
    while time.monotonic() < deadline and stale <= 3 + len(seen) // 20:
        if is_over():
            break
        messages = sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=PEEK_S + len(seen) // 50,
            WaitTimeSeconds=min(1, wait_s) if seen else wait_s,
        ).get("Messages", [])
        fresh = [message for message in messages if message["MessageId"] not in seen]
        if not messages:
            break
        stale = 0 if fresh else stale + 1
        seen.update(message["MessageId"] for message in fresh)
        for message in fresh:
            found += failures_in(message["Body"])
    return found


def peek_or_note(
    aws: Aws, queue: str, note: Callable[[str], None], wait_s: int = 0
) -> list[Failure] | None:
    """As `peek`; None, and a `note` that says so, if the queue is missing or may not be read."""
    return read_or_note(lambda: peek(aws, queue, wait_s), queue, note)


def read_or_note(
    read: Callable[[], list[Failure]], queue: str, note: Callable[[str], None]
) -> list[Failure] | None:
    """`read()`; None, and a `note` that says so, if the queue is missing or may not be read.

    Nothing is judged by the queue: it only gives reasons.
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
    """Looks into the queue from a thread of its own.

    A look into a queue of hundreds of messages takes up to SWEEP_LIMIT_S, and answers that come
    meanwhile must be seen when they come.
    """

    def __init__(self, aws: Aws, queue: str) -> None:
        """Nothing is read yet."""
        self._aws = aws
        self._queue = queue
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._found: list[Failure] = []
        self._error: BaseException | None = None

    def begin(self) -> None:
        """Begin a look, unless one is under way or not yet taken; returns at once."""
        if self._thread is None:
            self._aws.client("sqs")  # made here: a session makes no clients side by side
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()

    def take(self) -> list[Failure]:
        """What the look found, once it has ended; raises what it failed with."""
        if self._thread is None or self._thread.is_alive():
            return []
        self._thread = None
        if self._error is not None:
            raise self._error
        return self._found

    def stop(self, seconds: float = 3) -> None:
        """Break off the look under way, and wait up to `seconds` for that."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(seconds)

    def _work(self) -> None:
        try:
            self._found = peek(self._aws, self._queue, is_over=self._over.is_set)
        except BaseException as error:  # noqa: BLE001 - raised again by `take`
            self._error = error


def failures_in(body: str) -> list[Failure]:
    """The videos in one message; none where it is not Lambda's record of an S3 event."""
    record = parse(body)
    reason = failure_reason(record)
    return [Failure(v.bucket, v.key, v.uploaded, reason) for v in failed_videos(record)]
