#!/usr/bin/env python3
"""The trigger: lets the input bucket start the splitter, for video files only."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import click

from deploy.parts.ownership import refuse_foreign
from pipeline.aws import AwsError, error_code, retry_while
from pipeline.cli import Run, deployment_options
from pipeline.policies import function_arn
from pipeline.settings import VIDEO_SUFFIXES

STATEMENT = "input-bucket-may-invoke"
KINDS = ("TopicConfigurations", "QueueConfigurations", "LambdaFunctionConfigurations")


def notification(current: dict[str, Any], function: str, name: str) -> dict[str, Any]:
    """The bucket's notifications: those of others as they are, ours anew, one a video suffix.

    Ours have an Id that starts with the function's `name`. `function` is the function's ARN.
    """
    merged = {key: list(current[key]) for key in KINDS if current.get(key)}
    if "EventBridgeConfiguration" in current:
        merged["EventBridgeConfiguration"] = current["EventBridgeConfiguration"]
    others = [
        config
        for config in merged.get("LambdaFunctionConfigurations", [])
        if not config.get("Id", "").startswith(f"{name}:")
    ]
    ours = [
        {
            "Id": f"{name}:{suffix}",
            "LambdaFunctionArn": function,
            "Events": ["s3:ObjectCreated:*"],
            "Filter": {"Key": {"FilterRules": [{"Name": "suffix", "Value": suffix}]}},
        }
        for suffix in VIDEO_SUFFIXES
    ]
    return {**merged, "LambdaFunctionConfigurations": others + ours}


def ensure_trigger(run: Run) -> None:
    """Let the input bucket invoke the splitter, then tell it to.

    Raises AwsError without a bucket or a splitter, and when that is another deployment's.
    """
    refuse_foreign(run)
    place = (run.aws.region, run.aws.account_id, run.aws.partition)
    function = function_arn(run.deployment.splitter, *place)
    _ensure_permission(run)
    s3, bucket = run.aws.client("s3"), run.deployment.input_bucket
    try:
        current = s3.get_bucket_notification_configuration(
            Bucket=bucket, ExpectedBucketOwner=run.aws.account_id
        )
    except s3.exceptions.NoSuchBucket as error:
        if run.dry_run:
            current = {}
        else:
            raise AwsError(
                f"There is no bucket '{bucket}': run {run.command('createS3.py')}"
            ) from error
    wanted = notification(current, function, run.deployment.splitter.name)
    if _same(current, wanted):
        run.kept(f"trigger of bucket '{bucket}'")
        return
    run.change(
        "set",
        f"trigger of bucket '{bucket}': {len(VIDEO_SUFFIXES)} video suffixes",
        # A new permission takes some seconds until S3 sees it.
        lambda: retry_while(
            lambda: s3.put_bucket_notification_configuration(
                Bucket=bucket,
                NotificationConfiguration=wanted,
                ExpectedBucketOwner=run.aws.account_id,
            ),
            lambda e: error_code(e) == "InvalidArgument" and "Unable to validate" in str(e),
            seconds=30,
        ),
    )


def _same(current: dict[str, Any], wanted: dict[str, Any]) -> bool:
    def plain(configs: list[dict[str, Any]]) -> list[Any]:
        rows = []
        for config in configs:
            rules = config.get("Filter", {}).get("Key", {}).get("FilterRules", [])
            # S3 gives back `Suffix` for `suffix`.
            rules = sorted((rule["Name"].lower(), rule["Value"]) for rule in rules)
            rows.append((config["Id"], config["LambdaFunctionArn"], config["Events"], rules))
        return sorted(rows)

    key = "LambdaFunctionConfigurations"
    return plain(current.get(key, [])) == plain(wanted[key])


def is_in_place(run: Run) -> bool:
    """Whether the input bucket starts the splitter for every video suffix."""
    place = (run.aws.region, run.aws.account_id, run.aws.partition)
    s3, bucket = run.aws.client("s3"), run.deployment.input_bucket
    current = s3.get_bucket_notification_configuration(Bucket=bucket)
    function = function_arn(run.deployment.splitter, *place)
    return _same(current, notification(current, function, run.deployment.splitter.name))


def may_invoke(run: Run) -> bool:
    """Whether the splitter's policy lets the input bucket, and no other, invoke it."""
    bucket = f"arn:{run.aws.partition}:s3:::{run.deployment.input_bucket}"
    statement = _statement(run, run.deployment.splitter.name)
    return statement is not None and _allows(statement, bucket, run.aws.account_id)


def _ensure_permission(run: Run) -> None:
    client, name = run.aws.client("lambda"), run.deployment.splitter.name
    bucket = f"arn:{run.aws.partition}:s3:::{run.deployment.input_bucket}"
    text = f"permission of bucket '{run.deployment.input_bucket}' to invoke '{name}'"
    statement = _statement(run, name)
    if statement is not None:
        if _allows(statement, bucket, run.aws.account_id):
            run.kept(text)
            return
        run.change(
            "remove",
            f"outdated {text}",
            lambda: client.remove_permission(FunctionName=name, StatementId=STATEMENT),
        )
    try:
        run.change(
            "add",
            text,
            lambda: client.add_permission(
                FunctionName=name,
                StatementId=STATEMENT,
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


def _statement(run: Run, name: str) -> Any:
    client = run.aws.client("lambda")
    try:
        policy = json.loads(client.get_policy(FunctionName=name)["Policy"])
    except client.exceptions.ResourceNotFoundException:
        return None
    return next((s for s in policy["Statement"] if s.get("Sid") == STATEMENT), None)


def _allows(statement: dict[str, Any], bucket: str, account: str) -> bool:
    condition = statement.get("Condition", {})
    sources = {k.lower(): v for part in condition.values() for k, v in part.items()}
    return sources == {"aws:sourcearn": bucket, "aws:sourceaccount": account}


@click.command()
@deployment_options
def main(run: Run) -> None:
    """Let uploads start the splitter: python deploy/trigger.py --prefix 1225111111"""
    ensure_trigger(run)
    upload = run.aws_command("s3", "cp", "VIDEO.mp4", f"s3://{run.deployment.input_bucket}/")
    listing = run.aws_command("s3", "ls", f"s3://{run.deployment.output_bucket}/")
    click.echo(f"Next: {upload} and, some seconds later, {listing}", err=True)


if __name__ == "__main__":
    main()
