#!/usr/bin/env python3
"""The failure queue: where Lambda sends each event that the splitter could not handle."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.requirements import require_packages

require_packages()

import click

from deploy.parts.failed_events import found, received
from deploy.parts.missing import missing_uploads
from deploy.parts.queues import put_queue
from deploy.parts.redrive import Redrive, send_uploads, videos_of
from pipeline.cli import Run, counted, deployment_options
from pipeline.names import printable
from pipeline.queue_reader import FailedEvent

if TYPE_CHECKING:
    from mypy_boto3_sqs.literals import QueueAttributeNameType

ATTRIBUTES: dict[QueueAttributeNameType, str] = {
    "MessageRetentionPeriod": str(14 * 24 * 3600),  # SQS's maximum, so that a holiday loses nothing
    "SqsManagedSseEnabled": "true",
}


def ensure_queue(run: Run) -> str:
    """Create or update the failure queue and return its ARN."""
    return put_queue(run, run.deployment.failure_queue, ATTRIBUTES)


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
            what = counted(len(uploads), "upload")
            click.confirm(f"Send {what} to the splitter?", abort=True, err=True)
    send_uploads(run, uploads)


def show_missing(run: Run, older_than_s: float | None, as_json: bool) -> None:
    """Print missing uploads as they are found; ends with exit status 1 if there are any."""
    is_any = False
    for upload in missing_uploads(run, older_than_s):
        is_any = True
        click.echo(json.dumps(upload.as_json()) if as_json else printable(upload.line()))
    if is_any:
        age = () if older_than_s is None else ("--older-than", f"{older_than_s / 60:g}")
        redrive = run.command("deploy/failures.py", "redrive", "--missing", *age)
        click.echo(f"Next: {redrive}", err=True)
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
        click.echo(f"{counted(count, 'failure')} in '{run.deployment.failure_queue}'", err=True)
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
    help="missing, redrive --missing: the least age of an upload. Default: so old that all its "
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
    messages. Each is printed or sent as soon as it is received, in any order.

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
            raise click.UsageError(f"{name} cannot be used with this action: see --help.")
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
