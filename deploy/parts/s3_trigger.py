"""What makes uploads start the splitter: the bucket's notifications and its permission to invoke.

Everything here only reads; deploy/trigger.py writes.
"""

from __future__ import annotations

import json
from typing import Any

from pipeline.cli import Run
from pipeline.policies import function_arn

# The start of our statements' IDs. There are two for as long as it takes to replace one.
STATEMENT = "input-bucket-may-invoke"
KINDS = ("TopicConfigurations", "QueueConfigurations", "LambdaFunctionConfigurations")


def splitter_arn(run: Run) -> str:
    """Return the ARN of the splitter."""
    aws = run.aws
    return function_arn(run.deployment.splitter, aws.region, aws.account_id, aws.partition)


def input_bucket_arn(run: Run) -> str:
    """Return the ARN of the input bucket."""
    return f"arn:{run.aws.partition}:s3:::{run.deployment.input_bucket}"


def notification(current: Any, function: str, name: str) -> dict[str, Any]:
    """Return the bucket's notifications: others' unchanged, and ours for every upload.

    S3's suffix filters are case-sensitive, and what they leave out vanishes without a word. The
    splitter decides itself what is a video. Ours has an Id that starts with the function's `name`;
    those of older deployments, one per suffix, are replaced. `function` is the function's ARN.
    """
    merged = {key: list(current[key]) for key in KINDS if current.get(key)}
    if "EventBridgeConfiguration" in current:
        merged["EventBridgeConfiguration"] = current["EventBridgeConfiguration"]
    others = [
        config
        for config in merged.get("LambdaFunctionConfigurations", [])
        if not config.get("Id", "").startswith(f"{name}:")
    ]
    ours = {
        "Id": f"{name}:all",
        "LambdaFunctionArn": function,
        "Events": ["s3:ObjectCreated:*"],
    }
    return {**merged, "LambdaFunctionConfigurations": [*others, ours]}


def same_notification(current: Any, wanted: dict[str, Any]) -> bool:
    """Return whether both invoke the same functions for the same events."""
    key = "LambdaFunctionConfigurations"
    return _plain(current.get(key, [])) == _plain(wanted[key])


def _plain(configs: Any) -> list[Any]:
    rows = []
    for config in configs:
        rules = config.get("Filter", {}).get("Key", {}).get("FilterRules", [])
        # S3 returns `Suffix` for `suffix`.
        rules = sorted((rule["Name"].lower(), rule["Value"]) for rule in rules)
        rows.append((config["Id"], config["LambdaFunctionArn"], config["Events"], rules))
    return sorted(rows)


def is_in_place(run: Run) -> bool:
    """Return whether the input bucket starts the splitter for every upload."""
    s3, bucket = run.aws.client("s3"), run.deployment.input_bucket
    current = s3.get_bucket_notification_configuration(Bucket=bucket)
    wanted = notification(current, splitter_arn(run), run.deployment.splitter.name)
    return same_notification(current, wanted)


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
