"""Building and pushing the image: what is asked of the container tools, and of ECR."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.containers import (
    Tool,
    build_argv,
    check_disk,
    docker_config,
    find_tool,
    login_argv,
    pip_arguments,
    pip_volumes,
    push_argv,
    run_tool,
)
from deploy.gallery import check_gallery, gallery_model
from deploy.image import LIFECYCLE, ensure_image, ensure_repository, find_image, image_tag
from deploy.targets import check_image_uri
from pipeline.aws import Aws, AwsError
from pipeline.cli import Run
from pipeline.settings import ROOT
from tests.deploy.conftest import Account

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

    with pytest.raises(AwsError, match=rf"GB are free in {tmp_path}.*podman system prune --all"):
        check_disk(tool, needed=shutil.disk_usage(tmp_path).total)


def test_a_tool_that_fails_is_named(tmp_path: Path) -> None:
    tool = program(tmp_path, "docker", "exit 3")

    with pytest.raises(AwsError, match="docker push ended with status 3"):
        run_tool([str(tool), "push", "x"])


def test_credentials_stay_in_a_folder_of_their_own(tmp_path: Path) -> None:
    environ = docker_config(tmp_path)

    assert environ["DOCKER_CONFIG"] == str(tmp_path)
    assert "credsStore" not in (tmp_path / "config.json").read_text()


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
    import torch

    content: list[Any] = [[torch.zeros(1, 4)], ["Ann"]]
    if request.param == "sface":
        content.append({"model": "sface", "image_size": 112})
    torch.save(content, tmp_path / "made.pt")
    return tmp_path / "made.pt", "sface" if request.param == "sface" else "facenet-vggface2"


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
    text = (ROOT / "face-recognition" / "requirements.txt").read_text()
    packages = [line for line in text.splitlines() if line and line[0] not in "# "]

    assert all(line.endswith(" \\") for line in packages)  # each has at least one hash
    assert hashlib.sha256(b"").hexdigest() not in text
    assert "torchvision" not in text
    assert "nvidia" not in text
