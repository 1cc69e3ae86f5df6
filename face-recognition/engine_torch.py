"""The networks in torch, as facenet-pytorch's documents use them, and SFace in OpenCV.

The reference: eager, without anything that would make it faster. Same door as engine.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torchvision_substitute
from models import model_path

torchvision_substitute.install()
from facenet_pytorch import MTCNN, InceptionResnetV1  # noqa: E402 - needs the line above
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet  # noqa: E402

Array = npt.NDArray[Any]


def load(name: str, folder: Path, threads: int) -> Callable[[Array], Array]:
    """The network of this name, from the model files in `folder`.

    P-, R- and O-Net are in the package itself. `threads` is for all networks: torch has one
    setting. Raises ModelError when the model's file is missing.
    """
    torch.set_num_threads(threads)
    if name == "p-net":
        return _called(_p_net(PNet()))
    if name == "r-net":
        return _called(RNet().eval())
    if name == "o-net":
        return _called(ONet().eval())
    if name == "facenet-vggface2":
        return _called(inception_resnet_v1(model_path(name, folder)))
    if name == "sface":
        return _sface(opencv_sface(folder))
    raise ValueError(f"There is no network {name!r}.")


def inception_resnet_v1(path: Path) -> Any:
    """The embedding network with the weights of a state dict, without its classifier."""
    net = InceptionResnetV1(pretrained=None, classify=False)
    state = torch.load(path, map_location="cpu", weights_only=True)
    net.load_state_dict({key: v for key, v in state.items() if not key.startswith("logits.")})
    return net.eval()


def find_faces(image: Any) -> tuple[Array, Array]:
    """The boxes (n x 4, px) and landmarks (n x 5 x 2) that MTCNN finds in a PIL image."""
    boxes, _, landmarks = MTCNN(keep_all=True).detect(image, landmarks=True)
    if boxes is None:
        return np.empty((0, 4)), np.empty((0, 5, 2))
    return boxes, landmarks


def _p_net(net: Any) -> Callable[[torch.Tensor], tuple[torch.Tensor, ...]]:
    """P-Net up to its two heads: its own forward gives probabilities, the search needs logits."""

    def forward(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = net.pool1(net.prelu1(net.conv1(x)))
        x = net.prelu3(net.conv3(net.prelu2(net.conv2(x))))
        return net.conv4_1(x), net.conv4_2(x)

    return forward


def _called(net: Any) -> Callable[[Array], Array]:
    """`net` on arrays; several outputs become one, side by side in the net's order."""

    @torch.inference_mode()
    def call(x: Array) -> Array:
        outputs = net(torch.from_numpy(x))
        joined = torch.cat(outputs, dim=1) if isinstance(outputs, tuple) else outputs
        return np.asarray(joined.numpy())

    return call


def opencv_sface(folder: Path) -> Any:
    """OpenCV's own SFace, which also aligns faces."""
    import cv2  # here alone: who embeds with facenet needs no OpenCV

    return cv2.FaceRecognizerSF.create(str(model_path("sface", folder)), "")


def _sface(net: Any) -> Callable[[Array], Array]:
    def call(x: Array) -> Array:
        bgr = x.transpose(0, 2, 3, 1)[..., ::-1]
        # feature() returns the memory it will use again
        return np.stack([net.feature(np.ascontiguousarray(one))[0].copy() for one in bgr])

    return call
