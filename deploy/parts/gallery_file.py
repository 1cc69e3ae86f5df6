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
ENROLL = "python face-recognition/enroll.py PEOPLE_DIR --model {} --output data.pt"


def gallery_model(path: Path, name: str = "") -> str:
    """Return the model that the gallery was made with; raises AwsError if it is not a gallery.

    `name` replaces the path in error messages.
    torch.save writes a zip file with a data.pkl. Its opcodes are listed but not run, because
    unpickling an untrusted gallery could run any code.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            member = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            texts = [
                str(argument)
                for opcode, argument, _ in pickletools.genops(archive.read(member))
                if "UNICODE" in opcode.name
            ]
    except (OSError, StopIteration, ValueError, zipfile.BadZipFile) as error:
        raise AwsError(
            f"{name or path} is not a gallery written by torch.save ({error}): make one with "
            f"{ENROLL.format('MODEL')}"
        ) from error
    if "model" not in texts:
        return OLDER_MODEL
    at = texts.index("model") + 1
    return texts[at] if at < len(texts) else OLDER_MODEL


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
