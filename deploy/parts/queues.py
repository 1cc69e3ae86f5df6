"""Makes queues of a deployment, and looks at them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import botocore.exceptions

from pipeline.aws import NO_QUEUE, covers, error_code, read_or_none, retry_while
from pipeline.cli import Run
from pipeline.policies import queue_arn
from pipeline.settings import PROJECT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_sqs.literals import QueueAttributeNameType

# Messages that can be received, that somebody works on, and that cannot be received yet.
COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


def arn_of(run: Run, name: str) -> str:
    """Return the ARN of the deployment's queue of this name."""
    return queue_arn(name, run.aws.region, run.aws.account_id, run.aws.partition)


def put_queue(run: Run, name: str, attributes: Mapping[QueueAttributeNameType, str]) -> str:
    """Create the queue, or give it the attributes that differ; return its ARN."""
    sqs, wanted = run.aws.client("sqs"), dict(attributes)
    found = find_queue(run, name)
    if found is None:
        run.change(
            "create",
            f"queue '{name}'",
            lambda: retry_while(
                lambda: sqs.create_queue(QueueName=name, Attributes=wanted, tags=PROJECT),
                _name_is_reserved,
                seconds=70,
            ),
        )
    elif covers(_parsed(found[1]), _parsed(wanted)):
        run.kept(f"queue '{name}'")
    else:
        url = found[0]
        run.change(
            "update",
            f"queue '{name}'",
            lambda: sqs.set_queue_attributes(QueueUrl=url, Attributes=wanted),
        )
    return arn_of(run, name)


def find_queue(run: Run, name: str) -> tuple[str, dict[str, str]] | None:
    """Return the queue's URL and attributes; None if there is no such queue.

    SQS may still give the URL of a queue that was just deleted.
    """
    sqs = run.aws.client("sqs")

    def look() -> tuple[str, Any]:
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        return url, answer["Attributes"]

    return read_or_none(look, *NO_QUEUE)


def messages_in(attributes: Mapping[str, str]) -> int:
    """Return about how many messages a queue with these attributes holds, hidden ones included."""
    return sum(int(attributes.get(name, 0)) for name in COUNTS)


def _parsed(attributes: Mapping[Any, str]) -> dict[str, Any]:
    """Return the attributes with those parsed that are JSON, whose spaces SQS may change."""
    return {k: json.loads(v) if v.startswith("{") else v for k, v in attributes.items()}


def _name_is_reserved(error: botocore.exceptions.ClientError) -> bool:
    """SQS reserves the name of a deleted queue for a minute."""
    return "QueueDeletedRecently" in error_code(error)
