"""Empties a deployment's three buckets before a run."""

from __future__ import annotations

from collections.abc import Callable

import click

from pipeline.aws import Aws
from pipeline.bucket_admin import empty_bucket
from pipeline.cli import counted
from pipeline.settings import Deployment
from workload.running.buckets import count


def clear(
    aws: Aws, deployment: Deployment, note: Callable[[str], None], confirmed: bool = False
) -> None:
    """Empty the three buckets; asks the user first unless already `confirmed`."""
    s3 = aws.client("s3")
    counts = {bucket: count(s3, bucket) for bucket in deployment.buckets}
    if not any(counts.values()):
        note("All three buckets are already empty.")
        return
    what = ", ".join(f"{count} in s3://{bucket}" for bucket, count in counts.items())
    if not confirmed:
        click.confirm(f"Delete all objects ({what})?", abort=True, err=True)
    for bucket in deployment.buckets:
        note(f"Deleted {counted(empty_bucket(s3, bucket), 'object')} from s3://{bucket}")


def say_what_clear_would_do(aws: Aws, deployment: Deployment, note: Callable[[str], None]) -> None:
    """For --dry-run: how many objects `clear` would delete from each bucket."""
    for bucket in deployment.buckets:
        held = counted(count(aws.client("s3"), bucket), "object")
        note(f"Would delete {held} from s3://{bucket}")
