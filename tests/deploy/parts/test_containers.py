"""The commands given to docker, finch, podman and buildah."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.parts.containers import (
    Tool,
    build_argv,
    check_disk,
    check_memory,
    docker_config,
    docker_daemon,
    find_tool,
    free_memory,
    login_argv,
    pip_arguments,
    pip_volumes,
    push_argv,
    run_tool,
)
from pipeline.aws import AwsError
from tests.deploy.conftest import program


def test_docker_builds_without_attestations() -> None:
    argv = build_argv(Tool("docker"), Path("ctx"), "r:t", "arm64", {"MODEL": "sface"})

    assert argv[:4] == ["docker", "build", "--platform", "linux/arm64"]
    assert "--provenance=false" in argv
    assert "--sbom=false" in argv
    assert argv[-3:] == ["--build-arg", "MODEL=sface", "ctx"]


def test_buildah_uses_the_docker_format_and_mounts_local_wheels() -> None:
    tool = Tool("buildah")
    argv = build_argv(tool, Path("ctx"), "r:t", "x86_64", {}, [Path("/wheels")])

    assert argv[:2] == ["buildah", "build"]
    assert argv[argv.index("--format") + 1] == "docker"
    assert argv[argv.index("--volume") + 1] == "/wheels:/wheels:ro"
    assert push_argv(tool, "host/r:t")[-1] == "docker://host/r:t"


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("docker", None),  # it accepts a registry without TLS on loopback
        ("finch", "--insecure-registry"),
        ("podman", "--tls-verify=false"),
        ("buildah", "--tls-verify=false"),
    ],
)
def test_tls_is_disabled_only_for_a_registry_without_it(name: str, option: str | None) -> None:
    tool = Tool(name)
    for argv in (login_argv, push_argv):
        plain, safe = argv(tool, "host/r", True), argv(tool, "host/r")
        assert [word for word in plain if word not in safe] == ([option] if option else [])
        assert [word for word in plain if word != option] == safe


def test_pip_settings_are_passed_to_the_build(tmp_path: Path) -> None:
    environ = {"PIP_FIND_LINKS": str(tmp_path), "PIP_INDEX_URL": "https://mirror", "HOME": "/h"}

    arguments = pip_arguments(environ)

    assert arguments == {"PIP_FIND_LINKS": str(tmp_path), "PIP_INDEX_URL": "https://mirror"}
    assert pip_volumes(arguments) == [tmp_path]


def test_without_a_container_tool_the_error_lists_what_was_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN only a docker whose daemon is not running
    program(tmp_path / "bin", "docker", "echo 'Cannot connect to the daemon' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/nowhere")

    with pytest.raises(AwsError) as raised:
        find_tool()

    text = str(raised.value)
    assert "docker: Cannot connect to the daemon" in text
    assert "podman: not installed" in text
    assert "--image-uri" in text


def test_the_first_tool_that_works_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", "docker", "exit 1")
    program(tmp_path / "bin", "podman", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")

    assert find_tool().name == "podman"


def test_a_full_disk_is_reported_before_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a podman that reports where it keeps images
    program(tmp_path / "bin", "podman", f"echo {tmp_path}/storage")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    tool = Tool("podman")
    check_disk(tool, needed=1)

    with pytest.raises(
        AwsError, match=rf"GB are free in {tmp_path}.*podman system prune --all"
    ) as e:
        check_disk(tool, needed=shutil.disk_usage(tmp_path).total)
    # the advice that keeps the layers of an earlier build comes first
    assert re.search(r"pass --free-gb 1\..*podman image prune keeps those layers", str(e.value))


@pytest.mark.parametrize(("verb", "space"), [("push", True), ("build", True), ("login", False)])
def test_the_error_names_the_tool_that_failed(tmp_path: Path, verb: str, space: bool) -> None:
    tool = program(tmp_path, "docker", "exit 3")

    with pytest.raises(AwsError, match=f"docker {verb} failed with status 3") as raised:
        run_tool([str(tool), verb, "x"])

    assert ("no space left on device" in str(raised.value)) == space


def test_credentials_stay_in_the_given_folder(tmp_path: Path) -> None:
    environ = docker_config(tmp_path, "host:1")

    assert environ["DOCKER_CONFIG"] == str(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config == {"auths": {"host:1": {}}}  # without one, docker chooses a credential store


def test_docker_uses_the_daemon_of_its_current_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a docker whose current context is not the default one, as with colima or rootless docker
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


def test_a_docker_without_contexts_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("docker", "podman"):
        program(tmp_path / "bin", name, "echo 'no such command' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    monkeypatch.delenv("DOCKER_HOST", raising=False)

    assert docker_daemon(Tool("docker")) == docker_daemon(Tool("podman")) == {}
    assert capfd.readouterr().err == ""


def machine(root: Path, available_kb: int, group: dict[str, str]) -> Path:
    """Write what Linux says of its memory and of the control group's."""
    (root / "proc").mkdir()
    text = f"MemTotal: 9000000 kB\nMemAvailable: {available_kb} kB\n"
    (root / "proc" / "meminfo").write_text(text)
    folder = root / "sys" / "fs" / "cgroup"
    folder.mkdir(parents=True)
    for name, value in group.items():
        (folder / name).write_text(value)
    return root


@pytest.mark.parametrize(
    ("group", "free"),
    [
        ({}, 2_048_000_000),
        ({"memory.max": "max\n", "memory.current": "5\n"}, 2_048_000_000),
        (
            {
                "memory.max": "1000000000\n",
                "memory.current": "700000000\n",
                "memory.stat": "anon 1\ninactive_file 200000000\n",
            },
            500_000_000,
        ),
    ],
    ids=["no group", "no limit", "limit"],
)
def test_the_free_memory_is_the_machines_or_the_control_groups(
    tmp_path: Path, group: dict[str, str], free: int
) -> None:
    assert free_memory(machine(tmp_path, 2_000_000, group)) == free


def test_a_machine_that_does_not_tell_its_memory_is_not_refused(tmp_path: Path) -> None:
    assert free_memory(tmp_path) is None


def test_too_little_memory_is_reported_before_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a docker whose machine has 600 MB
    program(tmp_path / "bin", "docker", "echo 600000000")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")

    with pytest.raises(AwsError, match=r"Only 0\.6 GB of memory are free; a build with docker"):
        check_memory(Tool("docker"))
    check_memory(Tool("docker"), needed=5e8)
