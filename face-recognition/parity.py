"""Whether a network says the same in two engines, on real images: the proof that export.py asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import align
import numpy as np
import numpy.typing as npt
from engine import Network
from PIL import Image

Array = npt.NDArray[Any]
Box = tuple[float, float, float, float]
Pair = tuple[Array, Array]

MIN_COSINE = {"facenet-vggface2": 0.9999, "sface": 0.999}
MAX_DIFFERENCE = 1e-3  # of P-, R- and O-Net's numbers: a thousandth of a box's side
CROPPED = {"r-net": (24,), "o-net": (48,), "facenet-vggface2": (160, 240)}  # px
PYRAMID = (0.6, 0.3, 0.15)  # scales at which P-Net is compared
MAX_SIDE = 1280  # px; larger pictures are shrunk, as agreement does not depend on their size
SQUARES = 4  # taken of each picture beside its faces


class ParityError(RuntimeError):
    """Two engines do not agree about a network; the message says which and by how much."""


class View:
    """A picture with its faces, as facenet-pytorch finds them, and some other squares."""

    def __init__(self, picture: Array, opencv: Any = None) -> None:
        """Find the faces of an H x W x 3 uint8 RGB picture; `opencv`: its FaceRecognizerSF."""
        import engine_torch  # 2 s

        self._opencv = opencv
        self.image = Image.fromarray(picture)
        self.image.thumbnail((MAX_SIDE, MAX_SIDE))
        width, height = self.image.size
        boxes, points = engine_torch.find_faces(self.image)
        self.boxes: list[Box] = []
        self.landmarks: list[Array] = []
        for box, landmarks in zip(boxes, points, strict=True):
            x1, y1, x2, y2 = map(float, box)
            self.boxes.append((max(0.0, x1), max(0.0, y1), min(width, x2), min(height, y2)))
            self.landmarks.append(landmarks)
        rng = np.random.default_rng(0)
        for _ in range(SQUARES):
            side = rng.uniform(0.2, 1.0) * min(width, height)
            x, y = rng.uniform(0, width - side), rng.uniform(0, height - side)
            self.boxes.append((x, y, x + side, y + side))
            self.landmarks.append(align.TARGET * side / align.SIDE + (x, y))

    def inputs(self, name: str) -> Iterator[Pair]:
        """What the network gets in both engines, by its own way of cutting faces out."""
        if name == "sface":
            pixels = np.asarray(self.image)
            for landmarks in self.landmarks:
                row = np.array([0, 0, 0, 0, *np.ravel(landmarks), 1], np.float32)
                theirs = np.asarray(self._opencv.alignCrop(pixels, row))
                yield _planar(align.align(pixels, landmarks)[None]), _planar(theirs[None])
        elif name == "p-net":
            for scale in PYRAMID:
                width, height = (max(12, int(side * scale)) for side in self.image.size)
                level = self.image.resize((width, height), Image.Resampling.BOX)
                yield _same(np.asarray(level)[None])
        else:
            for side in CROPPED[name]:
                yield _same(np.stack([self._crop(box, side) for box in self.boxes]))

    def _crop(self, box: Box, side: int) -> Array:
        return np.asarray(self.image.resize((side, side), Image.Resampling.BILINEAR, box=box))


def compare(name: str, ours: Network, theirs: Network, views: Sequence[View]) -> str:
    """A line on how far both agree; raises ParityError if that is not far enough."""
    pairs = [(ours(a), theirs(b)) for view in views for a, b in view.inputs(name)]
    if not pairs:
        raise ParityError(f"There is no picture to compare {name} on.")
    if name in MIN_COSINE:
        least, wanted = min(float(cosines(*pair).min()) for pair in pairs), MIN_COSINE[name]
        number = sum(len(a) for a, _ in pairs)
        if not least >= wanted:  # also when it is not a number
            raise ParityError(
                f"{name} does not agree with the original: the least cosine of {number} crops is "
                f"{least:.6f}, and {wanted} is needed."
            )
        return f"{name}: cosine at least {least:.7f} on {number} crops"
    most = max(float(np.abs(a - b).max()) for a, b in pairs)
    if not most <= MAX_DIFFERENCE:
        raise ParityError(
            f"{name} does not agree with the original: numbers differ by up to {most:.6f}, and "
            f"{MAX_DIFFERENCE} is allowed."
        )
    return f"{name}: numbers differ by at most {most:.1e} on {len(pairs)} inputs"


def cosines(a: Array, b: Array) -> Array:
    """The cosine of each row of `a` with the same row of `b`."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(axis=1) / lengths)


def _same(pixels: Array) -> Pair:
    x = _planar((pixels - np.float32(127.5)) / np.float32(128))
    return x, x


def _planar(pixels: Array) -> Array:
    """n x h x w x 3 as n x 3 x h x w, float32."""
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32)
