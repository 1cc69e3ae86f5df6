"""Checks which model a gallery was made with, by the recognizer's own reader of the file."""

from __future__ import annotations

import runpy
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import botocore.exceptions

from pipeline.aws import AwsError, explain
from pipeline.cli import Run
from pipeline.settings import ROOT, s3_location

# A gallery without metadata has the older format, which only this model used.
OLDER_MODEL = "facenet-vggface2"
ENROLL = "python3 face-recognition/enroll.py PEOPLE_DIR --model {} --output data.pt"


def gallery_model(path: Path, name: str = "") -> str:
    """Return the model that the gallery was made with; raises AwsError if it is not a gallery.

    `name` replaces the path in error messages.
    """
    reader = _reader()
    try:
        metadata = reader["read_metadata"](path.read_bytes())
    except (OSError, reader["GalleryFormatError"]) as error:
        raise AwsError(
            f"{name or path} is not a gallery written by torch.save ({error}): make one with "
            f"{ENROLL.format('MODEL')}"
        ) from error
    return str((metadata or {}).get("model", OLDER_MODEL))


@cache
def _reader() -> dict[str, Any]:
    """What face-recognition/gallery_format.py defines; its folder is not a package."""
    return runpy.run_path(str(ROOT / "face-recognition" / "gallery_format.py"))


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
    bucket, key = s3_location(uri)
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
