"""Turn face crops into embeddings, with two models behind one interface."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torchvision_substitute
from detect import Face
from PIL import Image
from torch.nn.utils.fusion import fuse_conv_bn_eval

torchvision_substitute.install()
from facenet_pytorch import InceptionResnetV1  # noqa: E402 - needs the line above
from facenet_pytorch.models.inception_resnet_v1 import BasicConv2d  # noqa: E402
from packing import pack  # noqa: E402

Array = npt.NDArray[Any]


class Embedder(Protocol):
    """A model that turns the faces of an image into unit vectors."""

    def embed(self, image: Array, faces: Sequence[Face]) -> Array:
        """N x D unit vectors (float32) of N faces in an H x W x 3 uint8 RGB image."""


class FaceNet:
    """InceptionResnetV1 (Schroff et al. 2015, Szegedy et al. 2016), 512-d, on unaligned crops."""

    def __init__(self, path: Path, image_size: int) -> None:
        """Load the released state dict; faces are scaled to `image_size` px.

        The network is built on the meta device and then adopts the file's tensors. Initializing
        weights only to overwrite them would add 0.3 s to every cold start.
        """
        self._image_size = image_size
        # torch before 1.6 did not write zip files, and only those can be memory-mapped.
        state = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
        with torch.device("meta"):
            net = InceptionResnetV1(pretrained=None, classify=False)
        weights = {name: value for name, value in state.items() if not name.startswith("logits.")}
        net.load_state_dict(weights, assign=True)
        net.eval()
        for module in net.modules():
            if isinstance(module, BasicConv2d):
                module.conv = fuse_conv_bn_eval(module.conv, module.bn)
                module.bn = torch.nn.Identity()
        example = torch.zeros(1, 3, image_size, image_size)
        self._net = pack(net.to(memory_format=torch.channels_last), example)

    @torch.inference_mode()
    def embed(self, image: Array, faces: Sequence[Face]) -> Array:
        """See Embedder."""
        if not faces:
            return np.empty((0, 512), np.float32)
        crops = np.stack([self._crop(image, face) for face in faces])
        # fixed_image_standardization of facenet-pytorch
        x = torch.from_numpy((crops - np.float32(127.5)) / np.float32(128)).permute(0, 3, 1, 2)
        return np.asarray(self._net(x).numpy(), np.float32)

    def _crop(self, image: Array, face: Face) -> Array:
        """The face, cropped as by facenet-pytorch's extract_face with margin 0."""
        height, width = image.shape[:2]
        x1, y1, x2, y2 = face.box
        box = (int(max(x1, 0)), int(max(y1, 0)), int(min(x2, width)), int(min(y2, height)))
        side = (self._image_size, self._image_size)
        crop = Image.fromarray(image[box[1] : box[3], box[0] : box[2]])
        return np.asarray(crop.resize(side, Image.Resampling.BILINEAR), np.float32)


class SFace:
    """SFace (Zhong et al. 2021), 128-d, on crops aligned by five landmarks."""

    def __init__(self, path: Path) -> None:
        """Load the ONNX file with OpenCV."""
        self._net = cv2.FaceRecognizerSF.create(str(path), "")

    def embed(self, image: Array, faces: Sequence[Face]) -> Array:
        """See Embedder."""
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        rows = [self._feature(bgr, face) for face in faces]
        if not rows:
            return np.empty((0, 128), np.float32)
        matrix = np.stack(rows)
        return np.asarray(matrix / np.linalg.norm(matrix, axis=1, keepdims=True), np.float32)

    def _feature(self, bgr: Array, face: Face) -> Array:
        x1, y1, x2, y2 = face.box
        # OpenCV describes a face by x, y, width, height, five landmarks in our order, probability.
        row = [x1, y1, x2 - x1, y2 - y1, *face.landmarks.ravel(), face.probability]
        aligned = self._net.alignCrop(bgr, np.array(row, np.float32))
        return np.asarray(self._net.feature(aligned)[0]).copy()


def load(model: str, path: Path, image_size: int) -> Embedder:
    """Load the embedder `model` from its file; raises ValueError for an unknown model.

    `image_size` is in px; sface ignores it and uses 112.
    """
    if model == "facenet-vggface2":
        return FaceNet(path, image_size)
    if model == "sface":
        return SFace(path)
    raise ValueError(f"There is no model {model!r}.")
