"""The scripts on CloudShell's Python, with the boto3 and click that still support it."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.settings import ROOT
from tests.deploy.conftest import Account, image_uri


def find_python39() -> str | None:
    """A Python 3.9: on the PATH, or one of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which("python3.9"), *map(str, sorted(pyenv.glob("3.9.*/bin/python3.9")))]
    return next((path for path in found if path and _runs(path)), None)


def _runs(python: str) -> bool:
    """Whether it is more than pyenv's stand-in for a Python that is not selected."""
    return subprocess.run([python, "--version"], capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def cloudshell() -> str:
    """A virtual environment of Python 3.9 with what CloudShell's user installs, kept in build/."""
    python = find_python39()
    if python is None:
        pytest.skip("no Python 3.9 here")
    folder = ROOT / "build" / "python39"
    if not (folder / "installed").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([python, "-m", "venv", folder], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "boto3", "click"]
        subprocess.run(pip, check=True)
        (folder / "installed").touch()
    return str(folder / "bin" / "python")


def test_everything_is_deployed_checked_and_removed(account: Account, cloudshell: str) -> None:
    shell = dataclasses.replace(account, python=cloudshell)
    deployment = account.deployment()
    layer = ["--zip", str(account.zip_path)]
    steps = [
        ["deploy/deploy.py", *layer, "--image-uri", image_uri(deployment), "--snapstart"],
        ["deploy/doctor.py", *layer, "--after"],
        ["deploy/status.py", "--json"],
        ["deploy/failures.py", "list"],
        ["deploy/prune.py", "--yes"],
        ["deploy/destroy.py", "--yes"],
    ]
    version = subprocess.run([cloudshell, "--version"], capture_output=True, text=True).stdout
    assert version.startswith("Python 3.9.")

    for script, *options in steps:
        done = shell.run(script, deployment, *options)
        assert "Traceback" not in done.stderr, f"{script}: {done.stderr}"
        assert done.returncode == 0, f"{script}: {done.stdout}{done.stderr}"
