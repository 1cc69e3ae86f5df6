#!/usr/bin/env python3
"""The trigger: lets every upload to the input bucket start the splitter."""

from __future__ import annotations

import sys
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.requirements import require_packages

require_packages()

import botocore.exceptions
import click

from deploy.parts.ownership import refuse_foreign
from deploy.parts.s3_trigger import (
    STATEMENT,
    input_bucket_arn,
    invoke_statements,
    is_ours,
    notification,
    same_notification,
    splitter_arn,
)
from pipeline.aws import AwsError, error_code, retry_while
from pipeline.cli import Run, deployment_options


def ensure_trigger(run: Run) -> None:
    """Let the input bucket invoke the splitter, then set its notifications.

    Raises AwsError if the bucket or the splitter does not exist, or if the splitter belongs to
    another deployment.
    """
    refuse_foreign(run)
    outdated = _ensure_permission(run)
    _set_notification(run)
    for statement_id in outdated:
        run.change(
            "remove",
            f"outdated permission '{statement_id}' of '{run.deployment.splitter.name}'",
            partial(
                run.aws.client("lambda").remove_permission,
                FunctionName=run.deployment.splitter.name,
                StatementId=statement_id,
            ),
        )


def _set_notification(run: Run) -> None:
    s3, bucket = run.aws.client("s3"), run.deployment.input_bucket
    current = _current_notification(run)
    wanted: Any = notification(current, splitter_arn(run), run.deployment.splitter.name)
    if same_notification(current, wanted):
        run.kept(f"trigger of bucket '{bucket}'")
        return
    run.change(
        "set",
        f"trigger of bucket '{bucket}': every upload",
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
        raise AwsError(
            f"There is no function '{name}': run {run.command('deploy/functions.py')}"
        ) from error
    return outdated


@click.command()
@deployment_options
def main(run: Run) -> None:
    """Let uploads start the splitter: python3 deploy/trigger.py --prefix 1225111111"""
    ensure_trigger(run)
    upload = run.aws_command("s3", "cp", "VIDEO.mp4", f"s3://{run.deployment.input_bucket}/")
    listing = run.aws_command("s3", "ls", f"s3://{run.deployment.output_bucket}/")
    click.echo(f"Next: {upload} and, some seconds later, {listing}", err=True)


if __name__ == "__main__":
    main()
