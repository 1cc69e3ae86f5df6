"""Frames to names: detector, embedder and gallery, loaded once and used for every frame."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import embed
import gallery
import numpy.typing as npt
import torch
from detect import Detector, Face
from gallery import Gallery
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
        self, model: str, models_dir: Path, gallery_path: Path, faces: str, threshold: float | None
    ) -> None:
        """Load everything.

        Raises ModelError, GalleryError, or SettingError for a `faces` that is not in FACES.
        """
        if faces not in FACES:
            raise SettingError(f"FACES is {faces!r}: use one of {', '.join(FACES)}.")
        self.faces = faces
        self.model = model
        path = model_path(model, models_dir)
        self.gallery: Gallery = gallery.load(gallery_path, model, threshold)
        self._detector = Detector()
        self._embedder = embed.load(model, path, self.gallery.image_size)

    @classmethod
    def from_environment(cls, folder: Path) -> Recognizer:
        """As the function's environment variables say; relative paths are below `folder`."""
        # More threads than vCPUs wait for each other. 1,769 MB of memory are one vCPU:
        # https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
        memory = int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769"))
        torch.set_num_threads(max(1, min(memory // 1769, os.cpu_count() or 1)))
        return cls(
            model=os.environ.get("MODEL", "facenet-vggface2"),
            models_dir=folder / os.environ.get("MODELS_DIR", "models"),
            gallery_path=folder / os.environ.get("GALLERY", "data.pt"),
            faces=os.environ.get("FACES", "largest"),
            threshold=_number(os.environ.get("THRESHOLD", "")),
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


def _number(text: str) -> float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise SettingError(f"THRESHOLD is {text!r}: use a number, or nothing.") from error
