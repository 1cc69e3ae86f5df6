"""Building and pushing the image: what is asked of the container tools, and of ECR."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.image import LIFECYCLE, ensure_image, ensure_repository, find_image, image_tag
from deploy.parts.containers import (
    Tool,
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
from deploy.parts.gallery_file import check_gallery, gallery_model
from deploy.parts.targets import check_image_uri
from pipeline.aws import Aws, AwsError
from pipeline.cli import Run
from pipeline.settings import ROOT
from tests.deploy.conftest import Account, save_gallery

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"


def program(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_docker_is_told_to_make_no_attestations() -> None:
    argv = build_argv(Tool("docker"), Path("ctx"), "r:t", "arm64", {"MODEL": "sface"})

    assert argv[:4] == ["docker", "build", "--platform", "linux/arm64"]
    assert "--provenance=false" in argv
    assert "--sbom=false" in argv
    assert argv[-3:] == ["--build-arg", "MODEL=sface", "ctx"]


def test_buildah_makes_dockers_format_and_sees_local_wheels() -> None:
    tool = Tool("buildah")
    argv = build_argv(tool, Path("ctx"), "r:t", "x86_64", {}, [Path("/wheels")])

    assert argv[:2] == ["buildah", "build"]
    assert argv[argv.index("--format") + 1] == "docker"
    assert argv[argv.index("--volume") + 1] == "/wheels:/wheels:ro"
    assert push_argv(tool, "host/r:t")[-1] == "docker://host/r:t"


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("docker", None),  # it knows that what is on loopback may have no TLS
        ("finch", "--insecure-registry"),
        ("podman", "--tls-verify=false"),
        ("buildah", "--tls-verify=false"),
    ],
)
def test_tls_is_left_out_only_where_ecr_has_none(name: str, option: str | None) -> None:
    tool = Tool(name)
    for argv in (login_argv, push_argv):
        plain, safe = argv(tool, "host/r", True), argv(tool, "host/r")
        assert [word for word in plain if word not in safe] == ([option] if option else [])
        assert [word for word in plain if word != option] == safe


def test_pips_own_settings_reach_the_build(tmp_path: Path) -> None:
    environ = {"PIP_FIND_LINKS": str(tmp_path), "PIP_INDEX_URL": "https://mirror", "HOME": "/h"}

    arguments = pip_arguments(environ)

    assert arguments == {"PIP_FIND_LINKS": str(tmp_path), "PIP_INDEX_URL": "https://mirror"}
    assert pip_volumes(arguments) == [tmp_path]


def test_without_a_container_tool_it_says_what_was_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a docker whose daemon does not run, and nothing else
    program(tmp_path / "bin", "docker", "echo 'Cannot connect to the daemon' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/nowhere")

    with pytest.raises(AwsError) as raised:
        find_tool()

    text = str(raised.value)
    assert "docker: Cannot connect to the daemon" in text
    assert "podman: not installed" in text
    assert "--image-uri" in text


def test_the_first_tool_that_answers_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", "docker", "exit 1")
    program(tmp_path / "bin", "podman", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")

    assert find_tool().name == "podman"


def test_a_full_disk_is_told_before_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a podman that says where it keeps images
    program(tmp_path / "bin", "podman", f"echo {tmp_path}/storage")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    tool = Tool("podman")
    check_disk(tool, needed=1)

    with pytest.raises(
        AwsError, match=rf"GB are free in {tmp_path}.*podman system prune --all"
    ) as e:
        check_disk(tool, needed=shutil.disk_usage(tmp_path).total)
    # the advice that keeps an earlier build's layers comes first
    assert re.search(r"pass --free-gb 1\..*podman image prune keeps those layers", str(e.value))


@pytest.mark.parametrize(("verb", "space"), [("push", True), ("build", True), ("login", False)])
def test_a_tool_that_fails_is_named(tmp_path: Path, verb: str, space: bool) -> None:
    tool = program(tmp_path, "docker", "exit 3")

    with pytest.raises(AwsError, match=f"docker {verb} ended with status 3") as raised:
        run_tool([str(tool), verb, "x"])

    assert ("no space left on device" in str(raised.value)) == space


def test_credentials_stay_in_a_folder_of_their_own(tmp_path: Path) -> None:
    environ = docker_config(tmp_path, "host:1")

    assert environ["DOCKER_CONFIG"] == str(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config == {"auths": {"host:1": {}}}  # without one, docker picks a credential store


@pytest.fixture
def credential_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Credential stores that refuse what they are given, as Windows' does; the file they write."""
    log = tmp_path / "stored"
    for store in ("secretservice", "pass"):  # what docker looks for on Linux
        program(tmp_path / "bin", f"docker-credential-{store}", f"echo $1 >>{log}; exit 1")
    program(tmp_path / "bin", "pass", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return log


def test_docker_signs_in_without_the_platforms_credential_store(
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


def test_docker_pushes_from_the_daemon_that_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a docker whose current context is not its default one, as colima's and rootless ones
    if shutil.which("docker") is None:
        pytest.skip("no docker here")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    for name in ("colima", "other"):
        words = ["create", name, "--docker", f"host=unix:///{name}.sock"]
        subprocess.run(["docker", "context", *words], check=True, capture_output=True)
    subprocess.run(["docker", "context", "use", "colima"], check=True, capture_output=True)

    assert docker_daemon(Tool("docker")) == {"DOCKER_HOST": "unix:///colima.sock"}
    monkeypatch.setenv("DOCKER_CONTEXT", "other")
    assert docker_daemon(Tool("docker")) == {"DOCKER_HOST": "unix:///other.sock"}
    monkeypatch.setenv("DOCKER_HOST", "unix:///mine.sock")
    assert docker_daemon(Tool("docker")) == {}


def test_a_docker_that_knows_no_contexts_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("docker", "podman"):
        program(tmp_path / "bin", name, "echo 'no such command' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    monkeypatch.delenv("DOCKER_HOST", raising=False)

    assert docker_daemon(Tool("docker")) == docker_daemon(Tool("podman")) == {}
    assert capfd.readouterr().err == ""


def test_login_and_push_go_to_the_contexts_daemon(
    account: Account,
    run: Run,
    tmp_path: Path,
    shared_gallery: tuple[Path, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # GIVEN a docker that writes down which daemon and registry each of its commands is led to
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
        *("model", "architecture", "base_image"),
    ],
)
def test_the_tag_changes_with_whatever_the_image_is_made_of(tmp_path: Path, changed: str) -> None:
    folder = context(tmp_path / "context")
    settings: dict[str, Any] = {"model": "sface", "architecture": "x86_64", "base_image": None}
    before = image_tag(folder, folder / "data.pt", **settings)
    assert image_tag(folder, folder / "data.pt", **settings) == before

    if changed in settings:
        settings[changed] = "other"
    else:
        (folder / changed).write_text("other")

    assert image_tag(folder, folder / "data.pt", **settings) != before


def test_a_gallery_tells_its_model_without_being_unpickled(
    tmp_path: Path, shared_gallery: tuple[Path, str]
) -> None:
    path, model = shared_gallery
    assert gallery_model(path) == model
    check_gallery(path, model)

    with pytest.raises(AwsError, match=f"was made with {model}, but the function is to use other"):
        check_gallery(path, "other")
    (tmp_path / "data.pt").write_text("nothing")
    with pytest.raises(AwsError, match=r"is no gallery that torch\.save wrote"):
        check_gallery(tmp_path / "data.pt", model)


@pytest.fixture(params=["sface", "older"])
def shared_gallery(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A gallery with and one without metadata, and the model that each was made with."""
    model = "sface" if request.param == "sface" else None
    return save_gallery(tmp_path / "made.pt", model), model or "facenet-vggface2"


@pytest.fixture
def run(account: Account, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run of a script in the account."""
    for name, value in account.aws.environ.items():
        monkeypatch.setenv(name, value)
    return Run(account.deployment(), Aws())


def put_image(account: Account, repository: str, tag: str, media_type: str) -> str:
    layer = {"digest": f"sha256:{hashlib.sha256(tag.encode()).hexdigest()}", "size": 1_000_000}
    manifest = {"schemaVersion": 2, "mediaType": media_type, "config": {}, "layers": [layer]}
    image = account.client("ecr").put_image(
        repositoryName=repository,
        imageManifest=json.dumps(manifest),
        imageManifestMediaType=media_type,
        imageTag=tag,
    )["image"]
    return str(image["imageId"]["imageDigest"])


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
    # every image in use has a tag: no rule may touch those
    assert {rule["selection"]["tagStatus"] for rule in policy["rules"]} == {"untagged"}

    ecr.put_image_tag_mutability(repositoryName=name, imageTagMutability="MUTABLE")
    ensure_repository(run)
    (repository,) = ecr.describe_repositories(repositoryNames=[name])["repositories"]
    assert repository["imageTagMutability"] == "IMMUTABLE"


def test_an_image_of_the_same_parts_is_not_built_again(
    account: Account, run: Run, tmp_path: Path, shared_gallery: tuple[Path, str]
) -> None:
    gallery, model = shared_gallery
    folder = context(tmp_path / "context")
    shutil.copy(gallery, folder / "data.pt")
    repository = ensure_repository(run)
    tag = image_tag(folder, folder / "data.pt", model, "x86_64")
    digest = put_image(account, run.deployment.repository, tag, DOCKER)

    # a tool that cannot be had would be an error if anything were built
    uri = ensure_image(run, model, tool_name="no-such-tool", context=folder)

    assert uri == f"{repository}@{digest}"
    (folder / "Dockerfile").write_text("FROM scratch")
    with pytest.raises(AwsError, match="no-such-tool: not installed"):
        ensure_image(run, model, tool_name="no-such-tool", context=folder)


@pytest.fixture
def container_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """buildah, keeping images in a folder of the test's own."""
    if shutil.which("buildah") is None:
        pytest.skip("no buildah here")
    settings = tmp_path / "storage.conf"
    graph, run = tmp_path / "graph", tmp_path / "run"
    settings.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{graph}"\nrunroot = "{run}"\n')
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(settings))
    monkeypatch.setenv("BUILDAH_ISOLATION", "chroot")


@pytest.fixture
def small(tmp_path: Path, shared_gallery: tuple[Path, str], container_storage: None) -> Path:
    """What an image is built from that needs no base."""
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
    monkeypatch.setenv("HOME", str(tmp_path))  # where a password would be kept

    uri = ensure_image(run, model, tool_name="buildah", context=small)

    # THEN ECR has it under its tag, with the layers that were pushed
    (image,) = account.client("ecr").describe_images(repositoryName=run.deployment.repository)[
        "imageDetails"
    ]
    assert uri == f"{ensure_repository(run)}@{image['imageDigest']}"
    assert image["imageTags"] == [image_tag(small, small / "data.pt", model, "x86_64")]
    assert image["imageManifestMediaType"] == DOCKER
    assert image["imageSizeInBytes"] > 1000
    check_image_uri(run, uri)
    assert not list(tmp_path.rglob("auth.json"))
    # WHEN it is asked for again, THEN it is not built
    changes = run.changes
    assert ensure_image(run, model, tool_name="no-such-tool", context=small) == uri
    assert run.changes == changes


def test_a_push_that_ecr_refuses_is_an_error(
    run: Run, small: Path, shared_gallery: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN that the repository is deleted while the image is built
    ecr, change = run.aws.client("ecr"), run.change

    def and_delete(verb: str, thing: str, call: Callable[[], Any]) -> Any:
        done = change(verb, thing, call)
        if verb == "build":
            ecr.delete_repository(repositoryName=run.deployment.repository, force=True)
        return done

    monkeypatch.setattr(run, "change", and_delete)

    with pytest.raises(AwsError, match="buildah push ended with status"):
        ensure_image(run, shared_gallery[1], tool_name="buildah", context=small)


@pytest.mark.parametrize("uri", ["python:3.12", "localhost:1/face-recognition:1"])
def test_an_image_elsewhere_is_refused(run: Run, uri: str) -> None:
    with pytest.raises(AwsError, match=f"from private ECR only, not {uri}"):
        check_image_uri(run, uri)


def test_an_index_is_refused_as_lambda_would(account: Account, run: Run) -> None:
    ensure_repository(run)
    put_image(account, run.deployment.repository, "with-attestations", OCI_INDEX)

    assert find_image(run, "nothing") is None
    with pytest.raises(AwsError, match=f"is a {re.escape(OCI_INDEX)}, which Lambda refuses"):
        find_image(run, "with-attestations")


def test_the_torch_hashes_are_those_of_lambdas_python() -> None:
    lists = ("requirements.txt", "requirements-build.txt")
    text = "".join((ROOT / "face-recognition" / name).read_text() for name in lists)
    packages = [line for line in text.splitlines() if line and line[0] not in "# "]

    assert all(line.endswith(" \\") for line in packages)  # each has at least one hash
    assert hashlib.sha256(b"").hexdigest() not in text
    assert "torchvision" not in text
    assert "nvidia" not in text
