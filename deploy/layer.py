#!/usr/bin/env python3
"""The ffmpeg layer: checks ffmpeg.zip and publishes it, unless that very zip is published."""

from __future__ import annotations

import base64
import hashlib
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import click

from pipeline.aws import AwsError
from pipeline.cli import Run, deployment_options
from pipeline.settings import ROOT

# Unzipped size of a function with all its layers, and what a call may carry of a zip.
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_UNPACKED_BYTES = 262_144_000
MAX_DIRECT_BYTES = 50_000_000

# e_machine of an ELF header (elf.h: EM_X86_64, EM_AARCH64) and Lambda's name for it.
ELF_MACHINES = {62: "x86_64", 183: "arm64"}

BINARY = "bin/ffmpeg"
RUNTIMES = ["python3.12", "python3.13"]


@dataclass(frozen=True)
class Layer:
    """A published layer version and the architecture its binary runs on."""

    arn: str
    architecture: str


def check_zip(path: Path) -> str:
    """The architecture of the zip's ffmpeg; raises AwsError if Lambda could not use the zip."""
    if not path.is_file():
        raise AwsError(f"There is no {path}: run ./install_ffmpeg.sh first, or pass --zip.")
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
            if BINARY not in archive.namelist():
                raise AwsError(f"{path} has no {BINARY}: build it with ./install_ffmpeg.sh --force")
            mode = archive.getinfo(BINARY).external_attr >> 16
            with archive.open(BINARY) as binary:
                header = binary.read(20)
    except zipfile.BadZipFile as error:
        raise AwsError(f"{path} is no zip: build it with ./install_ffmpeg.sh --force") from error
    if unpacked > MAX_UNPACKED_BYTES:
        raise AwsError(
            f"{path} unpacks to {unpacked:,} bytes; Lambda takes at most {MAX_UNPACKED_BYTES:,}. "
            "Build a smaller one with ./install_ffmpeg.sh --force"
        )
    if not mode & 0o001:
        raise AwsError(f"{BINARY} in {path} is not executable: ./install_ffmpeg.sh --force")
    machine = ELF_MACHINES.get(int.from_bytes(header[18:20], "little"))
    if header[:4] != b"\x7fELF" or machine is None:
        raise AwsError(f"{BINARY} in {path} is no program for x86-64 or arm64 Linux.")
    return machine


def ensure_layer(run: Run, zip_path: Path) -> Layer:
    """Publish the zip as a new layer version, unless the newest version is that zip."""
    architecture = check_zip(zip_path)
    name = run.deployment.layer
    digest = zip_digest(zip_path)
    newest = _newest_version(run, name)
    if newest is not None and newest["Content"]["CodeSha256"] == digest:
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


def deployed_layer(run: Run) -> Layer | None:
    """The newest version there is; None where the layer was never published."""
    newest = _newest_version(run, run.deployment.layer)
    if newest is None:
        return None
    return Layer(newest["LayerVersionArn"], newest["CompatibleArchitectures"][0])


def _newest_version(run: Run, name: str) -> Any:
    client = run.aws.client("lambda")
    versions = client.list_layer_versions(LayerName=name)["LayerVersions"]
    if not versions:
        return None
    newest = max(versions, key=lambda version: version["Version"])
    return client.get_layer_version(LayerName=name, VersionNumber=newest["Version"])


def _publish(run: Run, name: str, zip_path: Path, architecture: str, digest: str) -> Any:
    client = run.aws.client("lambda")
    settings = {
        "LayerName": name,
        "Description": f"ffmpeg, zip SHA-256 {digest}",
        "CompatibleRuntimes": RUNTIMES,
        "CompatibleArchitectures": [architecture],
    }
    if zip_path.stat().st_size <= MAX_DIRECT_BYTES:
        return client.publish_layer_version(Content={"ZipFile": zip_path.read_bytes()}, **settings)
    # Too large for the call itself: by way of the stage-1 bucket, and gone from there afterwards.
    s3, bucket = run.aws.client("s3"), run.deployment.stage_1_bucket
    key = f".deploy/{zip_path.name}"
    try:
        s3.upload_file(str(zip_path), bucket, key)
        return client.publish_layer_version(Content={"S3Bucket": bucket, "S3Key": key}, **settings)
    finally:
        s3.delete_object(Bucket=bucket, Key=key)


def zip_digest(path: Path) -> str:
    """The file's SHA-256 in base64, as Lambda names code and layers."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return base64.b64encode(digest.digest()).decode()


zip_option = click.option(
    "--zip",
    "zip_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=ROOT / "ffmpeg.zip",
    help="The layer that ./install_ffmpeg.sh made; default: ffmpeg.zip in this checkout.",
)


@click.command()
@deployment_options
@zip_option
def main(run: Run, zip_path: Path) -> None:
    """Publish the ffmpeg layer: python deploy/layer.py --prefix 1225111111"""
    click.echo(ensure_layer(run, zip_path).arn)
    click.echo(
        f"Next: a gallery (README.md, step 3), then {run.command('deploy/image.py')}", err=True
    )


if __name__ == "__main__":
    main()
