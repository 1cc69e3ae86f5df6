"""Removing old builds: those in use are kept, however old they are."""

from __future__ import annotations

import time
from pathlib import Path

from pipeline.settings import Deployment
from tests.deploy.conftest import (
    DOCKER,
    REGISTRY,
    X86_64,
    Account,
    elf,
    layer_zip,
    put_image,
)


def images(account: Account, deployment: Deployment) -> list[str]:
    """Return the tags in the repository."""
    found = account.client("ecr").describe_images(repositoryName=deployment.repository)
    return sorted(tag for image in found["imageDetails"] for tag in image["imageTags"])


def layers(account: Account, deployment: Deployment) -> list[int]:
    """Return the numbers of the layer's versions."""
    found = account.client("lambda").list_layer_versions(LayerName=deployment.layer)
    return sorted(version["Version"] for version in found["LayerVersions"])


def published(account: Account, deployment: Deployment, count: int, tmp_path: Path) -> list[str]:
    """Push `count` images and publish as many layer versions; return the images' digests."""
    account.client("ecr").create_repository(repositoryName=deployment.repository)
    digests = []
    for number in range(count):
        digests.append(put_image(account, deployment.repository, f"build-{number}", DOCKER))
        path = tmp_path / f"{number}.zip"
        layer_zip(path, {"bin/ffmpeg": elf(X86_64) + bytes([number])})
        account.client("lambda").publish_layer_version(
            LayerName=deployment.layer, Content={"ZipFile": path.read_bytes()}
        )
        time.sleep(
            1.01 - time.time() % 1
        )  # the local ECR records the time of a push in whole seconds
    return digests


def test_old_builds_are_removed_unless_they_are_in_use(account: Account, tmp_path: Path) -> None:
    # GIVEN a function on the second of four builds, and a published version on the first
    deployment = account.deployment()
    digests = published(account, deployment, 4, tmp_path)
    repository = f"{REGISTRY}/{deployment.repository}"
    options = ("--zip", str(account.zip_path), "--image-uri", f"{repository}@{digests[0]}")
    deployed = account.run("deploy/deploy.py", deployment, *options)
    assert deployed.returncode == 0, deployed.stderr
    client, recognizer = account.client("lambda"), deployment.recognizer.name
    client.publish_version(FunctionName=recognizer)
    client.update_function_code(FunctionName=recognizer, ImageUri=f"{repository}@{digests[1]}")
    (attached,) = client.get_function(FunctionName=deployment.splitter.name)["Configuration"][
        "Layers"
    ]
    in_use = int(attached["Arn"].rpartition(":")[2])
    every = layers(account, deployment)
    assert in_use == every[-1]  # deploying published its own

    # WHEN it is a dry run, or nobody confirms
    dry = account.run("deploy/prune.py", deployment, "--keep", "1", "--dry-run")
    unasked = account.run("deploy/prune.py", deployment, "--keep", "1")

    # THEN nothing is removed
    assert dry.returncode == 0, dry.stderr
    assert "Would delete image" in dry.stderr
    assert unasked.returncode == 1
    assert len(images(account, deployment)) == 4
    assert layers(account, deployment) == every

    # WHEN it is confirmed, THEN only builds that are neither new nor in use are removed
    done = account.run("deploy/prune.py", deployment, "--keep", "1", "--yes")
    assert done.returncode == 0, done.stderr
    assert images(account, deployment) == ["build-0", "build-1", "build-3"]
    assert layers(account, deployment) == [in_use]
    again = account.run("deploy/prune.py", deployment, "--keep", "1", "--yes")
    assert "Nothing to remove" in again.stdout

    # AND a layer in use is kept when it is no longer the newest
    client.publish_layer_version(
        LayerName=deployment.layer, Content={"ZipFile": (tmp_path / "0.zip").read_bytes()}
    )
    client.delete_function(FunctionName=recognizer)
    done = account.run("deploy/prune.py", deployment, "--keep", "1", "--yes")
    assert layers(account, deployment) == [in_use, in_use + 1]
    # AND images that no function uses any longer are removed
    assert images(account, deployment) == ["build-3"]


def test_without_a_deployment_there_is_nothing_to_remove(account: Account) -> None:
    done = account.run("deploy/prune.py", account.deployment())

    assert done.returncode == 0, done.stderr
    assert "Nothing to remove" in done.stdout
