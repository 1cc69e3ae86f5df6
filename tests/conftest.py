"""Fixtures that every test folder shares: real photos, a real ffmpeg, a real local AWS."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from samples.one_at_a_time import one_at_a_time

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
# What README.md tells CloudShell's user to install, for the scripts and for the report.
CLOUDSHELL_PACKAGES = ("boto3", "click", "jinja2", "matplotlib", "pillow")

# These deploy from build/, and look at what is left there: one after the other, in one process.
TOGETHER = ("e2e", "workload", "samples")


class FolderScheduling(LoadScopeScheduling):  # type: ignore[misc]  # untyped
    """Tests of one folder run in one process, as they share servers.

    Not --dist loadgroup: under pytest 9.2 pytest-xdist 3.8 ignores its groups without a word
    (https://github.com/pytest-dev/pytest-xdist/issues/1386).
    """

    def _split_scope(self, nodeid: str) -> str:
        """The group of a test: the folder in tests/ it is in, or several of them."""
        folder = nodeid.split("::")[0].split("/")[1]
        return "together" if folder in TOGETHER else folder


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FolderScheduling:
    """Tell pytest-xdist which tests go to which process."""
    return FolderScheduling(config, log)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout's top folder."""
    return ROOT


@pytest.fixture(scope="session")
def sample_photos() -> Path:
    """The folder of sample photos (see samples/packages.py), fetched once and kept in build/."""
    from samples.packages import fetch_photos

    return fetch_photos(BUILD / "samples" / "photos")


@pytest.fixture(scope="session")
def ffmpeg_zip() -> Path:
    """The layer built by install_ffmpeg.sh, made once and kept in build/."""
    path = BUILD / "ffmpeg.zip"
    with one_at_a_time():
        if not path.exists():
            subprocess.run([ROOT / "install_ffmpeg.sh", "--output", path], check=True)
    return path


@pytest.fixture(scope="session")
def ffmpeg(ffmpeg_zip: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of the layer's own ffmpeg, unpacked."""
    folder = tmp_path_factory.mktemp("ffmpeg-layer")
    with zipfile.ZipFile(ffmpeg_zip) as layer:
        path = Path(layer.extract("bin/ffmpeg", folder))
    path.chmod(0o755)
    return str(path)


@pytest.fixture(scope="session")
def shared_media() -> Path:
    """Real clips and a real gallery of older format, where the machine has them; else skip."""
    path = ROOT.parent / "shared" / "media"
    if not path.is_dir():
        pytest.skip("no real clips on this machine")
    return path


def find_python39() -> str | None:
    """A Python 3.9: on the PATH, or one of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which("python3.9"), *map(str, sorted(pyenv.glob("3.9.*/bin/python3.9")))]
    return next((path for path in found if path and _runs(path)), None)


def _runs(python: str) -> bool:
    """Whether it is more than pyenv's stand-in for a Python that is not selected."""
    return subprocess.run([python, "--version"], capture_output=True).returncode == 0


@pytest.fixture(scope="session")
def cloudshell() -> str:
    """A virtual environment of Python 3.9 with what CloudShell's user installs, kept in build/."""
    python = find_python39()
    if python is None:
        pytest.skip("no Python 3.9 here")
    folder, packages = BUILD / "python39", " ".join(CLOUDSHELL_PACKAGES)
    installed = folder / "installed"
    with one_at_a_time():
        if not installed.exists() or installed.read_text() != packages:
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([python, "-m", "venv", folder], check=True)
            pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
            subprocess.run([*pip, *CLOUDSHELL_PACKAGES], check=True)
            installed.write_text(packages)
    return str(folder / "bin" / "python")
