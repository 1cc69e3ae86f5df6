"""Sample photos, extracted from pinned packages and checked by SHA-256."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from samples.one_at_a_time import one_at_a_time


class SampleError(RuntimeError):
    """The samples or the pipeline cannot be set up; the message says why and what to do."""


@dataclass(frozen=True)
class Photo:
    """One photo: its name here, its path in the package and its SHA-256."""

    name: str
    member: str
    sha256: str


@dataclass(frozen=True)
class Package:
    """A pinned package that contains photos, and the pip options that select that exact file."""

    requirement: str
    sha256: str
    options: tuple[str, ...]
    photos: tuple[Photo, ...]


# pip checks each archive's hash (--require-hashes) before it runs an sdist's setup.py. The
# scikit-image wheel is one fixed build: only its pictures are used, so it need not fit this Python.
PACKAGES = (
    Package(
        "face_recognition==1.3.0",
        "5e5efdd1686aa566af0d3cc1313b131e4b197657a8ffd03669e6d3fad92705ec",
        ("--no-binary", ":all:"),
        (
            Photo(
                "obama.jpg",
                "tests/test_images/obama.jpg",
                "0930e3aa8cae5920329c0c8cbc6a2ab70f47b0e67b432875beaa95cbf7e741f6",
            ),
            Photo(
                "obama2.jpg",
                "tests/test_images/obama2.jpg",
                "a7efcc907375274796f39646510704aa86672d59f6d5469d69af3c85590976a6",
            ),
            Photo(
                "obama3.jpg",
                "tests/test_images/obama3.jpg",
                "76ac6bf97c36dc2da0ad16a537d6a5ac1b10f48d49aac29a0cca9a17cdbc3ca3",
            ),
            Photo(
                "biden.jpg",
                "tests/test_images/biden.jpg",
                "3c17508bb91554c637a2eabddfae790e5bb1caba93130814fc2ac50be9760c4c",
            ),
        ),
    ),
    Package(
        "scikit-image==0.26.0",
        "7df650e79031634ac90b11e64a9eedaf5a5e06fcd09bcd03a34be01745744466",
        (
            "--only-binary",
            ":all:",
            "--python-version",
            "3.12",
            "--platform",
            "manylinux_2_28_x86_64",
        ),
        (
            Photo(
                "astronaut.png",
                "skimage/data/astronaut.png",
                "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
            ),
            Photo(
                "coffee.png",
                "skimage/data/coffee.png",
                "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
            ),
        ),
    ),
    Package(
        "insightface==2.1",
        "dcd58ee79d99d689572477315f3149353afd65a36dc575f597cbb217a7bde399",
        ("--only-binary", ":all:"),
        (
            Photo(
                "t1.jpg",
                "insightface/data/images/t1.jpg",
                "47f682e945b659f93a9e490b9c9c4a2a864abe64dace9e1a2893845ddfd69489",
            ),
        ),
    ),
)


@one_at_a_time()
def fetch_photos(folder: Path, packages: tuple[Package, ...] = PACKAGES) -> Path:
    """Put all sample photos into `folder` and return it; keep those that are already correct.

    Raises SampleError if a package cannot be downloaded or a photo has another hash.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for package in packages:
        if not all(_is_intact(folder / photo.name, photo.sha256) for photo in package.photos):
            print(f"Fetching sample photos from {package.requirement} ...", file=sys.stderr)
            extract(package, folder)
    return folder


def extract(package: Package, folder: Path) -> None:
    """Download the package and copy its photos to `folder`, each only if its hash is right."""
    with tempfile.TemporaryDirectory(prefix="samples-") as tmp:
        archive = _download(package, Path(tmp))
        for photo in package.photos:
            data = _read_member(archive, photo.member)
            digest = hashlib.sha256(data).hexdigest()
            if digest != photo.sha256:
                raise SampleError(
                    f"{photo.member} in {package.requirement} has SHA-256 {digest}, "
                    f"not {photo.sha256}: it is not the pinned package."
                )
            partial = folder / f".{photo.name}.{os.getpid()}"
            partial.write_bytes(data)
            partial.replace(folder / photo.name)


def _download(package: Package, folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n")
    target = folder / "archive"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    command += [*package.options, "--dest", str(target), "--requirement", str(requirements)]
    run = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if run.returncode != 0:
        raise SampleError(
            f"Cannot download {package.requirement} with pip: {run.stderr.strip()[-600:]}\n"
            "Check that pip can reach its package index, or use your own files: "
            "make demo PEOPLE=dir VIDEOS=dir"
        )
    return next(target.iterdir())


def _read_member(archive: Path, member: str) -> bytes:
    """The bytes of `member`, which in an sdist is below one top-level folder."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(member)
    with tarfile.open(archive) as sdist:
        for entry in sdist:
            if entry.name.split("/", 1)[-1] == member:
                stream = sdist.extractfile(entry)
                if stream is not None:
                    return stream.read()
    raise SampleError(f"{archive.name} has no file {member}.")


def _is_intact(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256
