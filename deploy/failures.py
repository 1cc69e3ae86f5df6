#!/usr/bin/env python3
"""The failure queue: where Lambda puts each event the splitter could not handle."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import click

from pipeline.aws import AwsError, covers, error_code, read_or_none, retry_while
from pipeline.cli import Run, deployment_options
from pipeline.failure_record import failed_videos, failure_reason, parse
from pipeline.policies import queue_arn
from pipeline.settings import PROJECT

ATTRIBUTES = {
    "MessageRetentionPeriod": str(14 * 24 * 3600),  # SQS's maximum: nothing is lost over a holiday
    "SqsManagedSseEnabled": "true",
}


def ensure_queue(run: Run) -> str:
    """Create or update the failure queue and return its ARN."""
    sqs, name = run.aws.client("sqs"), run.deployment.failure_queue
    arn = queue_arn(run.deployment, run.aws.region, run.aws.account_id, run.aws.partition)
    try:
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    except sqs.exceptions.QueueDoesNotExist:
        run.change(
            "create",
            f"queue '{name}'",
            lambda: retry_while(
                lambda: sqs.create_queue(QueueName=name, Attributes=ATTRIBUTES, tags=PROJECT),
                # SQS keeps a deleted queue's name for a minute.
                lambda error: "QueueDeletedRecently" in error_code(error),
                seconds=70,
            ),
        )
        return arn
    current = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    if covers(current, ATTRIBUTES):
        run.kept(f"queue '{name}'")
    else:
        run.change(
            "update",
            f"queue '{name}'",
            lambda: sqs.set_queue_attributes(QueueUrl=url, Attributes=ATTRIBUTES),
        )
    return arn


@dataclass(frozen=True)
class Failure:
    """One message of the queue: an event the splitter could not handle, and why.

    `handle` is what SQS deletes it by, for as long as nobody else receives it.
    """

    message_id: str
    handle: str
    body: dict[str, Any]

    @property
    def videos(self) -> list[str]:
        """The videos of the event, as s3://BUCKET/KEY."""
        return [video.uri for video in failed_videos(self.body)]

    @property
    def reason(self) -> str:
        """The error's type and message, or the condition under which Lambda gave the event up."""
        return failure_reason(self.body)

    @property
    def when(self) -> str:
        """When Lambda gave up, ISO 8601."""
        return str(self.body.get("timestamp", ""))


@contextmanager
def received(run: Run) -> Iterator[list[Failure]]:
    """Every message of the queue, hidden from others meanwhile; those not deleted show up again.

    SQS has no way to look without receiving. Raises AwsError when there is no queue.
    """
    sqs, url = run.aws.client("sqs"), queue_url(run)
    found: dict[str, Failure] = {}
    try:
        while True:
            # Several rounds: one asks only some of SQS's hosts, and an empty one may be chance.
            answer = sqs.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=120, WaitTimeSeconds=1
            )
            messages = answer.get("Messages", [])
            for message in messages:
                failure = Failure(
                    message["MessageId"], message["ReceiptHandle"], parse(message["Body"])
                )
                found[failure.message_id] = failure
            if not messages:
                break
        yield sorted(found.values(), key=lambda failure: failure.when)
    finally:
        for failure in found.values():
            # InvalidParameterValue, MessageNotInflight: it was deleted meanwhile
            read_or_none(
                lambda failure=failure: sqs.change_message_visibility(  # type: ignore[misc]
                    QueueUrl=url, ReceiptHandle=failure.handle, VisibilityTimeout=0
                ),
                "MessageNotInflight",
                "AWS.SimpleQueueService.MessageNotInflight",
                "InvalidParameterValue",
                "ReceiptHandleIsInvalid",
            )


def queue_url(run: Run) -> str:
    """The queue's URL; raises AwsError when there is none."""
    sqs, name = run.aws.client("sqs"), run.deployment.failure_queue
    try:
        return str(sqs.get_queue_url(QueueName=name)["QueueUrl"])
    except sqs.exceptions.QueueDoesNotExist as error:
        raise AwsError(
            f"There is no queue '{name}' in {run.aws.region}: run "
            f"{run.command('deploy/failures.py')}, or pass the --region it is in."
        ) from error


def redrive(run: Run, failures: list[Failure]) -> None:
    """Hand each event to the splitter again, and only then delete its message."""
    client, name = run.aws.client("lambda"), run.deployment.splitter.name
    url = queue_url(run)

    def again(failure: Failure) -> None:
        payload = json.dumps(failure.body["requestPayload"]).encode()
        client.invoke(FunctionName=name, InvocationType="Event", Payload=payload)
        run.aws.client("sqs").delete_message(QueueUrl=url, ReceiptHandle=failure.handle)

    for failure in failures:
        text = f"{failure.message_id} ({', '.join(failure.videos) or 'no video'})"
        if "requestPayload" not in failure.body:
            run.note(f"left    {text}: it holds no event")
            continue
        run.change("redrive", text, lambda failure=failure: again(failure))  # type: ignore[misc]


def chosen(failures: list[Failure], message_id: str | None) -> list[Failure]:
    """The failures whose message ID starts with `message_id`; all without one.

    Raises AwsError when there is none.
    """
    if message_id is None:
        return failures
    found = [failure for failure in failures if failure.message_id.startswith(message_id)]
    if not found:
        raise AwsError(f"No message {message_id} is in the queue: `failures.py list` shows them.")
    return found


@click.command()
@click.argument(
    "action", type=click.Choice(["create", "list", "show", "redrive"]), default="create"
)
@click.argument("message_id", required=False)
@deployment_options
def main(run: Run, action: str, message_id: str | None) -> None:
    """The queue of failed events: python deploy/failures.py --prefix 1225111111

    ACTION: create makes the queue (the default). list prints a line for each event that failed,
    show the whole message; redrive hands the event to the splitter again and then removes it.
    show and redrive take a MESSAGE_ID, or its beginning; without one they take all.
    """
    if action == "create":
        click.echo(ensure_queue(run))
        click.echo(f"Next: {run.command('deploy/roles.py')}", err=True)
        return
    with received(run) as failures:
        wanted = chosen(failures, message_id)
        if not wanted and action != "list":
            run.note(f"Queue '{run.deployment.failure_queue}' is empty: nothing to {action}.")
        if action == "list":
            for failure in wanted:
                videos = ", ".join(failure.videos) or "no video"
                click.echo(f"{failure.message_id}  {failure.when}  {videos}  {failure.reason}")
            click.echo(f"{len(wanted)} failures in '{run.deployment.failure_queue}'", err=True)
        elif action == "show":
            for failure in wanted:
                click.echo(json.dumps(failure.body, indent=2))
        else:
            redrive(run, wanted)


if __name__ == "__main__":
    main()
