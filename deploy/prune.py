#!/usr/bin/env python3
"""Removes builds that are no longer used: older images in ECR, older versions of the layer."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.requirements import require_packages

require_packages()

import click

from deploy.parts.deployed import function_versions
from deploy.parts.ffmpeg_layer import delete_layer_version, layer_versions
from deploy.parts.inventory import Thing
from pipeline.aws import AwsError, read_or_none
from pipeline.cli import Run, deployment_options
from pipeline.names import printable
from pipeline.settings import Function

if TYPE_CHECKING:
    from mypy_boto3_lambda.type_defs import GetFunctionResponseTypeDef


def unused(run: Run, keep: int) -> list[Thing]:
    """Return the images and layer versions that no function uses, without the newest `keep`."""
    return [*_images(run, keep), *_layers(run, keep)]


def _published(run: Run, function: Function) -> Iterator[GetFunctionResponseTypeDef]:
    """Yield GetFunction's response for each version, $LATEST included."""
    client = run.aws.client("lambda")
    for config in function_versions(run, function):
        yield client.get_function(FunctionName=function.name, Qualifier=config["Version"])


def _images(run: Run, keep: int) -> list[Thing]:
    name = run.deployment.repository
    pages = run.aws.client("ecr").get_paginator("describe_images")
    images = read_or_none(
        lambda: [
            image
            for page in pages.paginate(repositoryName=name, filter={"tagStatus": "TAGGED"})
            for image in page["imageDetails"]
        ],
        "RepositoryNotFoundException",
    )
    newest_first = sorted(images or [], key=lambda image: image["imagePushedAt"], reverse=True)
    uris: set[str | None] = set()
    for answer in _published(run, run.deployment.recognizer):
        # Deployed by hand, ImageUri may name a tag; ResolvedImageUri always names the digest.
        uris.update((answer["Code"].get("ImageUri"), answer["Code"].get("ResolvedImageUri")))
    things = []
    for image in newest_first[keep:]:
        digest, tags = image["imageDigest"], image["imageTags"]
        names = (f"/{name}@{digest}", *(f"/{name}:{tag}" for tag in tags))
        if any(uri and uri.endswith(names) for uri in uris):
            continue
        size = image.get("imageSizeInBytes", 0) / 1e6
        detail = f"pushed {image['imagePushedAt']:%Y-%m-%d}, {size:.0f} MB"
        delete = partial(_delete_image, run, digest)
        things.append(Thing("image", f"{name}:{', '.join(tags)}", detail, delete))
    return things


def _delete_image(run: Run, digest: str) -> None:
    name = run.deployment.repository
    answer = run.aws.client("ecr").batch_delete_image(
        repositoryName=name, imageIds=[{"imageDigest": digest}]
    )
    for failure in answer.get("failures", []):
        raise AwsError(f"Cannot delete image '{name}@{digest}': {failure.get('failureReason')}")


def _layers(run: Run, keep: int) -> list[Thing]:
    used = {
        layer["Arn"]
        for answer in _published(run, run.deployment.splitter)
        for layer in answer["Configuration"].get("Layers") or []
    }
    return [
        Thing(
            "layer",
            f"{run.deployment.layer}:{version['Version']}",
            f"published {version['CreatedDate'][:10]}",
            partial(delete_layer_version, run, version["Version"]),
        )
        for version in layer_versions(run)[keep:]
        if version["LayerVersionArn"] not in used
    ]


@click.command()
@deployment_options
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="How many of the newest images and layer versions to keep, used or not.",
)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def main(run: Run, keep: int, yes: bool) -> None:
    """Remove old images and layer versions: python3 deploy/prune.py --prefix 1225111111

    Anything that a version of the deployment's functions uses is kept, however old it is.
    """
    things = unused(run, keep)
    if not things:
        click.echo(f"Nothing to remove: every build is in use or one of the newest {keep}.")
        return
    if not run.dry_run:
        for thing in things:
            click.echo(printable(str(thing)), err=True)
        if not yes:
            click.confirm(f"Delete these {len(things)} for good?", abort=True, err=True)
    for thing in things:
        run.change("delete", str(thing), thing.delete)
    if not run.dry_run:
        click.echo(f"Deleted {len(things)}.")


if __name__ == "__main__":
    main()
