#!/usr/bin/env python3
"""The failure queue: where Lambda sends each event that the splitter could not handle."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.requirements import require_packages

require_packages()

import click

from deploy.parts.missing import Reported, Search, Upload
from deploy.parts.queues import find_queue, messages_in, put_queue
from deploy.parts.redrive import Redrive, send_uploads, videos_of
from deploy.parts.retries import under_way_s
from pipeline.aws import AwsError
from pipeline.cli import Run, deployment_options
from pipeline.names import printable
from pipeline.queue_reader import FailedEvent, Sweep

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
WAIT_S = 1  # for a message; 0 asks only some of SQS's servers


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
    sweep = Sweep(sqs, url, lambda _: min(hide_s, MAX_HIDDEN_S), WAIT_S)
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


def missing_uploads(run: Run, older_than_s: float | None) -> Iterator[Upload]:
    """Yield the uploads that have neither an answer nor a message, as they are found.

    `older_than_s` is how old an upload has to be; None: so old that all its retries are over.
    Reports progress, and at the end what is still under way.
    """
    deployment, sqs = run.deployment, run.aws.client("sqs")
    waiting = _waiting(run)
    hidden: QueueAttributeNameType = "ApproximateNumberOfMessagesNotVisible"
    answer = sqs.get_queue_attributes(QueueUrl=queue_url(run), AttributeNames=[hidden])
    others = int(answer["Attributes"][hidden])
    reported = Reported(deployment.input_bucket)
    with received(run) as sweep:
        for events in found(run, sweep, None):
            reported.add(events)
    limit_s = under_way_s(deployment) if older_than_s is None else older_than_s
    # An upload that waits in a queue may be of any age, and the queue cannot be searched.
    is_open = older_than_s is None and waiting > 0
    search = Search(run, reported, float("inf") if is_open else limit_s)
    count = 0
    for upload in search:
        count += 1
        yield upload
    run.note(
        f"{count:,} of {search.videos:,} videos have neither an answer nor a message in "
        f"'{deployment.failure_queue}'."
    )
    if is_open:
        run.note(
            f"{search.young:,} more may be still under way: {waiting:,} uploads wait in "
            f"'{deployment.upload_queue}'. Run this again when it is empty, or pass --older-than."
        )
    elif search.young:
        run.note(
            f"{search.young:,} more are still under way: they were uploaded within the last "
            f"{limit_s / 60:.0f} minutes, and may be tried until then (--older-than)."
        )
    if others:
        run.note(
            f"{others:,} messages of '{deployment.failure_queue}' were hidden, as somebody else "
            "read it, and may name some of these videos: run this again."
        )


def _waiting(run: Run) -> int:
    """Return about how many uploads wait in a queue or are being worked on from there."""
    uploads = find_queue(run, run.deployment.upload_queue)
    return messages_in(uploads[1]) if uploads else 0


def _listed(event: FailedEvent) -> dict[str, Any]:
    """Return what `list` shows of an event, for --json."""
    return {
        "message_id": event.message_id,
        "time": event.when,
        "videos": [video.uri for video in event.videos],
        "reason": event.reason,
    }


def redrive_missing(run: Run, older_than_s: float | None, is_sure: bool) -> None:
    """Send the events of missing uploads to the splitter, after asking unless `is_sure`."""
    uploads = list(missing_uploads(run, older_than_s))
    if not uploads:
        return
    if not run.dry_run:
        for upload in uploads:
            click.echo(printable(upload.line()), err=True)
        if not is_sure:
            click.confirm(f"Send these {len(uploads)} to the splitter?", abort=True, err=True)
    send_uploads(run, uploads)


def show_missing(run: Run, older_than_s: float | None, as_json: bool) -> None:
    """Print missing uploads as they are found; ends with exit status 1 if there are any."""
    is_any = False
    for upload in missing_uploads(run, older_than_s):
        is_any = True
        click.echo(json.dumps(upload.as_json()) if as_json else printable(upload.line()))
    if is_any:
        click.echo(f"Next: {run.command('deploy/failures.py', 'redrive', '--missing')}", err=True)
        raise SystemExit(1)


def handle_messages(run: Run, action: str, message_id: str | None, as_json: bool) -> None:
    """List, show or redrive the messages as they are received."""
    count = 0
    with received(run) as sweep:
        redrive = Redrive(run, sweep) if action == "redrive" else None
        for events in found(run, sweep, message_id):
            count += len(events)
            if redrive:
                redrive.send(events)
                continue
            for event in events:
                if action == "show":
                    click.echo(json.dumps(event.record, indent=None if as_json else 2))
                elif as_json:
                    click.echo(json.dumps(_listed(event)))
                else:
                    line = f"{event.message_id}  {event.when}  {videos_of(event)}  {event.reason}"
                    click.echo(printable(line))
        if redrive:
            redrive.end()
    if action == "list":
        click.echo(f"{count} failures in '{run.deployment.failure_queue}'", err=True)
    elif not count:
        run.note(f"Queue '{run.deployment.failure_queue}' is empty: nothing to {action}.")


@click.command()
@click.argument(
    "action",
    type=click.Choice(["create", "list", "show", "redrive", "missing"]),
    default="create",
)
@click.argument("message_id", required=False)
@deployment_options
@click.option(
    "--missing",
    "is_missing",
    is_flag=True,
    help="redrive: send the uploads that `missing` lists, instead of the messages; asks first.",
)
@click.option(
    "--older-than",
    type=click.FloatRange(min=0),
    metavar="MINUTES",
    help="missing, redrive --missing: how old an upload has to be. Default: so old that all its "
    "retries are over, a little more than an hour.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="list, show, missing: print one JSON object per line."
)
@click.option("--yes", is_flag=True, help="redrive --missing: do not ask for confirmation.")
def main(
    run: Run,
    action: str,
    message_id: str | None,
    is_missing: bool,
    older_than: float | None,
    as_json: bool,
    yes: bool,
) -> None:
    """Manage the queue of failed events: python3 deploy/failures.py --prefix 1225111111

    ACTION: create makes the queue (the default). list prints one line per failed event, show
    prints the whole message, redrive sends the event to the splitter again and then deletes the
    message. show and redrive take a MESSAGE_ID, or its beginning; without one they take all
    messages. Each is printed or sent as soon as it is received, in no order.

    missing lists the uploads that have neither an answer nor a message, because the splitter could
    not report them; answers and messages of earlier versions do not count. The exit status is 1 if
    there are any.
    """
    older_than_s = None if older_than is None else older_than * 60
    of_action = {
        "--missing": action == "redrive",
        "--older-than": action == "missing" or is_missing,
        "--json": action in ("list", "show", "missing"),
        "--yes": is_missing,
        "MESSAGE_ID": action in ("show", "redrive") and not is_missing,
    }
    given = {"--missing": is_missing, "--older-than": older_than is not None}
    given |= {"--json": as_json, "--yes": yes, "MESSAGE_ID": message_id is not None}
    for name, is_used in given.items():
        if is_used and not of_action[name]:
            raise click.UsageError(f"{name} does not go with these words: see --help.")
    if action == "missing":
        show_missing(run, older_than_s, as_json)
    elif is_missing:
        redrive_missing(run, older_than_s, yes)
    elif action == "create":
        click.echo(ensure_queue(run))
        click.echo(f"Next: {run.command('deploy/roles.py')}", err=True)
    else:
        handle_messages(run, action, message_id, as_json)


if __name__ == "__main__":
    main()
