"""A base image made with debootstrap, for machines that cannot pull Lambda's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from deploy.parts.containers import Tool, run_tool
from pipeline.settings import ROOT
from samples.packages import SampleError

SUITE = "bookworm"
TAG = "localhost/lambda-python-base:debian"

# The runtime interface client and its dependencies, and where Lambda's base images keep them.
CLIENT = ("awslambdaric", "simplejson", "snapshot-restore-py")
RUNTIME_DIR = "var/runtime"

# Lambda's own entry point starts an emulator if there is no Runtime API. Here there always is one.
ENTRYPOINT = """#!/bin/sh
if [ $# -ne 1 ]; then
  echo "entrypoint requires the handler name to be the first argument" 1>&2
  exit 142
fi
export _HANDLER="$1"
exec /var/lang/bin/python3 -m awslambdaric "$1"
"""

# Copied from Lambda's base images: https://github.com/aws/aws-lambda-base-images
ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "TZ": ":/etc/localtime",
    "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
    "LAMBDA_TASK_ROOT": "/var/task",
    "LAMBDA_RUNTIME_DIR": "/var/runtime",
    "PYTHONPATH": "/var/runtime",
}

# Files that a function never reads.
REMOVED: tuple[str, ...] = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info")
REMOVED += ("var/lib/apt/lists", "var/cache/apt")


def make_root(folder: Path) -> Path:
    """Install Debian with Python, pip and Lambda's runtime client in `folder`, unless it is there.

    Raises SampleError if debootstrap is missing or fails.
    """
    if (folder / "lambda-entrypoint.sh").exists():
        return folder
    if shutil.which("debootstrap") is None:
        raise SampleError("debootstrap is not installed: apt-get install debootstrap")
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    print(f"Making a base image of Debian {SUITE} with debootstrap ...", file=sys.stderr)
    argv = ["debootstrap", "--variant=minbase", "--include=python3,python3-pip,ca-certificates"]
    done = subprocess.run(
        [*argv, SUITE, str(partial)], capture_output=True, text=True, env=_environ()
    )
    if done.returncode != 0:
        raise SampleError(f"debootstrap failed: {(done.stdout + done.stderr).strip()[-800:]}")
    for name in REMOVED:
        shutil.rmtree(partial / name, ignore_errors=True)
    _install_client(partial / RUNTIME_DIR)
    bins = partial / "var" / "lang" / "bin"
    bins.mkdir(parents=True)
    for name in ("python", "python3"):
        (bins / name).symlink_to("/usr/bin/python3")
    (partial / "var" / "task").mkdir()
    entrypoint = partial / "lambda-entrypoint.sh"
    entrypoint.write_text(ENTRYPOINT)
    entrypoint.chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return folder


def _environ() -> dict[str, str]:
    """The environment with /usr/sbin on PATH, where debootstrap's own programs are."""
    return {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}


def _install_client(target: Path) -> None:
    """Install the local AWS's version of the runtime interface client, for Debian's Python."""
    pins = (ROOT / "requirements-dev.txt").read_text().split()
    wanted = [pin for pin in pins if pin.partition("==")[0] in CLIENT]
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target)]
    argv += ["--python-version", "3.11", "--only-binary", ":all:", *wanted]
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode != 0:
        raise SampleError(f"pip cannot install {' '.join(wanted)}: {done.stderr.strip()[-600:]}")


def make_base_image(buildah: Tool, root: Path) -> str:
    """Commit `root` as an image in buildah's storage and return its tag."""
    name = "lambda-python-base"
    subprocess.run(buildah.command("rm", name), capture_output=True)
    run_tool(buildah.command("from", "--name", name, "scratch"))
    run_tool(buildah.command("add", "--quiet", name, str(root), "/"))
    settings = [word for k, v in ENVIRONMENT.items() for word in ("--env", f"{k}={v}")]
    settings += ["--workingdir", "/var/task", "--entrypoint", '["/lambda-entrypoint.sh"]']
    run_tool(buildah.command("config", *settings, name))
    run_tool(buildah.command("commit", "--quiet", "--rm", "--format", "docker", name, TAG))
    return TAG
