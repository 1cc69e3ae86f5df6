"""Builds and pushes images with docker, finch, podman or buildah."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from pipeline.aws import AwsError

TOOLS = ("docker", "finch", "podman", "buildah")

VERBS = ("build", "push", "login", "from", "add", "config", "commit")

# Lambda's names of the architectures and those of images.
PLATFORMS = {"x86_64": "linux/amd64", "arm64": "linux/arm64"}

# pip settings that are passed on as build arguments, so that the build uses the same mirror.
PIP_SETTINGS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CERT", "PIP_RETRIES")

# Disk space that a build needs: the packages twice (build stage and image), layers and base image.
# If the layers of an earlier build are still there, it adds only a new gallery and code.
BUILD_GB = 6.0
REBUILD_GB = 1

# Memory that a build needs: pip with the largest package, or the check of the gallery.
BUILD_MEMORY = 1_000_000_000

# Commands that remove dangling images, and all images that no container uses.
PRUNE = ("image prune", "system prune --all")

Which = Callable[[str], Optional[str]]


@dataclass(frozen=True)
class Tool:
    """A container tool; `name` is its program."""

    name: str

    def command(self, *words: str) -> list[str]:
        """Return the argv that runs one of its subcommands."""
        return [self.name, *words]


def find_tool(wanted: str | None = None, which: Which = shutil.which) -> Tool:
    """Return the tool `wanted`, or the first of TOOLS that is installed and works.

    Raises AwsError saying which tools were tried and what to install.
    """
    reasons = []
    for name in (wanted,) if wanted else TOOLS:
        if which(name) is None:
            reasons.append(f"{name}: not installed")
            continue
        if name != "buildah":
            about = subprocess.run(
                [name, "info"], capture_output=True, text=True, stdin=subprocess.DEVNULL
            )
            if about.returncode != 0:
                lines = (about.stderr.strip() or about.stdout.strip()).splitlines()
                reasons.append(f"{name}: {lines[-1] if lines else 'no answer'}")
                continue
        return Tool(name)
    raise AwsError(
        f"No container tool can be used ({'; '.join(reasons)}). AWS CloudShell has docker; "
        "elsewhere, install docker, podman, finch or buildah, or pass --image-uri with an image "
        "that is already in ECR."
    )


def usable_tool(wanted: str | None, free_gb: float) -> Tool:
    """Return the tool to build with; raises AwsError without one, or without the room it needs."""
    tool = find_tool(wanted)
    check_disk(tool, free_gb * 1e9)
    check_memory(tool)
    return tool


def check_memory(tool: Tool, needed: float = BUILD_MEMORY) -> None:
    """Raise AwsError unless the build can have `needed` bytes of memory.

    The system ends a process that gets no more memory without a word but `Killed`.
    """
    found = (free_memory(), _docker_memory(tool))
    free = min((size for size in found if size is not None), default=needed)
    if free < needed:
        raise AwsError(
            f"Only {free / 1e9:.1f} GB of memory are free; a build with {tool.name} needs about "
            f"{needed / 1e9:.0f} GB. End other programs, restart CloudShell (Actions, Restart), or "
            "build on another machine and pass --image-uri."
        )


def free_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes that this system and its control group still have; None if unknown.

    https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files
    """
    found = []
    with suppress(OSError, StopIteration, ValueError):  # not Linux
        lines = (root / "proc/meminfo").read_text().splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        found.append(int(line.split()[1]) * 1024)
    group = root / "sys/fs/cgroup"
    with suppress(OSError, KeyError, ValueError):  # no limit, or none that can be seen
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        lines = (group / "memory.stat").read_text().splitlines()
        cached = int(dict(line.split() for line in lines)["inactive_file"])
        found.append(max(0, limit - used + cached))
    return min(found, default=None)


def _docker_memory(tool: Tool) -> int | None:
    """Return the memory of docker's machine, which need not be this one; None if unknown."""
    if tool.name != "docker":
        return None
    about = subprocess.run(
        tool.command("info", "--format", "{{.MemTotal}}"),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    size = about.stdout.strip()
    return int(size) if about.returncode == 0 and size.isdecimal() and int(size) else None


def check_disk(tool: Tool, needed: float = BUILD_GB * 1e9) -> None:
    """Raise AwsError unless the tool's storage has `needed` bytes free."""
    folder = Path(storage_of(tool))
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        prune = ("rmi --prune", "rmi --all") if tool.name == "buildah" else PRUNE
        raise AwsError(
            f"Only {free / 1e9:.1f} GB are free in {folder}, where {tool.name} keeps images; the "
            f"build needs about {needed / 1e9:.0f} GB. If this checkout was built before "
            f"(README.md, step 3), its layers are reused: pass --free-gb {REBUILD_GB}. Otherwise "
            f"free some space ({tool.name} {prune[0]} keeps those layers, {tool.name} {prune[1]} "
            "does not), or build on another machine and pass --image-uri."
        )


def storage_of(tool: Tool) -> str:
    """Return the folder in which the tool keeps images."""
    asked = {
        "docker": ["info", "--format", "{{.DockerRootDir}}"],
        "podman": ["info", "--format", "{{.Store.GraphRoot}}"],
        "buildah": ["info", "--format", "{{.store.GraphRoot}}"],
    }.get(tool.name)
    if asked:
        about = subprocess.run(
            tool.command(*asked), capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        if about.returncode == 0 and about.stdout.strip():
            return about.stdout.strip()
    return tempfile.gettempdir()


def build_argv(
    tool: Tool,
    context: Path,
    tag: str,
    architecture: str,
    arguments: Mapping[str, str],
    volumes: Sequence[Path] = (),
) -> list[str]:
    """Return the command that builds `context` as `tag` for one architecture.

    Lambda takes a single image manifest, not an OCI index, and BuildKit's attestations would turn
    it into an index. `volumes` are folders that the build can read (buildah and podman only).
    """
    argv = tool.command("build", "--platform", PLATFORMS[architecture], "--tag", tag)
    if tool.name in ("docker", "finch"):
        argv += ["--provenance=false", "--sbom=false"]
    else:
        argv += ["--format", "docker", "--layers"]
        for folder in volumes:
            argv += ["--volume", f"{folder}:{folder}:ro"]
    for name, value in arguments.items():
        argv += ["--build-arg", f"{name}={value}"]
    return [*argv, str(context)]


def pip_arguments(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return this machine's pip settings, as build arguments."""
    return {name: environ[name] for name in PIP_SETTINGS if environ.get(name)}


def pip_volumes(arguments: Mapping[str, str]) -> list[Path]:
    """Return the local folders that these pip settings name, which the build must see."""
    paths = [Path(arguments[name]) for name in ("PIP_FIND_LINKS", "PIP_CERT") if name in arguments]
    return [path if path.is_dir() else path.parent for path in paths if path.exists()]


def run_tool(
    argv: list[str], text: str | None = None, environ: Mapping[str, str] | None = None
) -> None:
    """Run a container tool with its output on stderr; raise AwsError if it fails."""
    done = subprocess.run(
        argv,
        input=text,
        stdin=subprocess.DEVNULL if text is None else None,
        stdout=2,
        text=True,
        env={**os.environ, "DOCKER_BUILDKIT": "1", **(environ or {})},
    )
    if done.returncode != 0:
        verb = next((word for word in argv if word in VERBS), "")
        full = " If they say 'no space left on device', free some disk space and run this again."
        raise AwsError(
            f"{argv[0]} {verb} failed with status {done.returncode}: see its messages above."
            f"{'' if verb == 'login' else full}"
        )


def login_argv(tool: Tool, registry: str, plain_http: bool = False) -> list[str]:
    """Return the command that signs in to `registry` with a password from standard input."""
    plain = _plain_http(tool) if plain_http else []
    return tool.command("login", *plain, "--username", "AWS", "--password-stdin", registry)


def push_argv(tool: Tool, tag: str, plain_http: bool = False) -> list[str]:
    """Return the command that pushes `tag`."""
    plain = _plain_http(tool) if plain_http else []
    if tool.name == "buildah":
        return tool.command("push", "--format", "v2s2", *plain, tag, f"docker://{tag}")
    return tool.command("push", *plain, tag)


def _plain_http(tool: Tool) -> list[str]:
    """Return the option for a registry without TLS; docker needs none for one on loopback."""
    if tool.name == "docker":
        return []
    return ["--insecure-registry"] if tool.name == "finch" else ["--tls-verify=false"]


def docker_config(folder: Path, registry: str) -> dict[str, str]:
    """Return the environment that keeps credentials in `folder`, not in the credential store.

    ECR's passwords last 12 hours and are too long for the Windows credential store, which refuses
    them. The configuration file must name the registry: docker treats a file without one as new
    and chooses the platform's credential store.
    """
    (folder / "config.json").write_text(json.dumps({"auths": {registry: {}}}))
    return {"DOCKER_CONFIG": str(folder), "REGISTRY_AUTH_FILE": str(folder / "auth.json")}


def docker_daemon(tool: Tool, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment that makes docker use the daemon of its current context.

    The context is set in the configuration file, which `docker_config` replaces: without this, one
    daemon would build the image and another would look for it.
    """
    if tool.name != "docker" or environ.get("DOCKER_HOST"):
        return {}
    about = subprocess.run(
        tool.command("context", "inspect", "--format", "{{.Endpoints.docker.Host}}"),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    host = about.stdout.strip()
    return {"DOCKER_HOST": host} if about.returncode == 0 and host else {}
