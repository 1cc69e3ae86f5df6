#!/usr/bin/env python3
"""The ffmpeg layer: checks ffmpeg.zip and publishes it, unless it is published already."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.requirements import require_packages

require_packages()

import click

from deploy.parts.ffmpeg_layer import Layer, check_zip, layer_versions, zip_digest
from pipeline.aws import AWS_ERRORS, AwsError, explain
from pipeline.cli import Run, deployment_options
from pipeline.settings import ROOT

# The largest zip that fits into an API call.
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_DIRECT_BYTES = 50_000_000

RUNTIMES = ["python3.12", "python3.13"]


def ensure_layer(run: Run, zip_path: Path) -> Layer:
    """Publish the zip as a new layer version, unless the newest version is the same zip."""
    architecture = check_zip(zip_path)
    name, versions = run.deployment.layer, layer_versions(run)
    digest = zip_digest(zip_path)
    if versions:
        newest = run.aws.client("lambda").get_layer_version(
            LayerName=name, VersionNumber=versions[0]["Version"]
        )
        if newest["Content"]["CodeSha256"] == digest:
            run.kept(f"layer '{name}' version {newest['Version']}")
            return Layer(newest["LayerVersionArn"], architecture)
    size = zip_path.stat().st_size
    published = run.change(
        "publish",
        f"layer '{name}' ({architecture}, {size / 1e6:.0f} MB)",
        lambda: _publish(run, name, zip_path, architecture, digest),
    )
    arn = published["LayerVersionArn"] if published else f"(new version of layer {name})"
    return Layer(arn, architecture)


def _publish(run: Run, name: str, zip_path: Path, architecture: str, digest: str) -> Any:
    client = run.aws.client("lambda")
    settings: dict[str, Any] = {
        "LayerName": name,
        "Description": f"ffmpeg, zip SHA-256 {digest}",
        "CompatibleRuntimes": RUNTIMES,
        "CompatibleArchitectures": [architecture],
    }
    if zip_path.stat().st_size <= MAX_DIRECT_BYTES:
        return client.publish_layer_version(Content={"ZipFile": zip_path.read_bytes()}, **settings)
    # Too large for the call: send it through the stage-1 bucket and delete it there afterwards.
    s3, bucket = run.aws.client("s3"), run.deployment.stage_1_bucket
    key = f".deploy/{zip_path.name}"
    try:
        s3.upload_file(str(zip_path), bucket, key)
    except AWS_ERRORS as error:
        raise AwsError(
            f"Cannot send {zip_path} to s3://{bucket}/{key}: {explain(error)} The layer is too "
            f"large for a call and goes through this bucket, which {run.command('createS3.py')} "
            "makes."
        ) from error
    try:
        return client.publish_layer_version(Content={"S3Bucket": bucket, "S3Key": key}, **settings)
    finally:
        s3.delete_object(Bucket=bucket, Key=key)


zip_option = click.option(
    "--zip",
    "zip_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=ROOT / "build" / "ffmpeg.zip",
    help="The layer built by ./install_ffmpeg.sh; default: build/ffmpeg.zip in this checkout.",
)


@click.command()
@deployment_options
@zip_option
def main(run: Run, zip_path: Path) -> None:
    """Publish the ffmpeg layer: python3 deploy/layer.py --prefix 1225111111"""
    click.echo(ensure_layer(run, zip_path).arn)
    click.echo(
        f"Next: a gallery (README.md, step 3), then {run.command('deploy/image.py')}", err=True
    )


if __name__ == "__main__":
    main()
