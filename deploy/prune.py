#!/usr/bin/env python3
"""Removes builds that nothing uses any more: older images in ECR, older versions of the layer."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import click

from deploy.parts.inventory import MISSING, Thing
from pipeline.aws import AwsError, read_or_none
from pipeline.cli import Run, deployment_options
from pipeline.settings import Function


def unused(run: Run, keep: int) -> list[Thing]:
    """All but the newest `keep` images and layer versions, and but those that a function uses."""
    return [*_images(run, keep), *_layers(run, keep)]


def _published(run: Run, function: Function) -> Iterator[dict[str, Any]]:
    """get_function of each version of `function`, $LATEST too; none where it does not exist."""
    client = run.aws.client("lambda")
    pages = client.get_paginator("list_versions_by_function").paginate(FunctionName=function.name)
    versions = read_or_none(
        lambda: [config["Version"] for page in pages for config in page["Versions"]], MISSING
    )
    for version in versions or []:
        yield client.get_function(FunctionName=function.name, Qualifier=version)


def _images(run: Run, keep: int) -> list[Thing]:
    ecr, name = run.aws.client("ecr"), run.deployment.repository
    pages = ecr.get_paginator("describe_images").paginate(
        repositoryName=name, filter={"tagStatus": "TAGGED"}
    )
    images = read_or_none(
        lambda: [image for page in pages for image in page["imageDetails"]],
        "RepositoryNotFoundException",
    )
    newest_first = sorted(images or [], key=lambda image: image["imagePushedAt"], reverse=True)
    uris: set[str | None] = set()
    for answer in _published(run, run.deployment.recognizer):
        # By digest or, if it was deployed by hand, by tag; the resolved one is always by digest.
        uris.update((answer["Code"].get("ImageUri"), answer["Code"].get("ResolvedImageUri")))
    things = []
    for image in newest_first[keep:]:
        digest, tags = image["imageDigest"], image["imageTags"]
        names = (f"/{name}@{digest}", *(f"/{name}:{tag}" for tag in tags))
        if any(uri and uri.endswith(names) for uri in uris):
            continue

        def delete(digest: str = digest) -> None:
            answer = ecr.batch_delete_image(repositoryName=name, imageIds=[{"imageDigest": digest}])
            for failure in answer.get("failures", []):
                raise AwsError(
                    f"Cannot delete image '{name}@{digest}': {failure.get('failureReason')}"
                )

        size = image.get("imageSizeInBytes", 0) / 1e6
        detail = f"pushed {image['imagePushedAt']:%Y-%m-%d}, {size:.0f} MB"
        things.append(Thing("image", f"{name}:{', '.join(tags)}", detail, delete))
    return things


def _layers(run: Run, keep: int) -> list[Thing]:
    client, name = run.aws.client("lambda"), run.deployment.layer
    pages = client.get_paginator("list_layer_versions").paginate(LayerName=name)
    versions = read_or_none(lambda: [v for page in pages for v in page["LayerVersions"]], MISSING)
    newest_first = sorted(versions or [], key=lambda version: version["Version"], reverse=True)
    used = {
        layer["Arn"]
        for answer in _published(run, run.deployment.splitter)
        for layer in answer["Configuration"].get("Layers") or []
    }
    things = []
    for version in newest_first[keep:]:
        if version["LayerVersionArn"] in used:
            continue

        def delete(number: int = version["Version"]) -> None:
            client.delete_layer_version(LayerName=name, VersionNumber=number)

        detail = f"of {version['CreatedDate'][:10]}"
        things.append(Thing("layer", f"{name}:{version['Version']}", detail, delete))
    return things


@click.command()
@deployment_options
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Newest images and layer versions to keep, whether used or not.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def main(run: Run, keep: int, yes: bool) -> None:
    """Remove old images and layer versions: python deploy/prune.py --prefix 1225111111

    What a version of the deployment's functions uses stays, however old it is.
    """
    things = unused(run, keep)
    if not things:
        click.echo(f"Nothing to remove: what there is is in use, or of the newest {keep}.")
        return
    if not run.dry_run:
        for thing in things:
            click.echo(str(thing), err=True)
        if not yes:
            click.confirm(f"Delete these {len(things)} for good?", abort=True, err=True)
    for thing in things:
        run.change("delete", str(thing), thing.delete)
    if not run.dry_run:
        click.echo(f"Deleted {len(things)}.")


if __name__ == "__main__":
    main()
