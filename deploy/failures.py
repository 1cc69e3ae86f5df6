#!/usr/bin/env python3
"""The failure queue: where Lambda sends each event that the splitter could not handle."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.requirements import require_packages

require_packages()

import click

from deploy.parts.queues import find_queue, put_queue
from deploy.parts.upload_queue import is_read
from pipeline.aws import AwsError
from pipeline.cli import Run, deployment_options
from pipeline.names import printable
from pipeline.queue_reader import BATCH, FailedEvent, Sweep

if TYPE_CHECKING:
    from mypy_boto3_sqs.literals import QueueAttributeNameType

ATTRIBUTES: dict[QueueAttributeNameType, str] = {
    "MessageRetentionPeriod": str(14 * 24 * 3600),  # SQS's maximum, so that a holiday loses nothing
    "SqsManagedSseEnabled": "true",
}
# How long a received message is hidden from other readers. Longer in a long queue, so that its
# first messages do not come back before the last have been read.
HIDDEN_S = 120
MAX_HIDDEN_S = 12 * 3600  # SQS's maximum
SLOWEST_PER_S = 20  # messages that are read per second, at least
NOTE_EVERY_S = 5


def ensure_queue(run: Run) -> str:
    """Create or update the failure queue and return its ARN."""
    return put_queue(run, run.deployment.failure_queue, ATTRIBUTES)


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
    sweep = Sweep(sqs, url, lambda _: min(hide_s, MAX_HIDDEN_S), wait_s=1)
    try:
        yield sweep
    finally:
        if hidden := sweep.release():
            run.note(f"{hidden} messages stay hidden from other readers for up to {hide_s} s.")


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
            run.note(f"{read:,} messages read")
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


class Redrive:
    """Sends events to the splitter again, and then deletes their messages.

    Where uploads wait in a queue, the events go there, so that no more than usual run at once.
    """

    def __init__(self, run: Run, sweep: Sweep) -> None:
        """Send what `sweep` has received."""
        self._run, self._sweep = run, sweep
        self._client, self._sqs = run.aws.client("lambda"), run.aws.client("sqs")
        uploads = find_queue(run, run.deployment.upload_queue) if is_read(run) else None
        self._uploads = uploads[0] if uploads else None
        self._sent: set[bytes] = set()  # hashes of what was sent
        self._failed_again = 0

    def send(self, events: list[FailedEvent]) -> None:
        """Send up to ten events at the same time; an event that was sent before stays in the queue.

        Otherwise one that fails again at once would be sent again and again. Raises ClientError if
        Lambda refuses an event, and AwsError if SQS does not delete a message.
        """
        to_send: list[tuple[FailedEvent, bytes]] = []
        for event in events:
            if "requestPayload" not in event.record:
                self._run.note(f"left    {_shown(event)}: it holds no event")
                continue
            payload = json.dumps(event.record["requestPayload"]).encode()
            digest = hashlib.sha256(payload).digest()
            if digest in self._sent:
                self._failed_again += 1
                continue
            self._sent.add(digest)
            to_send.append((event, payload))
        if self._run.dry_run:
            for event, _ in to_send:
                self._run.change("redrive", _shown(event), lambda: None)
            return
        with ThreadPoolExecutor(BATCH) as pool:
            answers = [(event, pool.submit(self._again, payload)) for event, payload in to_send]
        # An event that Lambda did not accept must stay in the queue.
        accepted = [event for event, answer in answers if answer.exception() is None]
        kept = self._sweep.delete(accepted)
        for event in accepted:
            self._run.change("redrive", _shown(event), lambda: None)
        for _, answer in answers:
            answer.result()
        if kept:
            message_id, reason = next(iter(kept.items()))
            raise AwsError(
                f"The event of message {message_id} was sent to the splitter, but the message "
                f"cannot be deleted from '{self._run.deployment.failure_queue}': {reason}. Redrive "
                "again: an event may be sent twice."
            )

    def _again(self, payload: bytes) -> None:
        if self._uploads is not None:
            self._sqs.send_message(QueueUrl=self._uploads, MessageBody=payload.decode())
            return
        self._client.invoke(
            FunctionName=self._run.deployment.splitter.name,
            InvocationType="Event",
            Payload=payload,
        )

    def end(self) -> None:
        """Report how many events came back."""
        if self._failed_again:
            self._run.note(
                f"{self._failed_again} messages stay in the queue: they hold an event that was "
                "just sent, which failed again or was there twice."
            )


def _shown(event: FailedEvent) -> str:
    return f"{event.message_id} ({_videos(event)})"


def _listed(event: FailedEvent) -> dict[str, Any]:
    """Return what `list` shows of an event, for --json."""
    return {
        "message_id": event.message_id,
        "time": event.when,
        "videos": [video.uri for video in event.videos],
        "reason": event.reason,
    }


def _videos(event: FailedEvent) -> str:
    return ", ".join(video.uri for video in event.videos) or "no video"


@click.command()
@click.argument(
    "action", type=click.Choice(["create", "list", "show", "redrive"]), default="create"
)
@click.argument("message_id", required=False)
@deployment_options
@click.option(
    "--json", "as_json", is_flag=True, help="With list or show, print one JSON object per line."
)
def main(run: Run, action: str, message_id: str | None, as_json: bool) -> None:
    """Manage the queue of failed events: python3 deploy/failures.py --prefix 1225111111

    ACTION: create makes the queue (the default). list prints one line per failed event, show
    prints the whole message, redrive sends the event to the splitter again and then deletes the
    message. show and redrive take a MESSAGE_ID, or its beginning; without one they take all
    messages. Each is printed or sent as soon as it is received, in no order.
    """
    if as_json and action not in ("list", "show"):
        raise click.UsageError(f"--json goes with list or show, not with {action}.")
    if action == "create":
        click.echo(ensure_queue(run))
        click.echo(f"Next: {run.command('deploy/roles.py')}", err=True)
        return
    count = 0
    with received(run) as sweep:
        redrive = Redrive(run, sweep)
        for events in found(run, sweep, message_id):
            count += len(events)
            if action == "redrive":
                redrive.send(events)
                continue
            for event in events:
                if action == "show":
                    click.echo(json.dumps(event.record, indent=None if as_json else 2))
                elif as_json:
                    click.echo(json.dumps(_listed(event)))
                else:
                    line = f"{event.message_id}  {event.when}  {_videos(event)}  {event.reason}"
                    click.echo(printable(line))
        redrive.end()
    if action == "list":
        click.echo(f"{count} failures in '{run.deployment.failure_queue}'", err=True)
    elif not count:
        run.note(f"Queue '{run.deployment.failure_queue}' is empty: nothing to {action}.")


if __name__ == "__main__":
    main()
