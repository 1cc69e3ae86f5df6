#!/usr/bin/env python3
"""Removes a deployment, and proves by listing that nothing of it is left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import click

from deploy.parts.inventory import Thing, inventory, not_ours
from pipeline.aws import AwsError
from pipeline.cli import Run, deployment_options

# A deleted queue may be listed for a minute, a deleted bucket for a while.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteQueue.html
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel
SETTLING_S = 90


def destroy(run: Run, delete_objects: bool = False) -> None:
    """Delete everything of the deployment; raises AwsError if something is left, naming it.

    Buckets that hold objects are refused, before anything is deleted, unless `delete_objects`.
    """
    things = inventory(run)
    refuse_full_buckets(things, delete_objects)
    for thing in things:
        run.change("delete", str(thing), thing.delete)
    if run.dry_run:
        return
    left = _left(run)
    if left:
        raise AwsError(
            f"Still there: {', '.join(str(thing) for thing in left)}. Run this again; a bucket "
            "that is written to meanwhile fills up again."
        )


def _left(
    run: Run, seconds: float = SETTLING_S, sleep: Callable[[float], None] = time.sleep
) -> list[Thing]:
    """What is still listed once what was deleted has had its time to go."""
    deadline = time.monotonic() + seconds
    while (left := inventory(run)) and time.monotonic() < deadline:
        sleep(5)
    return left


def refuse_full_buckets(things: list[Thing], delete_objects: bool) -> None:
    """Raise AwsError when buckets hold objects that nobody said may be deleted."""
    full = [thing for thing in things if thing.objects]
    if full and not delete_objects:
        raise AwsError(
            f"{', '.join(str(thing) for thing in full)}: nothing was deleted. Save what you need, "
            "then pass --delete-objects."
        )


@click.command()
@deployment_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--delete-objects", is_flag=True, help="Delete the buckets' objects, too.")
def main(run: Run, yes: bool, delete_objects: bool) -> None:
    """Remove everything of a deployment: python deploy/destroy.py --prefix 1225111111"""
    things = inventory(run)
    for text in not_ours(run):
        click.echo(f"left: {text}", err=True)
    if not things:
        click.echo(f"Nothing of '{run.deployment.prefix}' is in {run.aws.region}.")
        return
    for thing in things:
        click.echo(str(thing), err=True)
    refuse_full_buckets(things, delete_objects)
    if not (yes or run.dry_run):
        click.confirm(f"Delete these {len(things)} for good?", abort=True, err=True)
    destroy(run, delete_objects)
    if not run.dry_run:
        click.echo(
            f"Deleted {len(things)}; listed again: nothing of '{run.deployment.prefix}' is left in "
            f"{run.aws.region}."
        )


if __name__ == "__main__":
    main()
