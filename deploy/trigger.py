#!/usr/bin/env python3
"""The trigger: lets every upload to the input bucket start the splitter."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.requirements import require_packages

require_packages()

import botocore.exceptions
import click

from deploy.parts.concurrency import read_concurrency
from deploy.parts.ownership import refuse_foreign
from deploy.parts.queues import find_queue, messages_in, put_queue
from deploy.parts.s3_trigger import (
    STATEMENT,
    input_bucket_arn,
    invoke_statements,
    is_ours,
    notification,
    same_notification,
    splitter_arn,
    target_of,
)
from deploy.parts.upload_queue import mapping_settings, mappings, own_mapping, queue_attributes
from pipeline.aws import AwsError, covers, error_code, error_message, retry_while
from pipeline.cli import Run, counted, deployment_options

# S3 may use the earlier notification for five minutes.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/EventNotifications.html
SWITCHING_S = 600
SWITCHED = "switched"  # the queue's tag with the time of the last switch, in epoch seconds


def ensure_trigger(run: Run) -> None:
    """Let every upload start the splitter: at once, or through a queue where no cap is possible.

    What is new is complete before the bucket's notification is switched. The other way is kept for
    SWITCHING_S, and removed by a later run.
    Raises AwsError if the bucket or the splitter does not exist, or if the splitter belongs to
    another deployment.
    """
    refuse_foreign(run)
    account = read_concurrency(run, run.deployment.splitter)
    if account.needs_queue:
        queue = put_queue(run, run.deployment.upload_queue, queue_attributes(run))
        _ensure_mapping(run, queue, account.pairs)
        _set_notification(run, queue)
        unused = [] if _is_switching(run) else list(invoke_statements(run))
    else:
        unused = _ensure_permission(run)
        _set_notification(run, splitter_arn(run))
        if not _is_switching(run):
            _remove_queue(run)
    for statement_id in unused:
        run.change(
            "remove",
            f"permission '{statement_id}' of '{run.deployment.splitter.name}', which is not used",
            partial(
                run.aws.client("lambda").remove_permission,
                FunctionName=run.deployment.splitter.name,
                StatementId=statement_id,
            ),
        )


def _is_switching(run: Run) -> bool:
    """Return whether S3 may still use the previous path of uploads; say so if it may."""
    found = find_queue(run, run.deployment.upload_queue)
    if found is None:
        return False
    left = SWITCHING_S - _seconds_since_switch(run, found[0])
    if left > 0:
        run.note(
            f"kept    the previous path of uploads: S3 may use it for {left / 60:.0f} more "
            "minutes. A later run removes it."
        )
    return left > 0


def _ensure_mapping(run: Run, queue: str, most: int) -> None:
    """Let Lambda read the queue for the splitter, `most` uploads at a time; wait until it does."""
    client, name = run.aws.client("lambda"), run.deployment.splitter.name
    current, wanted = own_mapping(run), mapping_settings(most)
    text = (
        f"event source of function '{name}': queue '{run.deployment.upload_queue}', {most} at once"
    )
    if current is not None:
        has = {**current, "Enabled": current.get("State") in ("Enabled", "Enabling", "Creating")}
        if covers(has, wanted):
            run.kept(text)
            return
        uuid = current["UUID"]
        run.change("update", text, lambda: client.update_event_source_mapping(UUID=uuid, **wanted))
    else:
        try:
            run.change(
                "create",
                text,
                lambda: retry_while(
                    lambda: client.create_event_source_mapping(
                        EventSourceArn=queue, FunctionName=name, **wanted
                    ),
                    _rights_are_settling,
                ),
            )
        except client.exceptions.ResourceNotFoundException as error:
            raise _no_function(run) from error
    if not run.dry_run:
        _wait_until_read(run)


def _wait_until_read(
    run: Run, seconds: float = 120, sleep: Callable[[float], None] = time.sleep
) -> None:
    deadline = time.monotonic() + seconds
    while (state := (own_mapping(run) or {}).get("State")) != "Enabled":
        if time.monotonic() >= deadline:
            raise AwsError(
                f"Lambda does not read queue '{run.deployment.upload_queue}' after {seconds:.0f} s "
                f"(state {state}). Run {run.command('deploy/trigger.py')} again."
            )
        sleep(2)


def _rights_are_settling(error: botocore.exceptions.ClientError) -> bool:
    return "does not have permissions to call" in error_message(error)


def _remove_queue(run: Run) -> None:
    """Remove the queue of uploads, once it is empty, and what reads it."""
    client, sqs = run.aws.client("lambda"), run.aws.client("sqs")
    name = run.deployment.upload_queue
    found = find_queue(run, name)
    if found is not None and (count := messages_in(found[1])):
        held = counted(count, "upload")
        run.note(f"kept    queue '{name}', which has {held}: a later run removes it")
        return
    for mapping in mappings(run):
        run.change(
            "remove",
            f"event source '{name}' of function '{run.deployment.splitter.name}'",
            partial(client.delete_event_source_mapping, UUID=mapping["UUID"]),
        )
    if found is not None:
        run.change("delete", f"queue '{name}'", partial(sqs.delete_queue, QueueUrl=found[0]))


def _set_notification(run: Run, target: str) -> None:
    """Send every upload's event to `target`; note the time if it went the other way before."""
    s3, bucket = run.aws.client("s3"), run.deployment.input_bucket
    current = _current_notification(run)
    name = run.deployment.splitter.name
    wanted: Any = notification(current, target, name)
    before = target_of(current, name)
    if same_notification(current, wanted):
        run.kept(f"trigger of bucket '{bucket}'")
        return
    if before is not None and (":sqs:" in before) != (":sqs:" in target):
        _note_switch(run)
    way = f" through queue '{run.deployment.upload_queue}'" if ":sqs:" in target else ""
    run.change(
        "set",
        f"trigger of bucket '{bucket}': every upload{way}",
        # It takes S3 some seconds to see a new permission.
        lambda: retry_while(
            lambda: s3.put_bucket_notification_configuration(
                Bucket=bucket,
                NotificationConfiguration=wanted,
                ExpectedBucketOwner=run.aws.account_id,
            ),
            _permission_is_settling,
            seconds=30,
        ),
    )


def _note_switch(run: Run) -> None:
    """Tag the queue with the time, before the switch so that no run can take it for an old one.

    A tag from the last minute, of a run that was ended before the switch, is good enough.
    """
    sqs, name = run.aws.client("sqs"), run.deployment.upload_queue
    found = find_queue(run, name)
    if found is not None and _seconds_since_switch(run, found[0]) > 60:
        tags = {SWITCHED: str(int(time.time()))}
        run.change(
            "note",
            f"the time of the switch in a tag of queue '{name}'",
            lambda: sqs.tag_queue(QueueUrl=found[0], Tags=tags),
        )


def _seconds_since_switch(run: Run, url: str) -> float:
    tags = run.aws.client("sqs").list_queue_tags(QueueUrl=url).get("Tags", {})
    return time.time() - int(tags.get(SWITCHED, 0))


def _current_notification(run: Run) -> Any:
    s3, bucket = run.aws.client("s3"), run.deployment.input_bucket
    try:
        return s3.get_bucket_notification_configuration(
            Bucket=bucket, ExpectedBucketOwner=run.aws.account_id
        )
    except s3.exceptions.NoSuchBucket as error:
        if run.dry_run:
            return {}
        raise AwsError(
            f"There is no bucket '{bucket}': run {run.command('createS3.py')}"
        ) from error


def _permission_is_settling(error: botocore.exceptions.ClientError) -> bool:
    return error_code(error) == "InvalidArgument" and "Unable to validate" in str(error)


def _ensure_permission(run: Run) -> list[str]:
    """Let the bucket invoke the splitter; return the IDs of statements that this replaces."""
    client, name = run.aws.client("lambda"), run.deployment.splitter.name
    bucket = input_bucket_arn(run)
    text = f"permission of bucket '{run.deployment.input_bucket}' to invoke '{name}'"
    statements = invoke_statements(run)
    outdated = [sid for sid, statement in statements.items() if not is_ours(run, statement)]
    if len(outdated) < len(statements):
        run.kept(text)
        return outdated
    ids = chain((STATEMENT,), (f"{STATEMENT}-{number}" for number in count(2)))
    free = next(sid for sid in ids if sid not in statements)
    try:
        run.change(
            "add",
            text,
            lambda: client.add_permission(
                FunctionName=name,
                StatementId=free,
                Action="lambda:InvokeFunction",
                Principal="s3.amazonaws.com",
                SourceArn=bucket,
                SourceAccount=run.aws.account_id,
            ),
        )
    except client.exceptions.ResourceNotFoundException as error:
        raise _no_function(run) from error
    return outdated


def _no_function(run: Run) -> AwsError:
    name = run.deployment.splitter.name
    return AwsError(f"There is no function '{name}': run {run.command('deploy/functions.py')}")


@click.command()
@deployment_options
def main(run: Run) -> None:
    """Let uploads start the splitter: python3 deploy/trigger.py --prefix 1225111111"""
    ensure_trigger(run)
    upload = run.command("workload/recognize.py", "VIDEO.mp4")
    click.echo(f"Next: {upload}", err=True)


if __name__ == "__main__":
    main()
