"""Keeps the embeddings of unknown faces beside their frame, if KEEP_EMBEDDINGS=1."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gallery import METRICS, Array
from recognition import NamedFace

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# An object beside the frame, so that the bucket's lifecycle rule deletes both. The splitter
# (video-splitting/keys.py) and the clients (pipeline/keys.py) know this ending.
ENDING = ".faces.json"
MAX_KEY_BYTES = 1024 - len(ENDING)  # of a frame: S3 allows 1,024
# The detector's probability, below which a face may be none: in every other frame of the sample
# videos, each stranger has 0.99 or more, and the only thing that is not a face 0.90.
LEAST_PROBABILITY = 0.95
# What tells the splitter which video an object was made from.
SOURCE = ("source-bucket", "source-key", "source-etag")


class StrangerError(Exception):
    """An object of embeddings is not one; the message says why."""


def keep(
    s3: S3Client,
    frame: str,
    bucket: str,
    identity: Mapping[str, str],
    image_size: int,
    faces: Sequence[NamedFace],
) -> None:
    """Write the embeddings of the unknown ones of `faces` beside the frame with the key `frame`.

    `identity` has what the answer is made from. What an earlier gallery did not know is deleted if
    nobody is unknown now. Raises ClientError.
    """
    unknown = [face for face in faces if is_stranger(face)]
    if not unknown:
        s3.delete_object(Bucket=bucket, Key=frame + ENDING)
        return
    settings = {name: value for name, value in identity.items() if name not in SOURCE}
    content: dict[str, Any] = {
        **settings,
        "metric": METRICS[identity["model"]],
        "image-size": image_size,
        "faces": [
            {"box": face.as_json()["box"], "embedding": _text(face.embedding)} for face in unknown
        ],
    }
    s3.put_object(
        Bucket=bucket,
        Key=frame + ENDING,
        Body=json.dumps(content).encode(),
        ContentType="application/json",
        Metadata={name: identity[name] for name in SOURCE},
    )


def is_stranger(face: NamedFace) -> bool:
    """Whether a face is unknown, and surely a face."""
    return not face.is_known and face.probability >= LEAST_PROBABILITY


def embedding(content: bytes, number: int) -> tuple[str, int, Array]:
    """The model, its image size in px and the embedding of face `number` in an object.

    Raises StrangerError if it has none.
    """
    try:
        read = json.loads(content)
        row = np.frombuffer(base64.b64decode(read["faces"][number]["embedding"]), "<f4")
        return str(read["model"]), int(read["image-size"]), row.astype(np.float32)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise StrangerError(f"it has no embedding {number}: {error}") from error


def _text(row: Array | None) -> str:
    assert row is not None  # noqa: S101
    return base64.b64encode(np.asarray(row, "<f4").tobytes()).decode()
