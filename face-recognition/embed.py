"""Turn face crops into embeddings, with two models behind one interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from align import align
from detect import Face
from engine import Load, Network
from PIL import Image

Array = npt.NDArray[Any]


class Embedder(Protocol):
    """A model that turns the faces of an image into unit vectors."""

    def embed(self, image: Array, faces: Sequence[Face]) -> Array:
        """N x D unit vectors (float32) of N faces in an H x W x 3 uint8 RGB image."""


class FaceNet:
    """InceptionResnetV1 (Schroff et al. 2015, Szegedy et al. 2016), 512-d, on unaligned crops."""

    def __init__(self, net: Network, image_size: int) -> None:
        """`net` embeds faces that are scaled to `image_size` px."""
        self._net, self._image_size = net, image_size

    def embed(self, image: Array, faces: Sequence[Face]) -> Array:
        """See Embedder."""
        if not faces:
            return np.empty((0, 512), np.float32)
        crops = _planar([self._crop(image, face) for face in faces])
        # fixed_image_standardization of facenet-pytorch
        return _of_length_1(self._net((crops - np.float32(127.5)) / np.float32(128)))

    def _crop(self, image: Array, face: Face) -> Array:
        """The face, cropped as by facenet-pytorch's extract_face with margin 0."""
        height, width = image.shape[:2]
        x1, y1, x2, y2 = face.box
        box = (int(max(x1, 0)), int(max(y1, 0)), int(min(x2, width)), int(min(y2, height)))
        side = (self._image_size, self._image_size)
        crop = Image.fromarray(image[box[1] : box[3], box[0] : box[2]])
        return np.asarray(crop.resize(side, Image.Resampling.BILINEAR))


class SFace:
    """SFace (Zhong et al. 2021), 128-d, on crops aligned by five landmarks."""

    def __init__(self, net: Network) -> None:
        """`net` embeds aligned faces."""
        self._net = net

    def embed(self, image: Array, faces: Sequence[Face]) -> Array:
        """See Embedder."""
        if not faces:
            return np.empty((0, 128), np.float32)
        return _of_length_1(self._net(_planar([align(image, face.landmarks) for face in faces])))


def load(model: str, load_network: Load, image_size: int) -> Embedder:
    """Load the embedder `model`; raises EngineError, or ValueError for an unknown model.

    `image_size` is in px; sface ignores it and uses 112.
    """
    if model == "facenet-vggface2":
        return FaceNet(load_network(model), image_size)
    if model == "sface":
        return SFace(load_network(model))
    raise ValueError(f"There is no model {model!r}.")


def _planar(crops: Sequence[Array]) -> Array:
    """H x W x 3 crops of one size as one n x 3 x H x W float32 array."""
    return np.ascontiguousarray(np.stack(crops).transpose(0, 3, 1, 2), np.float32)


def _of_length_1(rows: Array) -> Array:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)
