#!/usr/bin/env python3
"""The whole deployment, in order. Each step also is a script of its own."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import click

from createS3 import create_buckets
from deploy.failures import ensure_queue
from deploy.functions import ensure_functions, image_option, read_overrides, set_option
from deploy.layer import ensure_layer, zip_option
from deploy.roles import ensure_roles
from deploy.trigger import ensure_trigger
from pipeline.cli import Run, deployment_options


@click.command()
@deployment_options
@zip_option
@image_option
@set_option
def main(run: Run, zip_path: Path, image_uri: str | None, settings: tuple[str, ...]) -> None:
    """Deploy everything: python deploy/deploy.py --prefix 1225111111 --image-uri URI"""
    deployment, overrides = run.deployment, read_overrides(settings)
    click.echo("Buckets", err=True)
    create_buckets(run)
    click.echo("Failure queue", err=True)
    queue = ensure_queue(run)
    click.echo("Roles", err=True)
    roles = ensure_roles(run)
    click.echo("ffmpeg layer", err=True)
    layer = ensure_layer(run, zip_path)
    click.echo("Functions", err=True)
    for arn in ensure_functions(run, roles, layer, queue, image_uri, overrides):
        click.echo(arn)
    click.echo("Trigger", err=True)
    ensure_trigger(run)
    click.echo(
        f"Done, {run.changes} changes. Next: aws s3 cp VIDEO.mp4 s3://{deployment.input_bucket}/",
        err=True,
    )


if __name__ == "__main__":
    main()
