"""Fixtures that all test folders share: real photos, a real ffmpeg, a real Python 3.9."""

from __future__ import annotations

import functools
import gc
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from xdist.scheduler import LoadScopeScheduling

from samples.one_at_a_time import one_at_a_time

# A checkout may have its own deployment.ini, which no test may use.
os.environ["PIPELINE_CONFIG"] = os.devnull

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
# The packages that README.md tells CloudShell users to install for the scripts and the report.
CLOUDSHELL_PACKAGES = ("boto3", "click", "jinja2", "matplotlib", "pillow")

# Each module of these folders starts its own servers, or servers that start quickly, so it may run
# in any process. The other folders share a fixture that takes long to set up.
BY_MODULE = ("e2e", "deploy", "local_aws", "video_splitting")
# Modules that share a deployed pipeline. The rest of their folder does without it.
ON_ONE_PIPELINE = {
    "workload on a pipeline": (
        "workload/test_python39.py",
        "workload/test_recognize.py",
        "workload/test_report.py",
        "workload/test_runs.py",
        "workload/test_timing.py",
        "workload/test_tune.py",
    ),
    "e2e on a pipeline": (
        "e2e/test_faults.py",
        "e2e/test_inactive.py",
        "e2e/test_logs.py",
        "e2e/test_missing.py",
        "e2e/test_pipeline.py",
        "e2e/test_uploads.py",
    ),
}
# A long group that starts last would leave the other processes idle.
LONGEST_FIRST = (
    "workload on a pipeline",
    "face_recognition",
    "e2e on a pipeline",
    "video_splitting/test_single_pass.py",
    "video_splitting/test_looks.py",
    "deploy/test_lifecycle.py",
    "e2e/test_local.py",
    "e2e/test_permissions.py",
    "workload",
    "video_splitting/test_handler.py",
    "video_splitting/test_camera.py",
    "local_aws/test_server.py",
    "deploy/test_doctor.py",
    "deploy/test_scripts.py",
    "video_splitting/test_frames.py",
    "e2e/test_deploying.py",
    "e2e/test_small_account.py",
    "deploy/test_saved_settings.py",
    "test_install_ffmpeg.py",
)

# A session parses the descriptions of the services it uses, which takes 0.1 s. Most tests make
# their own sessions, so let those of one process share what is parsed.
botocore.session.create_loader = functools.cache(botocore.session.create_loader)

# A session's clients are 80,000 objects, and at the usual threshold of 700 new ones, looking for
# garbage among those of earlier tests takes a tenth of the time.
gc.set_threshold(20_000, 20, 20)

# The programs that tests start: more threads than cores slow each other down.
os.environ.setdefault("OMP_NUM_THREADS", "1")


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]  # untyped
    """Runs each group of tests in one process, starting with the group that takes longest.

    Not --dist loadgroup, because pytest-xdist 3.8 silently ignores its groups under pytest 9.2
    (https://github.com/pytest-dev/pytest-xdist/issues/1386).
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)

    def _assign_work_unit(self, node: Any) -> None:
        """Give the longest of the remaining groups to a process."""
        longest = min(self.workqueue, key=_rank)
        self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)


def group_of(nodeid: str) -> str:
    """The group of a test: those on one pipeline, its folder in tests/, or its module."""
    _, _, path = nodeid.partition("::")[0].partition("/")
    folder = path.partition("/")[0]
    together = (group for group, modules in ON_ONE_PIPELINE.items() if path in modules)
    return next(together, path if folder in BY_MODULE else folder)


def _rank(group: str) -> int:
    return LONGEST_FIRST.index(group) if group in LONGEST_FIRST else len(LONGEST_FIRST)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling:
    """Tell pytest-xdist which tests go to which process."""
    return GroupScheduling(config, log)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout's top folder."""
    return ROOT


@pytest.fixture(scope="session")
def sample_photos() -> Path:
    """The folder of sample photos (see samples/packages.py), downloaded once and kept in build/."""
    from samples.packages import fetch_photos

    return fetch_photos(BUILD / "samples" / "photos")


@pytest.fixture(scope="session")
def ffmpeg_zip() -> Path:
    """The layer that install_ffmpeg.sh builds, made once and kept in build/."""
    path = BUILD / "ffmpeg.zip"
    with one_at_a_time():
        if not path.exists():
            subprocess.run([ROOT / "install_ffmpeg.sh", "--output", path], check=True)
    return path


@pytest.fixture(scope="session")
def ffmpeg(ffmpeg_zip: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of the layer's ffmpeg, unpacked."""
    folder = tmp_path_factory.mktemp("ffmpeg-layer")
    with zipfile.ZipFile(ffmpeg_zip) as layer:
        path = Path(layer.extract("bin/ffmpeg", folder))
    path.chmod(0o755)
    return str(path)


@pytest.fixture(scope="session")
def shared_media() -> Path:
    """Real clips and a gallery in the older format; skips if this machine has none."""
    path = ROOT.parent / "shared" / "media"
    if not path.is_dir():
        pytest.skip("no real clips on this machine")
    return path


def find_python39() -> str | None:
    """A Python 3.9 from PATH or from pyenv, if there is one."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which("python3.9"), *map(str, sorted(pyenv.glob("3.9.*/bin/python3.9")))]
    return next((path for path in found if path and _runs(path)), None)


def _runs(python: str) -> bool:
    """Whether it runs; pyenv's shim for a version that is not selected does not."""
    return subprocess.run([python, "--version"], capture_output=True).returncode == 0


@pytest.fixture(scope="session")
def cloudshell() -> str:
    """A Python 3.9 environment with the packages CloudShell users install, kept in build/."""
    python = find_python39()
    if python is None:
        pytest.skip("no Python 3.9 here")
    folder, packages = BUILD / "python39", " ".join(CLOUDSHELL_PACKAGES)
    installed = folder / "installed"
    with one_at_a_time():
        if not installed.exists() or installed.read_text() != packages:
            shutil.rmtree(folder, ignore_errors=True)
            # This Python's pip, and only what is imported compiled: half the time.
            subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
            pip = [
                sys.executable,
                "-m",
                "pip",
                "--python",
                str(folder / "bin" / "python"),
                "install",
            ]
            subprocess.run([*pip, "--quiet", "--no-compile", *CLOUDSHELL_PACKAGES], check=True)
            installed.write_text(packages)
    return str(folder / "bin" / "python")
