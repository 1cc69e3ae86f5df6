"""Frames to names: detector, embedder and gallery, loaded once and used for every frame."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import embed
import gallery
import numpy.typing as npt
import torch
from detect import Detector, Face
from gallery import Gallery
from gallery_s3 import S3Gallery
from models import model_path

FACES = ("largest", "all")


@dataclass(frozen=True)
class NamedFace:
    """A face with its nearest person. `box` in px: x1, y1, x2, y2."""

    name: str
    distance: float
    probability: float
    box: tuple[float, float, float, float]

    def as_json(self) -> dict[str, Any]:
        """The face as the answer and the metadata have it; rounded, so that both agree."""
        return {
            "name": self.name,
            "distance": round(self.distance, 4),
            "probability": round(self.probability, 4),
            "box": [round(edge, 1) for edge in self.box],
        }


class SettingError(ValueError):
    """An environment variable of the function has a value it cannot have."""


class Recognizer:
    """Names the faces of images."""

    def __init__(
        self, model: str, model_path: Path, current_gallery: Callable[[], Gallery], faces: str
    ) -> None:
        """Load everything; `current_gallery` gives the gallery as it is whenever it is called.

        Raises GalleryError, or SettingError for a `faces` that is not in FACES.
        """
        if faces not in FACES:
            raise SettingError(f"FACES is {faces!r}: use one of {', '.join(FACES)}.")
        self.faces = faces
        self.model = model
        self._model_path = model_path
        self._current_gallery = current_gallery
        self.gallery = current_gallery()
        self._detector = Detector()
        self._embedder = embed.load(model, self._model_path, self.gallery.image_size)

    def refresh(self) -> None:
        """Take the gallery as it is now; raises GalleryError when it cannot be used."""
        size = self.gallery.image_size
        self.gallery = self._current_gallery()
        if self.gallery.image_size != size:
            self._embedder = embed.load(self.model, self._model_path, self.gallery.image_size)

    @classmethod
    def from_environment(cls, folder: Path, s3: Any = None) -> Recognizer:
        """As the function's environment variables say; relative paths are below `folder`.

        `s3` is the client that reads the gallery when GALLERY_URI names one in S3. Raises
        ModelError, GalleryError or SettingError.
        """
        # More threads than vCPUs wait for each other. 1,769 MB of memory are one vCPU:
        # https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
        memory = int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769"))
        torch.set_num_threads(max(1, min(memory // 1769, os.cpu_count() or 1)))
        model = os.environ.get("MODEL", "facenet-vggface2")
        return cls(
            model=model,
            model_path=model_path(model, folder / os.environ.get("MODELS_DIR", "models")),
            current_gallery=_gallery_from_environment(folder, model, s3),
            faces=os.environ.get("FACES", "largest"),
        )

    def name_faces(self, image: npt.NDArray[Any]) -> list[NamedFace]:
        """The faces of an H x W x 3 uint8 RGB image, largest first (one at most for "largest")."""
        detect = self._detector.all if self.faces == "all" else self._detector.largest
        found: list[Face] = detect(image)
        matches = [self.gallery.nearest(row) for row in self._embedder.embed(image, found)]
        return [
            NamedFace(match.name, match.distance, face.probability, face.box)
            for match, face in zip(matches, found, strict=True)
        ]


def _gallery_from_environment(folder: Path, model: str, s3: Any) -> Callable[[], Gallery]:
    threshold = _number("THRESHOLD")
    uri = os.environ.get("GALLERY_URI", "")
    if uri:

        def parse(data: bytes, name: str) -> Gallery:
            return gallery.parse(data, name, model, threshold)

        return S3Gallery(s3, uri, parse, _number("GALLERY_REFRESH_S") or 0).current
    loaded = gallery.load(folder / os.environ.get("GALLERY", "data.pt"), model, threshold)
    return lambda: loaded


def _number(name: str) -> float | None:
    text = os.environ.get(name, "")
    if not text:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise SettingError(f"{name} is {text!r}: use a number, or nothing.") from error
