"""Building the image and pushing it to the ECR of the local AWS."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.image import ensure_image, image_tag
from deploy.parts.containers import Tool, docker_config, login_argv, run_tool
from deploy.parts.repository import ensure_repository
from deploy.parts.targets import check_image_uri
from pipeline.aws import AwsError
from pipeline.cli import Run
from pipeline.settings import ROOT
from tests.deploy.conftest import DOCKER, Account, program, put_image


@pytest.fixture
def credential_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install credential stores that refuse everything, as Windows' does; return their log."""
    log = tmp_path / "stored"
    for store in ("secretservice", "pass"):  # the stores that docker looks for on Linux
        program(tmp_path / "bin", f"docker-credential-{store}", f"echo $1 >>{log}; exit 1")
    program(tmp_path / "bin", "pass", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return log


def test_docker_signs_in_without_the_credential_store(
    run: Run, tmp_path: Path, credential_stores: Path
) -> None:
    if shutil.which("docker") is None:
        pytest.skip("no docker here")
    (token,) = run.aws.client("ecr").get_authorization_token()["authorizationData"]
    registry = token["proxyEndpoint"].partition("//")[2]
    password = base64.b64decode(token["authorizationToken"]).decode().partition(":")[2]
    (tmp_path / "config").mkdir()

    environ = docker_config(tmp_path / "config", registry)
    run_tool(login_argv(Tool("docker"), registry, plain_http=True), password, environ)

    assert not credential_stores.exists()
    config = json.loads((tmp_path / "config" / "config.json").read_text())
    assert config["auths"][registry]["auth"]


def test_login_and_push_use_the_daemon_of_the_context(
    account: Account,
    run: Run,
    tmp_path: Path,
    shared_gallery: tuple[Path, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # GIVEN a docker that logs the daemon and the registry that each of its commands would use
    folder, log = context(tmp_path / "context"), tmp_path / "log"
    shutil.copy(shared_gallery[0], folder / "data.pt")
    script = f"""
case $1 in
  info) echo {tmp_path};;
  context) echo unix:///colima.sock;;
  *) echo "$1 $DOCKER_HOST $(cat "$DOCKER_CONFIG/config.json" 2>/dev/null)" >>{log};;
esac"""
    program(tmp_path / "bin", "docker", script)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)

    with pytest.raises(AwsError, match="was pushed, but ECR does not list it"):
        ensure_image(run, shared_gallery[1], tool_name="docker", context=folder)

    registry = ensure_repository(run).partition("/")[0]
    build, login, push = log.read_text().splitlines()
    assert build == "build  "  # docker's own configuration names the context
    for line, verb in ((login, "login"), (push, "push")):
        assert line == f'{verb} unix:///colima.sock {{"auths": {{"{registry}": {{}}}}}}'


def context(folder: Path) -> Path:
    (folder / "face-recognition").mkdir(parents=True)
    for name in ("Dockerfile", "face-recognition/handler.py", "face-recognition/requirements.txt"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "data.pt").write_bytes(b"gallery")
    return folder


@pytest.mark.parametrize(
    "changed",
    [
        *("Dockerfile", "data.pt", "face-recognition/handler.py"),
        *("model", "architecture", "base_image", "mode"),
    ],
)
def test_the_tag_changes_with_everything_the_image_is_built_from(
    tmp_path: Path, changed: str
) -> None:
    folder = context(tmp_path / "context")
    settings: dict[str, Any] = {"model": "sface", "architecture": "x86_64", "base_image": None}
    before = image_tag(folder, folder / "data.pt", **settings)
    assert image_tag(folder, folder / "data.pt", **settings) == before

    if changed == "mode":
        (folder / "face-recognition" / "handler.py").chmod(0o600)
    elif changed in settings:
        settings[changed] = "other"
    else:
        (folder / changed).write_text("other")

    assert image_tag(folder, folder / "data.pt", **settings) != before


def test_an_image_with_the_same_inputs_is_not_built_again(
    account: Account, run: Run, tmp_path: Path, shared_gallery: tuple[Path, str]
) -> None:
    gallery, model = shared_gallery
    folder = context(tmp_path / "context")
    shutil.copy(gallery, folder / "data.pt")
    repository = ensure_repository(run)
    tag = image_tag(folder, folder / "data.pt", model, "x86_64")
    digest = put_image(account, run.deployment.repository, tag, DOCKER)

    # building anything would fail, because there is no such tool
    uri = ensure_image(run, model, tool_name="no-such-tool", context=folder)

    assert uri == f"{repository}@{digest}"
    (folder / "Dockerfile").write_text("FROM scratch")
    with pytest.raises(AwsError, match="no-such-tool: not installed"):
        ensure_image(run, model, tool_name="no-such-tool", context=folder)


@pytest.fixture
def container_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make buildah keep images in the test's folder."""
    if shutil.which("buildah") is None:
        pytest.skip("no buildah here")
    settings = tmp_path / "storage.conf"
    graph, run = tmp_path / "graph", tmp_path / "run"
    settings.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{graph}"\nrunroot = "{run}"\n')
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(settings))
    monkeypatch.setenv("BUILDAH_ISOLATION", "chroot")


@pytest.fixture
def small(tmp_path: Path, shared_gallery: tuple[Path, str], container_storage: None) -> Path:
    """Create the context of an image that needs no base image."""
    folder = context(tmp_path / "context")
    (folder / "Dockerfile").write_text("FROM scratch\nARG MODEL\nCOPY data.pt face-recognition /\n")
    shutil.copy(shared_gallery[0], folder / "data.pt")
    return folder


def test_an_image_is_built_pushed_and_found_by_its_digest(
    account: Account,
    run: Run,
    small: Path,
    shared_gallery: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = shared_gallery[1]
    monkeypatch.setenv("HOME", str(tmp_path))  # where a password would be saved

    uri = ensure_image(run, model, tool_name="buildah", context=small)

    # THEN ECR has it under its tag, with the pushed layers
    (image,) = account.client("ecr").describe_images(repositoryName=run.deployment.repository)[
        "imageDetails"
    ]
    assert uri == f"{ensure_repository(run)}@{image['imageDigest']}"
    assert image["imageTags"] == [image_tag(small, small / "data.pt", model, "x86_64")]
    assert image["imageManifestMediaType"] == DOCKER
    assert image["imageSizeInBytes"] > 1000
    check_image_uri(run, uri)
    assert not list(tmp_path.rglob("auth.json"))
    # WHEN it is requested again, THEN it is not built again
    changes = run.changes
    assert ensure_image(run, model, tool_name="no-such-tool", context=small) == uri
    assert run.changes == changes


def test_a_push_that_ecr_refuses_is_an_error(
    run: Run, small: Path, shared_gallery: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a repository that is deleted while the image is built
    ecr, change = run.aws.client("ecr"), run.change

    def and_delete(verb: str, thing: str, call: Callable[[], Any]) -> Any:
        done = change(verb, thing, call)
        if verb == "build":
            ecr.delete_repository(repositoryName=run.deployment.repository, force=True)
        return done

    monkeypatch.setattr(run, "change", and_delete)

    with pytest.raises(AwsError, match="buildah push failed with status"):
        ensure_image(run, shared_gallery[1], tool_name="buildah", context=small)


@pytest.mark.parametrize("uri", ["python:3.12", "localhost:1/face-recognition:1"])
def test_an_image_outside_private_ecr_is_refused(run: Run, uri: str) -> None:
    with pytest.raises(AwsError, match=f"from private ECR only, not {uri}"):
        check_image_uri(run, uri)


def test_the_image_allows_snapstart_on_any_base() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()

    assert 'LABEL com.amazonaws.lambda.feature.snapstart="Allow"' in dockerfile


def test_every_pinned_package_has_a_hash() -> None:
    lists = ("requirements.txt", "requirements-build.txt")
    text = "".join((ROOT / "face-recognition" / name).read_text() for name in lists)
    packages = [line for line in text.splitlines() if line and line[0] not in "# "]

    assert all(line.endswith(" \\") for line in packages)  # each has at least one hash
    assert hashlib.sha256(b"").hexdigest() not in text
    assert "torchvision" not in text
    assert "nvidia" not in text
