#!/usr/bin/env python3
"""The failure queue: where Lambda puts each event the splitter could not handle."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import click

from pipeline.aws import covers
from pipeline.cli import Run, deployment_options
from pipeline.policies import queue_arn

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
            lambda: sqs.create_queue(
                QueueName=name, Attributes=ATTRIBUTES, tags={"project": "video-face-recognition"}
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


@click.command()
@deployment_options
def main(run: Run) -> None:
    """Create the failure queue: python deploy/failures.py --prefix 1225111111"""
    click.echo(ensure_queue(run))
    click.echo(f"Next: python deploy/roles.py --prefix {run.deployment.prefix}", err=True)


if __name__ == "__main__":
    main()
