#!/usr/bin/env python3
"""Removes a deployment, then lists again to prove that nothing is left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.requirements import require_packages

require_packages()

import click

from deploy.parts.inventory import GONE, Thing, inventory, not_ours
from pipeline.aws import AwsError, read_or_none
from pipeline.cli import Run, deployment_options
from pipeline.names import printable

# AWS may list a deleted queue for a minute, and a deleted bucket for some time.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteQueue.html
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel
SETTLING_S = 90


def destroy(run: Run, delete_objects: bool = False) -> None:
    """Delete the deployment; raises AwsError naming whatever is left.

    Unless `delete_objects`, a bucket with objects in it is an error, before anything is deleted.
    """
    things = inventory(run)
    refuse_full_buckets(things, delete_objects)
    for thing in things:
        # Somebody else, or an earlier run, may have deleted it since it was listed.
        run.change("delete", str(thing), partial(read_or_none, thing.delete, *GONE))
    if run.dry_run:
        return
    left = _left(run)
    if left:
        raise AwsError(
            f"Still there: {', '.join(str(thing) for thing in left)}. Run the same command again; "
            "check that nothing is writing to the buckets."
        )


def _left(
    run: Run, seconds: float = SETTLING_S, sleep: Callable[[float], None] = time.sleep
) -> list[Thing]:
    """Return what is still listed after AWS has had time to forget what was deleted."""
    deadline = time.monotonic() + seconds
    while (left := inventory(run)) and time.monotonic() < deadline:
        sleep(5)
    return left


def refuse_full_buckets(things: list[Thing], delete_objects: bool) -> None:
    """Raise AwsError if buckets contain objects and `delete_objects` is not set."""
    full = [thing for thing in things if thing.objects]
    if full and not delete_objects:
        raise AwsError(
            f"{', '.join(str(thing) for thing in full)}: nothing was deleted. Save what you need, "
            "then pass --delete-objects."
        )


@click.command()
@deployment_options
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--delete-objects", is_flag=True, help="Also delete the objects in the buckets.")
def main(run: Run, yes: bool, delete_objects: bool) -> None:
    """Remove a whole deployment: python3 deploy/destroy.py --prefix 1225111111"""
    things = inventory(run)
    for text in not_ours(run):
        click.echo(f"left: {printable(text)}", err=True)
    if not things:
        click.echo(f"Nothing of '{run.deployment.prefix}' exists in {run.aws.region}.")
        return
    for thing in things:
        click.echo(printable(str(thing)), err=True)
    refuse_full_buckets(things, delete_objects)
    if not (yes or run.dry_run):
        click.confirm(f"Delete these {len(things)} for good?", abort=True, err=True)
    destroy(run, delete_objects)
    if not run.dry_run:
        click.echo(
            f"Deleted {len(things)}; a new listing confirms that nothing of "
            f"'{run.deployment.prefix}' is left in {run.aws.region}."
        )


if __name__ == "__main__":
    main()
