"""ECR's registry: pushed images appear in ECR, and can be pulled and run."""

from __future__ import annotations

import base64
import json

import pytest

from tests.local_aws.conftest import Cloud
from tests.local_aws.oci_images import (
    DOCKER,
    RegistryUser,
    digest_of,
    entry,
    layer,
    manifest,
)

CONFIG = json.dumps({"config": {"Entrypoint": ["/run"], "Env": ["A=b"]}}).encode()
LAYERS = [layer(entry("run", "#!/bin/sh\n", mode=0o755)), layer(entry("etc"), entry("etc/x", "1"))]


@pytest.fixture
def repository(cloud: Cloud) -> str:
    name = cloud.name("team/repository")
    cloud.client("ecr").create_repository(repositoryName=name, imageTagMutability="IMMUTABLE")
    return name


@pytest.fixture
def user(cloud: Cloud) -> RegistryUser:
    """A client with the password that ECR issued."""
    data = cloud.client("ecr").get_authorization_token()["authorizationData"][0]
    assert data["proxyEndpoint"] == cloud.aws.endpoint
    return RegistryUser(cloud.aws.endpoint, base64.b64decode(data["authorizationToken"]).decode())


def error_code(body: bytes) -> str:
    (error,) = json.loads(body)["errors"]
    assert error["message"]
    return str(error["code"])


def test_a_pushed_image_appears_in_ecr_and_can_be_pulled_unchanged(
    cloud: Cloud, user: RegistryUser, repository: str
) -> None:
    digest = user.push(repository, "v1", CONFIG, LAYERS)

    ecr = cloud.client("ecr")
    (described,) = ecr.describe_repositories(repositoryNames=[repository])["repositories"]
    host = cloud.aws.endpoint.removeprefix("http://")
    assert described["repositoryUri"] == f"{host}/{repository}"
    (image,) = ecr.describe_images(repositoryName=repository)["imageDetails"]
    assert (image["imageDigest"], image["imageTags"]) == (digest, ["v1"])
    assert image["imageManifestMediaType"] == DOCKER
    assert image["imageSizeInBytes"] == sum(map(len, LAYERS))
    for reference in ("v1", digest):
        status, headers, body = user.send("GET", f"/v2/{repository}/manifests/{reference}")
        assert (status, body) == (200, manifest(CONFIG, LAYERS))
        assert headers["Content-Type"] == DOCKER
        assert headers["Docker-Content-Digest"] == digest
    for blob in (CONFIG, *LAYERS):
        path = f"/v2/{repository}/blobs/{digest_of(blob)}"
        assert user.send("GET", path)[2] == blob
        status, headers, body = user.send("HEAD", path)
        assert (status, headers["Content-Length"], body) == (200, str(len(blob)), b"")


def test_an_image_deleted_in_ecr_cannot_be_pulled(
    cloud: Cloud, user: RegistryUser, repository: str
) -> None:
    digest = user.push(repository, "v1", CONFIG, LAYERS)

    cloud.client("ecr").batch_delete_image(
        repositoryName=repository, imageIds=[{"imageDigest": digest}]
    )

    for reference in ("v1", digest):
        status, _, body = user.send("GET", f"/v2/{repository}/manifests/{reference}")
        assert (status, error_code(body)) == (404, "MANIFEST_UNKNOWN")


@pytest.mark.parametrize("credentials", [None, "AWS:guessed", "admin:guessed"])
def test_only_ecrs_password_is_accepted(cloud: Cloud, credentials: str | None) -> None:
    status, headers, body = RegistryUser(cloud.aws.endpoint, credentials).send("GET", "/v2/")

    assert (status, error_code(body)) == (401, "UNAUTHORIZED")
    assert headers["WWW-Authenticate"].startswith("Basic")


def test_a_push_without_a_repository_is_refused(user: RegistryUser) -> None:
    assert user.send("GET", "/v2/")[0] == 200

    status, _, body = user.send("POST", "/v2/nowhere/blobs/uploads/")

    assert (status, error_code(body)) == (404, "NAME_UNKNOWN")


def test_an_immutable_tag_cannot_move_to_another_image(user: RegistryUser, repository: str) -> None:
    user.push(repository, "v1", CONFIG, LAYERS)
    user.push(repository, "v1", CONFIG, LAYERS)  # the same image again is fine

    status, body = user.put_manifest(repository, "v1", manifest(CONFIG, LAYERS[:1]))

    assert (status, error_code(body)) == (400, "TAG_INVALID")


def test_damaged_and_incomplete_pushes_are_refused(user: RegistryUser, repository: str) -> None:
    path = f"/v2/{repository}/blobs/uploads/"
    upload = user.send("POST", path)[1]["Location"]
    wrong = digest_of(b"other")
    status, _, body = user.send("PUT", f"{upload}?digest={wrong}", b"bytes")
    assert (status, error_code(body)) == (400, "DIGEST_INVALID")
    assert user.send("HEAD", f"/v2/{repository}/blobs/{wrong}")[0] == 404
    status, _, body = user.send("PUT", f"{upload}?digest={wrong}", b"other")
    assert (status, error_code(body)) == (404, "BLOB_UPLOAD_UNKNOWN")

    lonely = manifest(b"never pushed", [])
    status, body = user.put_manifest(repository, "v1", lonely)
    assert (status, error_code(body)) == (400, "MANIFEST_BLOB_UNKNOWN")
    for nonsense in (
        b"{",
        b"[]",
        b'{"layers": 1, "config": 2}',
        b'{"manifests": [{"digest": "x"}]}',
    ):
        status, body = user.put_manifest(repository, "v1", nonsense)
        assert (status, error_code(body)) == (400, "MANIFEST_INVALID")
    status, body = user.put_manifest(repository, wrong, manifest(CONFIG, []))
    assert (status, error_code(body)) == (400, "DIGEST_INVALID")


def test_unsupported_requests_are_refused(user: RegistryUser, repository: str) -> None:
    for method, path, status in (
        ("DELETE", f"/v2/{repository}/manifests/v1", 405),
        ("GET", f"/v2/{repository}/tags/list", 404),
        ("GET", f"/v2/{repository}/blobs/sha256:../../x", 404),
    ):
        assert user.send(method, path)[0] == status
