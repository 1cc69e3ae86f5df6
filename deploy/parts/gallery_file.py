"""Checks a gallery file without torch and without unpickling it."""

from __future__ import annotations

import pickletools
import shutil
import tempfile
import zipfile
from pathlib import Path

import botocore.exceptions

from pipeline.aws import AwsError, explain
from pipeline.cli import Run
from pipeline.settings import SettingsError, s3_location

# A gallery without metadata has the older format, which only this model used.
OLDER_MODEL = "facenet-vggface2"
ENROLL = "python3 face-recognition/enroll.py PEOPLE_DIR --model {} --output data.pt"


def gallery_model(path: Path, name: str = "") -> str:
    """Return the model that the gallery was made with; raises AwsError if it is not a gallery.

    `name` replaces the path in error messages.
    torch.save writes a zip file with a data.pkl. Its opcodes are listed but not run, because
    unpickling an untrusted gallery could run any code.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            member = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            texts = _metadata_texts(archive.read(member))
    except (OSError, StopIteration, ValueError, zipfile.BadZipFile) as error:
        raise AwsError(
            f"{name or path} is not a gallery written by torch.save ({error}): make one with "
            f"{ENROLL.format('MODEL')}"
        ) from error
    if "model" not in texts:
        return OLDER_MODEL
    at = texts.index("model") + 1
    return texts[at] if at < len(texts) else OLDER_MODEL


def _metadata_texts(pickle: bytes) -> list[str]:
    """The texts in the gallery's last dict, its metadata; none in the older format.

    The names of people come before it, and one of them may be called "model". A text that was
    written before is written again as a reference to the memo.
    """
    texts: list[str] | None = None
    memo: dict[object, str] = {}
    pushed = None  # the text that the previous opcode pushed
    for opcode, argument, _ in pickletools.genops(pickle):
        if opcode.name in ("BINPUT", "LONG_BINPUT"):
            if pushed is not None:
                memo[argument] = pushed
            continue
        pushed = None
        if opcode.name == "EMPTY_DICT":
            texts = []
        elif "UNICODE" in opcode.name:
            pushed = str(argument)
        elif opcode.name in ("BINGET", "LONG_BINGET"):
            pushed = memo.get(argument)
        if pushed is not None and texts is not None:
            texts.append(pushed)
    return texts or []


def check_gallery(path: Path, model: str) -> None:
    """Raise AwsError unless the file is a gallery made with `model`."""
    if not path.is_file():
        raise AwsError(
            f"There is no gallery {path}: make one with {ENROLL.format(model)} and put it there, "
            "or keep it in S3 (--set face-recognition.GALLERY_URI=s3://BUCKET/data.pt)."
        )
    check_model(path, model)


def check_model(path: Path, model: str, name: str = "") -> None:
    """Raise AwsError unless the gallery was made with `model`; `name` is for error messages."""
    made_with = gallery_model(path, name)
    if made_with != model:
        raise AwsError(
            f"The gallery {name or path} was made with {made_with}, but the function will use "
            f"{model}: enroll again with {ENROLL.format(model)}, or choose the other model "
            f"(--set face-recognition.MODEL={made_with})."
        )


def check_gallery_in_s3(run: Run, uri: str, model: str) -> int:
    """Return the gallery's size in bytes; raises AwsError unless it was made with `model`."""
    try:
        bucket, key = s3_location(uri)
    except SettingsError as error:
        raise AwsError(f"GALLERY_URI {error}") from error
    with tempfile.TemporaryDirectory(prefix="gallery-") as folder:
        path = Path(folder) / "data.pt"
        try:
            body = run.aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"]
        except botocore.exceptions.ClientError as error:
            upload = run.aws_command("s3", "cp", "data.pt", uri)
            raise AwsError(
                f"Cannot read the gallery {uri}: {explain(error)} Upload it: {upload}"
            ) from error
        with path.open("wb") as file:
            shutil.copyfileobj(body, file)
        check_model(path, model, uri)
        return path.stat().st_size
