"""What a gallery file says of itself, read without torch and without unpickling anything."""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path

from pipeline.aws import AwsError

# A gallery without metadata is of the older format, which only this model made.
OLDER_MODEL = "facenet-vggface2"
ENROL = "python face-recognition/enroll.py PEOPLE_DIR --model {} --output data.pt"


def gallery_model(path: Path) -> str:
    """The model that the gallery was made with; raises AwsError when the file is no gallery.

    torch.save writes a zip with a data.pkl. Its opcodes are listed, not run: a gallery from
    elsewhere must not be able to do anything here.
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
            f"{path} is no gallery that torch.save wrote ({error}): make one with "
            f"{ENROL.format('MODEL')}"
        ) from error
    if "model" not in texts:
        return OLDER_MODEL
    at = texts.index("model") + 1
    return texts[at] if at < len(texts) else OLDER_MODEL


def check_gallery(path: Path, model: str) -> None:
    """Raise AwsError unless there is a gallery made with `model`."""
    if not path.is_file():
        raise AwsError(
            f"There is no gallery {path}: make one with {ENROL.format(model)} and put it there, "
            "or keep it in S3 (--set face-recognition.GALLERY_URI=s3://BUCKET/data.pt)."
        )
    made_with = gallery_model(path)
    if made_with != model:
        raise AwsError(
            f"The gallery {path} was made with {made_with}, but the function is to use {model}: "
            f"enrol again with {ENROL.format(model)}, or choose the other model "
            f"(--set face-recognition.MODEL={made_with})."
        )
