"""Real HEIC photos, with and without the extra package that reads them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib

from samples.one_at_a_time import one_at_a_time

FOLDER = Path(__file__).resolve().parents[2] / "face-recognition"

MAKE = """
import sys
from PIL import Image
from pillow_heif import register_heif_opener
register_heif_opener()
image = Image.new("RGB", (64, 32), "black")
image.paste("white", (0, 0, 32, 32))
image.save(sys.argv[1], "HEIF", quality=90)
"""
READ = """
import sys
sys.path.insert(0, sys.argv[2])
from images import UnreadableImage, read_rgb
data = open(sys.argv[1], "rb").read()
try:
    pixels = read_rgb(data)
except UnreadableImage as error:
    print(error)
else:
    height, width, _ = pixels.shape
    print(width, height, pixels[16, 8].mean() > 200, pixels[16, 56].mean() < 50)
try:
    read_rgb(data[:len(data) // 2])
except UnreadableImage as error:
    print(error)
"""


@pytest.fixture(scope="module")
def extra(root: Path) -> Path:
    """A folder with the extra package, which pip installs once."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    folder = root / "build" / "pillow-heif"
    with one_at_a_time():
        if not (folder / "pillow_heif").is_dir():
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
            wanted = project["optional-dependencies"]["heic"]
            subprocess.run([*pip, str(folder), *wanted], check=True)
    return folder


def run(code: str, *words: Path, extra: Path | None = None) -> list[str]:
    environ = {**os.environ, "PYTHONPATH": "" if extra is None else str(extra)}
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_heic_is_read_where_pillow_heif_is_installed(extra: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.HEIC"
    run(MAKE, photo, extra=extra)

    whole, damaged = run(READ, photo, FOLDER, extra=extra)
    refused, refused_too = run(READ, photo, FOLDER)

    assert whole == "64 32 True True"
    assert "it is not a readable image" in damaged
    assert refused == refused_too
    assert "it is HEIC, which cannot be read without the package pillow-heif: pip " in refused
