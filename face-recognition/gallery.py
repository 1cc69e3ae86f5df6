"""Load and check a gallery of known people, and find the person nearest to an embedding."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gallery_format
import numpy as np
import numpy.typing as npt
from person_name import name_fault, normalized

Array = npt.NDArray[np.float32]

UNKNOWN = "Unknown"
NO_FACE = "No face"

# The older format has two elements and does not name its model.
OLD_FORMAT_METADATA: dict[str, Any] = {"model": "facenet-vggface2", "image_size": 240}

# Euclidean distance of unit vectors for facenet-vggface2. In a gallery of 79 photos of 8 people
# (240 px crops), photos of one person are 0.35 apart on average, the nearest two people are 0.72
# apart, and two people are 1.27 apart on average. The usual threshold for verifying one claimed
# person, 1.1, would match strangers to someone among many.
# SFace: a cosine similarity of 0.363 or more means the same person (OpenCV Zoo).
THRESHOLDS = {"facenet-vggface2": 0.9, "sface": 1 - 0.363}
METRICS = {"facenet-vggface2": "euclidean", "sface": "cosine"}
LENGTHS = {"facenet-vggface2": 512, "sface": 128}  # dimensions of an embedding


class GalleryError(RuntimeError):
    """The gallery cannot be used; the message names the file, the reason and what to do."""


@dataclass(frozen=True)
class Match:
    """The nearest known person, or UNKNOWN if the distance exceeds the threshold.

    `nearest` is that person in either case.
    """

    name: str
    distance: float
    nearest: str


@dataclass(frozen=True)
class Gallery:
    """Known people: N x D unit vectors, one row per photo, and the N names."""

    embeddings: Array
    names: tuple[str, ...]
    model: str
    image_size: int
    threshold: float
    digest: str

    def nearest(self, embedding: Array) -> Match:
        """The person nearest to a unit vector of length D.

        The distance is Euclidean for facenet-vggface2 and 1 - cosine for sface.
        """
        distances = distance(self.model, self.embeddings @ embedding)
        index = int(np.argmin(distances))
        nearest, person = float(distances[index]), self.names[index]
        return Match(person if nearest <= self.threshold else UNKNOWN, nearest, person)


def distance(model: str, cosine: Array) -> Array:
    """Convert cosines of unit vectors to the model's kind of distance, from 0 to 2."""
    cosine = np.clip(cosine, -1, 1)  # rounding may take it further
    if model == "sface":
        return np.asarray(1 - cosine, np.float32)
    return np.asarray(np.sqrt(2 - 2 * cosine), np.float32)


def load(path: Path, model: str | None, threshold: float | None = None) -> Gallery:
    """Load the gallery in the file `path`; raises GalleryError like `parse`."""
    try:
        # opening a FIFO would wait forever
        data = path.read_bytes() if path.is_file() or not path.exists() else None
    except OSError as error:
        raise GalleryError(
            f"Cannot read the gallery {path}: {error}. Make one: "
            "python3 face-recognition/enroll.py PEOPLE_DIR --output data.pt"
        ) from error
    if data is None:
        raise GalleryError(f"{path} is not a gallery: it is not a regular file.")
    return parse(data, str(path), model, threshold)


def parse(data: bytes, path: str, model: str | None, threshold: float | None = None) -> Gallery:
    """Parse the gallery in `data`, read from `path`; it must have been made with `model`.

    None accepts any model that is known. `threshold` overrides the gallery's threshold, which
    overrides the model's. Names are normalized (person_name.py). Raises GalleryError.
    """
    try:
        content = gallery_format.read(data)
    except gallery_format.GalleryFormatError as error:
        raise GalleryError(f"{path} is not a gallery: {error}.") from error
    metadata = OLD_FORMAT_METADATA if content.metadata is None else content.metadata
    if "model" not in metadata:
        raise GalleryError(f"The gallery {path} does not name the model that made it.")
    if model is None and metadata["model"] in tuple(THRESHOLDS):
        model = str(metadata["model"])
    if model is None:
        raise GalleryError(
            f"The gallery {path} was made with the model {metadata['model']}, which is not one of "
            f"{', '.join(THRESHOLDS)}."
        )
    if metadata["model"] != model:
        raise GalleryError(
            f"The gallery {path} was made with the model {metadata['model']}, but {model} is in "
            f"use: enroll again with --model {model}, or set MODEL={metadata['model']}."
        )
    names, embeddings = _checked(path, content.matrix, content.names, LENGTHS.get(model))
    own = metadata.get("threshold", THRESHOLDS.get(model, 1.0))
    size = metadata.get("image_size", OLD_FORMAT_METADATA["image_size"])
    return Gallery(
        embeddings=embeddings,
        names=names,
        model=model,
        image_size=int(size),
        threshold=float(own if threshold is None else threshold),
        digest=hashlib.sha256(data).hexdigest()[:16],
    )


def _checked(
    path: str, matrix: Array, names: list[str], length: int | None
) -> tuple[tuple[str, ...], Array]:
    """The names and the unit vectors; `length` is the dimension of a row, None if unknown.

    `matrix` becomes the unit vectors: a large gallery has no room for a copy.
    """
    if not names:
        raise GalleryError(f"The gallery {path} is empty: enroll at least one person.")
    if len(matrix) != len(names):
        raise GalleryError(
            f"The gallery {path} has {len(matrix)} embeddings for {len(names)} names."
        )
    forms = {}
    for name in dict.fromkeys(names):
        if fault := name_fault(name):
            raise GalleryError(f"{path}: {fault}: remove that person where the gallery was made.")
        forms[name] = normalized(name)
    if length is not None and matrix.shape[1] != length:
        raise GalleryError(
            f"The gallery {path} has embeddings of {matrix.shape[1]} dimensions, but the model in "
            f"use makes {length}: enroll again."
        )
    norms = np.sqrt(np.einsum("ij,ij->i", matrix, matrix))[:, None]
    if not np.isfinite(norms).all() or not (norms > 0).all():
        raise GalleryError(f"The gallery {path} has an embedding that is zero or not finite.")
    matrix /= norms
    return tuple(map(forms.__getitem__, names)), matrix


def save(
    path: Path,
    embeddings: Sequence[Array],
    names: Sequence[str],
    model: str,
    image_size: int,
    threshold: float | None = None,
) -> None:
    """Write a gallery atomically: readers of `path` see either the old one or the new one.

    Without a `threshold`, the model's own applies when it is loaded. Raises OSError, leaving
    nothing behind, if it cannot be written, and GalleryFormatError for a bad threshold or size.
    """
    metadata: dict[str, str | int | float] = {"model": model, "image_size": image_size}
    if threshold is not None:
        metadata["threshold"] = threshold
    gallery_format.check_metadata(metadata)
    data = gallery_format.write(np.stack(embeddings), names, metadata)
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def is_utf8(name: str) -> bool:
    """Whether a name can be encoded; a file name with undecodable bytes cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
