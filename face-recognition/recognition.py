"""Name the faces in images with a detector, an embedder and a gallery that are loaded once."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import embed
import engine
import gallery
import numpy.typing as npt
from detect import Detector, Face, Search
from gallery import UNKNOWN, Gallery
from gallery_format import MAX_DISTANCE
from gallery_s3 import S3Gallery

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FACES = ("known", "largest", "all")
# Faces of a frame that are compared with the gallery, at most. A face takes 24 ms (sface) or 41 ms
# (facenet-vggface2 at 240 px) of one vCPU, so 8 frames of a crowd, which the splitter sends in one
# call, take at most 11 s of the function's 60 s. Faces behind 32 larger ones are small.
MAX_FACES = 32
# facenet-vggface2 took 100 MB more for 8 faces at once than for 2, 420 MB more for 32, and no less
# time per face than for 4.
EMBEDDED_AT_ONCE = 8


class SettingsError(ValueError):
    """An environment variable of the function has an invalid value."""


@dataclass(frozen=True)
class NamedFace:
    """A face and the person nearest to it; `box` is x1, y1, x2, y2 in px.

    `name` is UNKNOWN if `nearest` is too far away, else the same. `embedding` is a unit vector.
    """

    name: str
    distance: float
    probability: float
    box: tuple[float, float, float, float]
    nearest: str
    embedding: gallery.Array | None = field(default=None, compare=False, repr=False)

    @property
    def is_known(self) -> bool:
        """Whether the nearest person is within the threshold."""
        return self.name != UNKNOWN

    def as_json(self) -> dict[str, Any]:
        """The face as it appears in the answer and the metadata, rounded so that both agree."""
        return {
            "name": self.name,
            "distance": round(self.distance, 4),
            "probability": round(self.probability, 4),
            "box": [round(edge, 1) for edge in self.box],
            "nearest": self.nearest,
        }


def networks(folder: Path) -> engine.Load:
    """How networks are loaded from `folder`: with the engine and threads of this environment.

    Raises EngineError if there is no such engine.
    """
    # More threads than vCPUs slow each other down. Lambda gives one vCPU per 1,769 MB:
    # https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
    memory = int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769"))
    threads = max(1, min(memory // 1769, os.cpu_count() or 1))
    return engine.choose(engine_name(), folder, threads)


def engine_name() -> str:
    """What runs the networks: ENGINE in the environment, or ncnn."""
    return os.environ.get("ENGINE", "") or "ncnn"


class Recognizer:
    """Names the faces in images."""

    def __init__(
        self, model: str, load: engine.Load, current_gallery: Callable[[], Gallery], faces: str
    ) -> None:
        """Load everything, the networks with `load`.

        `current_gallery` returns the current gallery on each call. Raises EngineError,
        GalleryError, or SettingsError if `faces` is not in FACES.
        """
        if faces not in FACES:
            raise SettingsError(f"FACES is {faces!r}: use one of {', '.join(FACES)}.")
        self.faces = faces
        self.model = model
        self._load = load
        self._current_gallery = current_gallery
        self.gallery = current_gallery()
        self._detector = Detector(load)
        self._embedder = embed.load(model, load, self.gallery.image_size)

    def refresh(self) -> None:
        """Switch to the current gallery; raises GalleryError if it cannot be used."""
        size = self.gallery.image_size
        self.gallery = self._current_gallery()
        if self.gallery.image_size != size:
            self._embedder = embed.load(self.model, self._load, self.gallery.image_size)

    @classmethod
    def from_environment(cls, folder: Path, s3: S3Client | None = None) -> Recognizer:
        """Build a recognizer from environment variables; paths are relative to `folder`.

        `s3` reads the gallery if GALLERY_URI is set. Raises EngineError, GalleryError
        or SettingsError.
        """
        model = os.environ.get("MODEL", "facenet-vggface2")
        return cls(
            model=model,
            load=networks(folder / os.environ.get("MODELS_DIR", "models")),
            current_gallery=_gallery_from_environment(folder, model, s3),
            faces=os.environ.get("FACES", "known"),
        )

    def name_faces(self, image: npt.NDArray[Any], votes: bool = False) -> list[NamedFace]:
        """The faces in an H x W x 3 uint8 RGB image that decide its answer, largest first.

        For "largest", at most one; for "all", every face. For "known", the faces from the largest
        down to the first known one or, if the image is one of several that `votes` on a name,
        whoever is known: in both cases the MAX_FACES largest ones at most.
        """
        search = self._detector.search(image)
        if self.faces == "largest":
            return self._named(image, search.largest())
        if self.faces == "all":
            return self._named(image, search.all())
        if votes:
            return self._named(image, search.all()[:MAX_FACES])
        return self._named_until_known(image, search)

    def _named_until_known(self, image: npt.NDArray[Any], search: Search) -> list[NamedFace]:
        first = self._named(image, search.largest())
        if not first or first[0].is_known:
            return first
        # The whole pyramid may have a better box for the first face; that one is a new crop.
        done = {face.box: face for face in first}
        named = []
        for face in search.all()[:MAX_FACES]:
            named.append(done.get(face.box) or self._named(image, [face])[0])
            if named[-1].is_known:
                break
        return named or first

    def _named(self, image: npt.NDArray[Any], faces: list[Face]) -> list[NamedFace]:
        named = []
        for start in range(0, len(faces), EMBEDDED_AT_ONCE):
            some = faces[start : start + EMBEDDED_AT_ONCE]
            for face, row in zip(some, self._embedder.embed(image, some), strict=True):
                match = self.gallery.nearest(row)
                named.append(
                    NamedFace(
                        *(match.name, match.distance, face.probability, face.box, match.nearest),
                        embedding=row,
                    )
                )
        return named


def _gallery_from_environment(
    folder: Path, model: str, s3: S3Client | None
) -> Callable[[], Gallery]:
    threshold = _number("THRESHOLD", MAX_DISTANCE)
    uri = os.environ.get("GALLERY_URI", "")
    if uri:
        if s3 is None:
            raise SettingsError("GALLERY_URI is set, but no S3 client was given.")
        parse = partial(gallery.parse, model=model, threshold=threshold)
        return S3Gallery(s3, uri, parse, _number("GALLERY_REFRESH_S", 86400) or 0).current
    loaded = gallery.load(folder / os.environ.get("GALLERY", "data.pt"), model, threshold)
    return lambda: loaded


def _number(name: str, high: float) -> float | None:
    text = os.environ.get(name, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= high:  # NaN is not
        raise SettingsError(
            f"{name} is {text!r}: use a number from 0 to {high:g}, or leave it empty."
        )
    return value
