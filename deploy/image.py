#!/usr/bin/env python3
"""The recognizer's image: built from the Dockerfile, pushed to private ECR, addressed by digest."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import click

from deploy.parts.containers import (
    BUILD_GB,
    PLATFORMS,
    REBUILD_GB,
    build_argv,
    check_disk,
    docker_config,
    docker_daemon,
    find_tool,
    login_argv,
    pip_arguments,
    pip_volumes,
    push_argv,
    run_tool,
)
from deploy.parts.gallery_file import check_gallery
from pipeline.aws import AwsError, covers, read_or_none, tag_list
from pipeline.cli import Run, deployment_options
from pipeline.settings import PROJECT, ROOT

# What Lambda takes: one image's manifest, Docker's or OCI's. An index of several is refused.
# https://docs.aws.amazon.com/lambda/latest/dg/images-create.html
MANIFEST_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)

# Only untagged images expire; every image that is pushed here has a tag that no other can take
# (they are immutable), so the one in use never does.
LIFECYCLE = {
    "rules": [
        {
            "rulePriority": 1,
            "description": "Images without a tag are left-overs of pushes that broke off",
            "selection": {
                "tagStatus": "untagged",
                "countType": "sinceImagePushed",
                "countUnit": "days",
                "countNumber": 7,
            },
            "action": {"type": "expire"},
        }
    ]
}
TAG_MUTABILITY = "IMMUTABLE"


def image_tag(
    context: Path, gallery: Path, model: str, architecture: str, base_image: str | None = None
) -> str:
    """A tag made of everything the image is built from: the same inputs give the same tag.

    `base_image`: another than the Dockerfile's.
    """
    digest = hashlib.sha256(" ".join(filter(None, (model, architecture, base_image))).encode())
    files = [context / "Dockerfile", gallery]
    files += sorted((context / "face-recognition").glob("*.py"))
    files += sorted((context / "face-recognition").glob("requirements*.txt"))
    for path in (path for path in files if path.exists()):
        name = "data.pt" if path == gallery else path.name
        digest.update(f"{name} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return f"{model}-{digest.hexdigest()[:16]}"


def ensure_repository(run: Run) -> str:
    """Create or update the private repository and return its URI."""
    ecr, name = run.aws.client("ecr"), run.deployment.repository
    uri = (
        f"{run.aws.account_id}.dkr.ecr.{run.aws.region}.amazonaws.com"
        f"{'.cn' if run.aws.partition == 'aws-cn' else ''}/{name}"
    )
    found = read_or_none(
        lambda: ecr.describe_repositories(repositoryNames=[name])["repositories"][0],
        "RepositoryNotFoundException",
    )
    if found is None:
        made = run.change(
            "create",
            f"repository '{name}'",
            lambda: ecr.create_repository(
                repositoryName=name,
                imageTagMutability=TAG_MUTABILITY,
                imageScanningConfiguration={"scanOnPush": True},
                encryptionConfiguration={"encryptionType": "AES256"},
                tags=tag_list(PROJECT),
            ),
        )
        uri = made["repository"]["repositoryUri"] if made else uri
    else:
        uri = found["repositoryUri"]
        _ensure_repository_settings(run, name, found)
    current = read_or_none(
        lambda: ecr.get_lifecycle_policy(repositoryName=name)["lifecyclePolicyText"],
        "LifecyclePolicyNotFoundException",
        "RepositoryNotFoundException",
    )
    if current is not None and json.loads(current) == LIFECYCLE:
        run.kept(f"expiry in repository '{name}'")
    else:
        run.change(
            "set",
            f"expiry in repository '{name}': untagged images after 7 days",
            lambda: ecr.put_lifecycle_policy(
                repositoryName=name, lifecyclePolicyText=json.dumps(LIFECYCLE)
            ),
        )
    return str(uri)


def _ensure_repository_settings(run: Run, name: str, found: Any) -> None:
    ecr = run.aws.client("ecr")
    if found.get("imageTagMutability") == TAG_MUTABILITY and covers(
        found, {"imageScanningConfiguration": {"scanOnPush": True}}
    ):
        run.kept(f"repository '{name}'")
        return

    def update() -> None:
        ecr.put_image_tag_mutability(repositoryName=name, imageTagMutability=TAG_MUTABILITY)
        ecr.put_image_scanning_configuration(
            repositoryName=name, imageScanningConfiguration={"scanOnPush": True}
        )

    run.change("update", f"repository '{name}': scan on push, immutable tags", update)


def find_image(run: Run, tag: str) -> str | None:
    """The digest of the image with this tag, None if there is none.

    Raises AwsError when it is of a form that Lambda refuses.
    """
    ecr, name = run.aws.client("ecr"), run.deployment.repository
    details = read_or_none(
        lambda: ecr.describe_images(repositoryName=name, imageIds=[{"imageTag": tag}]),
        "ImageNotFoundException",
        "RepositoryNotFoundException",
    )
    if details is None:
        return None
    image = details["imageDetails"][0]
    media_type = image.get("imageManifestMediaType", MANIFEST_TYPES[0])
    if media_type not in MANIFEST_TYPES:
        raise AwsError(
            f"Image '{name}:{tag}' is a {media_type}, which Lambda refuses: remove it (aws ecr "
            f"batch-delete-image --repository-name {name} --image-ids imageTag={tag}) and build it "
            "with deploy/image.py, which makes neither an index nor attestations."
        )
    return str(image["imageDigest"])


def ensure_image(
    run: Run,
    model: str,
    architecture: str = "x86_64",
    gallery_uri: str = "",
    tool_name: str | None = None,
    base_image: str | None = None,
    context: Path = ROOT,
    free_gb: float = BUILD_GB,
) -> str:
    """Build and push the image unless the same inputs are there already; return its URI by digest.

    Raises AwsError without a gallery for `model`, a container tool, or `free_gb` on the disk.
    """
    if not gallery_uri:
        check_gallery(context / "data.pt", model)
    repository = ensure_repository(run)
    tag = image_tag(context, context / "data.pt", model, architecture, base_image)
    digest = find_image(run, tag)
    if digest is not None:
        run.kept(f"image '{run.deployment.repository}:{tag}'")
        return f"{repository}@{digest}"
    name = f"{repository}:{tag}"
    if run.dry_run:
        run.change("build and push", f"image '{name}'", lambda: None)
        return f"{repository}@sha256:(not built yet)"
    tool = find_tool(tool_name)
    check_disk(tool, free_gb * 1e9)
    arguments = {"MODEL": model, **pip_arguments()}
    if base_image:
        arguments["BASE_IMAGE"] = base_image
    volumes = pip_volumes(arguments)
    build = build_argv(tool, context, name, architecture, arguments, volumes)
    run.change("build", f"image '{name}' with {tool.name}", lambda: run_tool(build))
    run.change("push", f"image '{name}'", lambda: _push(run, tool, name))
    digest = find_image(run, tag)
    if digest is None:
        raise AwsError(f"Image '{name}' was pushed, but ECR does not list it: run this again.")
    return f"{repository}@{digest}"


def _push(run: Run, tool: Any, name: str) -> None:
    token = run.aws.client("ecr").get_authorization_token()["authorizationData"][0]
    password = base64.b64decode(token["authorizationToken"]).decode().partition(":")[2]
    plain_http = token["proxyEndpoint"].startswith("http://")  # the local AWS's
    registry = name.partition("/")[0]
    with tempfile.TemporaryDirectory(prefix="registry-") as folder:
        environ = {**docker_config(Path(folder), registry), **docker_daemon(tool)}
        run_tool(login_argv(tool, registry, plain_http), password, environ)
        run_tool(push_argv(tool, name, plain_http), environ=environ)


def image_options(function: Any) -> Any:
    """The options of whatever builds the image."""
    for option in (
        click.option("--tool", help="docker, finch, podman or buildah; default: what there is."),
        click.option("--base-image", help="Another base than Lambda's own."),
        click.option(
            "--free-gb",
            type=click.FloatRange(min=0),
            default=BUILD_GB,
            show_default=True,
            help="Build only with so much space on the disk; where an earlier build left its "
            f"layers, {REBUILD_GB} is enough.",
        ),
        click.option(
            "--platform",
            "architecture",
            type=click.Choice(sorted(PLATFORMS)),
            default="x86_64",
            show_default=True,
            help="The processor both functions run on; the ffmpeg layer must be for the same.",
        ),
    ):
        function = option(function)
    return function


@click.command()
@deployment_options
@image_options
@click.option("--model", help="facenet-vggface2 or sface; default: MODEL in config.json.")
@click.option("--gallery-uri", default="", help="The gallery is in S3; the image needs none.")
def main(
    run: Run,
    tool: str | None,
    base_image: str | None,
    free_gb: float,
    architecture: str,
    model: str | None,
    gallery_uri: str,
) -> None:
    """Build the image and push it to ECR: python deploy/image.py --prefix 1225111111"""
    model = model or run.deployment.recognizer.environment["MODEL"]
    uri = ensure_image(run, model, architecture, gallery_uri, tool, base_image, free_gb=free_gb)
    click.echo(uri)
    click.echo(
        f"Next: {run.command('deploy/functions.py', '--image-uri', uri)}",
        err=True,
    )


if __name__ == "__main__":
    main()
