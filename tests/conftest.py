"""Fixtures that every test folder shares: real photos, a real ffmpeg, a real local AWS."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"


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
    if not path.exists():
        BUILD.mkdir(exist_ok=True)
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
