"""The private ECR repository and the images in it."""

from __future__ import annotations

import json
import re

import pytest

from deploy.parts.repository import LIFECYCLE, ensure_repository, find_image
from pipeline.aws import AwsError
from pipeline.cli import Run
from tests.deploy.conftest import Account, put_image

OCI_INDEX = "application/vnd.oci.image.index.v1+json"


def test_the_repository_is_private_scanned_and_immutable(account: Account, run: Run) -> None:
    uri = ensure_repository(run)
    changes = run.changes
    assert ensure_repository(run) == uri
    assert run.changes == changes == 2

    ecr, name = account.client("ecr"), run.deployment.repository
    (repository,) = ecr.describe_repositories(repositoryNames=[name])["repositories"]
    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert repository["imageScanningConfiguration"] == {"scanOnPush": True}
    policy = json.loads(ecr.get_lifecycle_policy(repositoryName=name)["lifecyclePolicyText"])
    assert policy == LIFECYCLE
    # every image in use has a tag, so no rule may apply to tagged images
    assert {rule["selection"]["tagStatus"] for rule in policy["rules"]} == {"untagged"}

    ecr.put_image_tag_mutability(repositoryName=name, imageTagMutability="MUTABLE")
    ensure_repository(run)
    (repository,) = ecr.describe_repositories(repositoryNames=[name])["repositories"]
    assert repository["imageTagMutability"] == "IMMUTABLE"


def test_an_image_index_is_refused_because_lambda_refuses_it(account: Account, run: Run) -> None:
    ensure_repository(run)
    put_image(account, run.deployment.repository, "with-attestations", OCI_INDEX)

    assert find_image(run, "nothing") is None
    with pytest.raises(AwsError, match=f"is a {re.escape(OCI_INDEX)}, which Lambda refuses"):
        find_image(run, "with-attestations")
