"""The ffmpeg layer: the zip it is made from, and the versions that are published."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.aws import NOT_FOUND, AwsError, read_or_none
from pipeline.cli import Run

if TYPE_CHECKING:
    from mypy_boto3_lambda.type_defs import LayerVersionsListItemTypeDef

# Unzipped size of a function with all its layers.
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_UNPACKED_BYTES = 262_144_000

# e_machine in an ELF header (elf.h: EM_X86_64, EM_AARCH64) and Lambda's name for the architecture.
ELF_MACHINES = {62: "x86_64", 183: "arm64"}

BINARY = "bin/ffmpeg"


@dataclass(frozen=True)
class Layer:
    """A published layer version and the architecture that its ffmpeg runs on."""

    arn: str
    architecture: str


def check_zip(path: Path) -> str:
    """Return the architecture of the zip's ffmpeg; raises AwsError if Lambda cannot use the zip."""
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
        raise AwsError(
            f"{path} is not a zip file: build it with ./install_ffmpeg.sh --force"
        ) from error
    if unpacked > MAX_UNPACKED_BYTES:
        raise AwsError(
            f"{path} unpacks to {unpacked:,} bytes; Lambda takes at most {MAX_UNPACKED_BYTES:,}. "
            "Build a smaller one with ./install_ffmpeg.sh --force"
        )
    if not mode & 0o001:
        raise AwsError(
            f"{BINARY} in {path} is not executable: build it with ./install_ffmpeg.sh --force"
        )
    machine = ELF_MACHINES.get(int.from_bytes(header[18:20], "little"))
    if header[:4] != b"\x7fELF" or machine is None:
        raise AwsError(f"{BINARY} in {path} is not a program for x86-64 or arm64 Linux.")
    return machine


def zip_digest(path: Path) -> str:
    """Return the file's SHA-256 in base64, as Lambda reports it for code and layers."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return base64.b64encode(digest.digest()).decode()


def layer_versions(run: Run) -> list[LayerVersionsListItemTypeDef]:
    """Return the published versions of the deployment's layer, newest first."""
    pages = run.aws.client("lambda").get_paginator("list_layer_versions")
    versions = read_or_none(
        lambda: [
            version
            for page in pages.paginate(LayerName=run.deployment.layer)
            for version in page["LayerVersions"]
        ],
        NOT_FOUND,
    )
    return sorted(versions or [], key=lambda version: version["Version"], reverse=True)


def deployed_layer(run: Run) -> Layer | None:
    """Return the newest version; None if the layer was never published."""
    versions = layer_versions(run)
    if not versions:
        return None
    return Layer(versions[0]["LayerVersionArn"], versions[0]["CompatibleArchitectures"][0])


def delete_layer_version(run: Run, number: int) -> None:
    """Delete one version of the deployment's layer."""
    run.aws.client("lambda").delete_layer_version(
        LayerName=run.deployment.layer, VersionNumber=number
    )
