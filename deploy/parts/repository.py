"""The private ECR repository: its settings, and finding an image in it."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from pipeline.aws import AwsError, covers, read_or_none, tag_list
from pipeline.cli import Run
from pipeline.settings import PROJECT

# Lambda takes the manifest of a single image, in Docker's or OCI's format, and refuses an index.
# https://docs.aws.amazon.com/lambda/latest/dg/images-create.html
MANIFEST_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)

# Only untagged images expire. Every image pushed here has a tag, and tags are immutable, so the
# image in use never expires.
LIFECYCLE = {
    "rules": [
        {
            "rulePriority": 1,
            "description": "Untagged images are left over from interrupted pushes",
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
                imageTagMutability="IMMUTABLE",
                imageScanningConfiguration={"scanOnPush": True},
                encryptionConfiguration={"encryptionType": "AES256"},
                tags=tag_list(PROJECT),
            ),
        )
        uri = made["repository"]["repositoryUri"] if made else uri
    else:
        uri = found["repositoryUri"]
        _ensure_settings(run, name, found)
    _ensure_expiry(run, name)
    return uri


def _ensure_settings(run: Run, name: str, found: Any) -> None:
    if found.get("imageTagMutability") == "IMMUTABLE" and covers(
        found, {"imageScanningConfiguration": {"scanOnPush": True}}
    ):
        run.kept(f"repository '{name}'")
        return
    run.change(
        "update",
        f"repository '{name}': scan on push, immutable tags",
        partial(_update_settings, run, name),
    )


def _update_settings(run: Run, name: str) -> None:
    ecr = run.aws.client("ecr")
    ecr.put_image_tag_mutability(repositoryName=name, imageTagMutability="IMMUTABLE")
    ecr.put_image_scanning_configuration(
        repositoryName=name, imageScanningConfiguration={"scanOnPush": True}
    )


def _ensure_expiry(run: Run, name: str) -> None:
    ecr = run.aws.client("ecr")
    current = read_or_none(
        lambda: ecr.get_lifecycle_policy(repositoryName=name)["lifecyclePolicyText"],
        "LifecyclePolicyNotFoundException",
        "RepositoryNotFoundException",
    )
    if current is not None and json.loads(current) == LIFECYCLE:
        run.kept(f"expiry in repository '{name}'")
        return
    run.change(
        "set",
        f"expiry in repository '{name}': untagged images after 7 days",
        lambda: ecr.put_lifecycle_policy(
            repositoryName=name, lifecyclePolicyText=json.dumps(LIFECYCLE)
        ),
    )


def find_image(run: Run, tag: str) -> str | None:
    """Return the digest of the image with this tag; None if there is none.

    Raises AwsError when Lambda refuses the image's format.
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
    return image["imageDigest"]
