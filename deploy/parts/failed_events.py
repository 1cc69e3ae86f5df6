"""The events in the failure queue: read as they come, and left as they were."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from deploy.parts.queues import find_queue
from pipeline.aws import AwsError
from pipeline.cli import Run, counted
from pipeline.queue_reader import FailedEvent, Sweep

if TYPE_CHECKING:
    from mypy_boto3_sqs.literals import QueueAttributeNameType

# How long a received message is hidden from other readers. Longer in a long queue, so that its
# first messages do not come back before the last have been read.
HIDDEN_S = 120
MAX_HIDDEN_S = 12 * 3600  # SQS's maximum
SLOWEST_PER_S = 20  # messages that are read per second, at least
NOTE_EVERY_S = 5
WAIT_S = 1  # for a message; 0 asks only some of SQS's servers


@contextmanager
def received(run: Run) -> Iterator[Sweep]:
    """Give a sweep of the queue; other readers cannot see a message that it has received.

    At the end, those that were not deleted become visible again. Raises AwsError if there is no
    queue.
    """
    sqs, url = run.aws.client("sqs"), queue_url(run)
    attribute: QueueAttributeNameType = "ApproximateNumberOfMessages"
    answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[attribute])
    hide_s = HIDDEN_S + int(answer["Attributes"][attribute]) // SLOWEST_PER_S
    sweep = Sweep(sqs, url, lambda _: min(hide_s, MAX_HIDDEN_S), WAIT_S)
    try:
        yield sweep
    finally:
        if hidden := sweep.release():
            messages = counted(hidden, "message")
            run.note(f"Hidden from other readers for up to {hide_s} s: {messages}.")


def found(run: Run, sweep: Sweep, message_id: str | None) -> Iterator[list[FailedEvent]]:
    """Yield the messages whose ID starts with `message_id` as they are received, oldest first
    among those of one request; without one, all of them. Reports progress.

    Raises AwsError at the end if none matches.
    """
    read = matching = 0
    next_note = time.monotonic() + NOTE_EVERY_S
    for events in sweep:
        read += len(events)
        if time.monotonic() >= next_note:
            run.note(f"{counted(read, 'message')} read")
            next_note = time.monotonic() + NOTE_EVERY_S
        wanted = [event for event in events if event.message_id.startswith(message_id or "")]
        matching += len(wanted)
        yield sorted(wanted, key=lambda event: event.when)
        if wanted and message_id == wanted[0].message_id:  # all of an ID, so there is no other
            return
    if message_id is not None and not matching:
        raise AwsError(f"No message {message_id} is in the queue: `failures.py list` lists them.")


def find_failure(run: Run, key: str, since: float) -> FailedEvent | None:
    """Return a message about an upload of `key` since a time (epoch seconds); None without one.

    Without a queue, says so and returns None.
    """
    if find_queue(run, run.deployment.failure_queue) is None:
        run.note(f"There is no queue '{run.deployment.failure_queue}', so no failure is kept.")
        return None
    with received(run) as sweep:
        for events in sweep:
            for event in events:
                if any(v.key == key and v.uploaded >= since for v in event.videos):
                    return event
    return None


def queue_url(run: Run) -> str:
    """Return the queue's URL; raises AwsError if there is no queue."""
    sqs, name = run.aws.client("sqs"), run.deployment.failure_queue
    try:
        return sqs.get_queue_url(QueueName=name)["QueueUrl"]
    except sqs.exceptions.QueueDoesNotExist as error:
        raise AwsError(
            f"There is no queue '{name}' in {run.aws.region}: run "
            f"{run.command('deploy/failures.py')}, or pass the --region it is in."
        ) from error
