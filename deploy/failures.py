#!/usr/bin/env python3
"""The failure queue: where Lambda sends each event that the splitter could not handle."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.requirements import require_packages

require_packages()

import click

from deploy.parts.queues import find_queue, put_queue
from deploy.parts.upload_queue import is_read
from pipeline.aws import AwsError, read_or_none
from pipeline.cli import Run, deployment_options
from pipeline.queue_reader import FailedEvent, receive

if TYPE_CHECKING:
    from mypy_boto3_sqs.literals import QueueAttributeNameType

ATTRIBUTES: dict[QueueAttributeNameType, str] = {
    "MessageRetentionPeriod": str(14 * 24 * 3600),  # SQS's maximum, so that a holiday loses nothing
    "SqsManagedSseEnabled": "true",
}
HIDDEN_S = 120  # how long a message that is being listed is hidden from other readers


def ensure_queue(run: Run) -> str:
    """Create or update the failure queue and return its ARN."""
    return put_queue(run, run.deployment.failure_queue, ATTRIBUTES)


@contextmanager
def received(run: Run) -> Iterator[list[FailedEvent]]:
    """Give all messages in the queue, oldest first; other readers cannot see them meanwhile.

    At the end, those that were not deleted become visible again. Raises AwsError if there is no
    queue.
    """
    sqs, url = run.aws.client("sqs"), queue_url(run)
    found: dict[str, FailedEvent] = {}
    try:
        for events in receive(sqs, url, lambda: HIDDEN_S, wait_s=1):
            found.update({event.message_id: event for event in events})
        yield sorted(found.values(), key=lambda event: event.when)
    finally:
        for event in found.values():
            read_or_none(
                partial(
                    sqs.change_message_visibility,
                    QueueUrl=url,
                    ReceiptHandle=event.handle,
                    VisibilityTimeout=0,
                ),
                # The message was deleted meanwhile.
                "MessageNotInflight",
                "AWS.SimpleQueueService.MessageNotInflight",
                "InvalidParameterValue",
                "ReceiptHandleIsInvalid",
            )


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


def redrive(run: Run, events: list[FailedEvent]) -> None:
    """Send each event to the splitter again, and then delete its message.

    Where uploads wait in a queue, the event goes there, so that no more than usual run at once.
    """
    url = queue_url(run)
    uploads = find_queue(run, run.deployment.upload_queue) if is_read(run) else None
    for event in events:
        text = f"{event.message_id} ({_videos(event)})"
        if "requestPayload" not in event.record:
            run.note(f"left    {text}: it holds no event")
            continue
        again = None if uploads is None else uploads[0]
        run.change("redrive", text, partial(_redrive, run, url, event, again))


def _redrive(run: Run, url: str, event: FailedEvent, uploads: str | None) -> None:
    payload = json.dumps(event.record["requestPayload"])
    if uploads is not None:
        run.aws.client("sqs").send_message(QueueUrl=uploads, MessageBody=payload)
    else:
        run.aws.client("lambda").invoke(
            FunctionName=run.deployment.splitter.name,
            InvocationType="Event",
            Payload=payload.encode(),
        )
    # Only now: an event that was not accepted must stay in the queue.
    run.aws.client("sqs").delete_message(QueueUrl=url, ReceiptHandle=event.handle)


def _videos(event: FailedEvent) -> str:
    return ", ".join(video.uri for video in event.videos) or "no video"


def chosen(events: list[FailedEvent], message_id: str | None) -> list[FailedEvent]:
    """Return the events whose message ID starts with `message_id`; without one, all of them.

    Raises AwsError if none matches.
    """
    if message_id is None:
        return events
    found = [event for event in events if event.message_id.startswith(message_id)]
    if not found:
        raise AwsError(f"No message {message_id} is in the queue: `failures.py list` lists them.")
    return found


@click.command()
@click.argument(
    "action", type=click.Choice(["create", "list", "show", "redrive"]), default="create"
)
@click.argument("message_id", required=False)
@deployment_options
def main(run: Run, action: str, message_id: str | None) -> None:
    """Manage the queue of failed events: python3 deploy/failures.py --prefix 1225111111

    ACTION: create makes the queue (the default). list prints one line per failed event, show
    prints the whole message, redrive sends the event to the splitter again and then deletes the
    message. show and redrive take a MESSAGE_ID, or its beginning; without one they take all
    messages.
    """
    if action == "create":
        click.echo(ensure_queue(run))
        click.echo(f"Next: {run.command('deploy/roles.py')}", err=True)
        return
    with received(run) as events:
        wanted = chosen(events, message_id)
        if not wanted and action != "list":
            run.note(f"Queue '{run.deployment.failure_queue}' is empty: nothing to {action}.")
        if action == "list":
            for event in wanted:
                line = f"{event.message_id}  {event.when}  {_videos(event)}  {event.reason}"
                click.echo(line)
            click.echo(f"{len(wanted)} failures in '{run.deployment.failure_queue}'", err=True)
        elif action == "show":
            for event in wanted:
                click.echo(json.dumps(event.record, indent=2))
        else:
            redrive(run, wanted)


if __name__ == "__main__":
    main()
