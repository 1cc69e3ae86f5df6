#!/usr/bin/env python3
"""Runs all deployment steps in order. Each step is also a command."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.requirements import require_packages

require_packages()

import click

from createS3 import create_buckets, stage_1_days_option
from deploy.alarms import ensure_alarms
from deploy.failures import ensure_queue
from deploy.functions import ensure_functions
from deploy.image import check_build, ensure_image, image_option, image_options
from deploy.layer import ensure_layer, zip_option
from deploy.parts.ffmpeg_layer import check_zip
from deploy.parts.gallery_file import check_gallery, check_gallery_in_s3
from deploy.parts.monitoring import alarms_option, email_option
from deploy.parts.ownership import refuse_foreign
from deploy.parts.snapstart import snapstart_option
from deploy.parts.targets import check_image_uri
from deploy.roles import ensure_roles, remove_unused_rights
from deploy.trigger import ensure_trigger
from pipeline.aws import AwsError
from pipeline.cli import Run, counted, deployment_options, set_option
from pipeline.settings import ROOT


def check_inputs(run: Run, zip_path: Path, image_uri: str | None, architecture: str) -> None:
    """Raise AwsError for anything that would stop the deployment halfway."""
    layer = check_zip(zip_path)
    if image_uri is not None:
        check_image_uri(run, image_uri)
    elif layer != architecture:
        raise AwsError(
            f"The ffmpeg layer {zip_path} is for {layer}: pass --platform {layer}, or "
            f"./install_ffmpeg.sh --arch {architecture} --force"
        )
    recognizer = run.deployment.recognizer
    model = recognizer.environment["MODEL"]
    gallery_uri = recognizer.environment["GALLERY_URI"]
    if gallery_uri:
        check_gallery_in_s3(run, gallery_uri, model)
    elif image_uri is None:
        check_gallery(ROOT / "data.pt", model)


@click.command()
@partial(deployment_options, saves_first=True)
@zip_option
@image_option
@image_options
@set_option
@snapstart_option
@stage_1_days_option
@alarms_option
@email_option
def main(
    run: Run,
    zip_path: Path,
    image_uri: str | None,
    tool: str | None,
    base_image: str | None,
    free_gb: float,
    architecture: str,
    snapstart: bool | None,
    stage_1_days: int,
    has_alarms: bool,
    email: str | None,
) -> None:
    """Deploy everything: python3 deploy/deploy.py --prefix 1225111111"""
    deployment = run.deployment
    settings = deployment.recognizer.environment
    refuse_foreign(run)
    check_inputs(run, zip_path, image_uri, architecture)
    if not image_uri:
        place = (settings["MODEL"], architecture, tool, base_image, free_gb)
        check_build(run, *place, engine=settings["ENGINE"])
    click.echo("Buckets", err=True)
    create_buckets(run, stage_1_days)
    run.save()
    click.echo("Failure queue", err=True)
    queue = ensure_queue(run)
    click.echo("Roles", err=True)
    roles = ensure_roles(run)
    click.echo("ffmpeg layer", err=True)
    layer = ensure_layer(run, zip_path)
    if image_uri is None:
        click.echo("Image", err=True)
        model = deployment.recognizer.environment["MODEL"]
        gallery_uri = deployment.recognizer.environment["GALLERY_URI"]
        image_uri = ensure_image(
            *(run, model, architecture, gallery_uri, tool, base_image),
            free_gb=free_gb,
            engine=deployment.recognizer.environment["ENGINE"],
        )
    click.echo("Functions", err=True)
    for arn in ensure_functions(run, roles, layer, queue, image_uri, bool(snapstart)):
        click.echo(arn)
    click.echo("Trigger", err=True)
    ensure_trigger(run)
    click.echo("What is no longer used", err=True)
    remove_unused_rights(run)
    if has_alarms:
        click.echo("Alarms", err=True)
        ensure_alarms(run, email)
    if run.dry_run:
        click.echo(f"{counted(run.changes, 'change')} would be made.", err=True)
        return
    upload = run.command("workload/recognize.py", "VIDEO.mp4")
    click.echo(f"Done, {counted(run.changes, 'change')}. Next: {upload}", err=True)


if __name__ == "__main__":
    main()
