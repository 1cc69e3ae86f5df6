"""What makes uploads start the splitter: the bucket's notifications and its permission to invoke.

The bucket sends events to the splitter itself or, in small accounts, to the queue of uploads.

Everything here only reads; deploy/trigger.py writes.
"""

from __future__ import annotations

import json
from typing import Any

from deploy.parts.queues import arn_of
from pipeline.aws import AwsError
from pipeline.cli import Run
from pipeline.policies import function_arn

# The start of our statements' IDs. There are two for as long as it takes to replace one.
STATEMENT = "input-bucket-may-invoke"
QUEUES, FUNCTIONS = "QueueConfigurations", "LambdaFunctionConfigurations"
KINDS = ("TopicConfigurations", QUEUES, FUNCTIONS)


def splitter_arn(run: Run) -> str:
    """Return the ARN of the splitter."""
    aws = run.aws
    return function_arn(run.deployment.splitter, aws.region, aws.account_id, aws.partition)


def input_bucket_arn(run: Run) -> str:
    """Return the ARN of the input bucket."""
    return f"arn:{run.aws.partition}:s3:::{run.deployment.input_bucket}"


def notification(current: Any, target: str, name: str) -> dict[str, Any]:
    """Return the bucket's notifications: others' unchanged, and ours for every upload.

    S3's suffix filters are case-sensitive, and what they leave out vanishes without a word. The
    splitter decides itself what is a video. Ours has an Id that starts with the function's `name`;
    those of older deployments, one per suffix, are replaced, as is one that goes elsewhere.
    `target` is the ARN of the function or the queue that gets the events.
    """
    merged = {key: list(current[key]) for key in KINDS if current.get(key)}
    if "EventBridgeConfiguration" in current:
        merged["EventBridgeConfiguration"] = current["EventBridgeConfiguration"]
    for key in (QUEUES, FUNCTIONS):
        others = [config for config in merged.pop(key, []) if not _is_of(name, config)]
        merged.update({key: others} if others else {})
    key, arn = (QUEUES, "QueueArn") if ":sqs:" in target else (FUNCTIONS, "LambdaFunctionArn")
    ours = {"Id": f"{name}:all", arn: target, "Events": ["s3:ObjectCreated:*"]}
    return {**merged, key: [*merged.get(key, []), ours]}


def target_of(current: Any, name: str) -> str | None:
    """Return the ARN that gets the uploads' events; None if there is none."""
    for key in (QUEUES, FUNCTIONS):
        for config in current.get(key, []):
            if _is_of(name, config):
                return str(config.get("QueueArn") or config["LambdaFunctionArn"])
    return None


def _is_of(name: str, config: Any) -> bool:
    return bool(config.get("Id", "").startswith(f"{name}:"))


def same_notification(current: Any, wanted: dict[str, Any]) -> bool:
    """Return whether both send the same events to the same functions and queues."""
    return all(_plain(current.get(key, [])) == _plain(wanted.get(key, [])) for key in KINDS[1:])


def _plain(configs: Any) -> list[Any]:
    rows = []
    for config in configs:
        rules = config.get("Filter", {}).get("Key", {}).get("FilterRules", [])
        # S3 returns `Suffix` for `suffix`.
        rules = sorted((rule["Name"].lower(), rule["Value"]) for rule in rules)
        arn = config.get("QueueArn") or config["LambdaFunctionArn"]
        rows.append((config["Id"], arn, config["Events"], rules))
    return sorted(rows)


def sends_to(run: Run) -> str:
    """Return the ARN that the input bucket sends every upload's event to.

    Raises AwsError unless that is the splitter or its queue.
    """
    deployment = run.deployment
    s3, bucket = run.aws.client("s3"), deployment.input_bucket
    name = deployment.splitter.name
    current = s3.get_bucket_notification_configuration(Bucket=bucket)
    target = target_of(current, name)
    if target not in (splitter_arn(run), arn_of(run, deployment.upload_queue)) or (
        not same_notification(current, notification(current, target, name))
    ):
        raise AwsError(f"Bucket '{bucket}' does not start the splitter.")
    return target


def may_invoke(run: Run) -> bool:
    """Return whether the splitter's policy lets the input bucket, and no other, invoke it."""
    statements = invoke_statements(run).values()
    return bool(statements) and all(is_ours(run, statement) for statement in statements)


def invoke_statements(run: Run) -> dict[str, Any]:
    """Return those statements of the splitter's policy whose IDs are ours, by ID."""
    client = run.aws.client("lambda")
    try:
        answer = client.get_policy(FunctionName=run.deployment.splitter.name)
    except client.exceptions.ResourceNotFoundException:
        return {}
    statements = json.loads(answer["Policy"])["Statement"]
    return {s["Sid"]: s for s in statements if s.get("Sid", "").startswith(STATEMENT)}


def is_ours(run: Run, statement: dict[str, Any]) -> bool:
    """Return whether the statement is for the input bucket alone, while this account owns it."""
    bucket, account = input_bucket_arn(run), run.aws.account_id
    condition = statement.get("Condition", {})
    sources = {k.lower(): v for part in condition.values() for k, v in part.items()}
    return sources == {"aws:sourcearn": bucket, "aws:sourceaccount": account}
