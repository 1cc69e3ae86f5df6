"""The layers of the five networks, from the weights that their authors released.

Each function takes weights by name, as the authors' own file has them, and returns a network's
ncnn files. A batch norm that follows a convolution is folded into it, as are the factors of
InceptionResnetV1's residual branches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from ncnn_files import INPUT, NetworkFile

Array = npt.NDArray[Any]
Weights = Mapping[str, Array]
Files = tuple[str, bytes]

BN_EPSILON = 0.001  # of InceptionResnetV1 and of SFace's convolutions
LAST_EPSILON = 1.9999999494757503e-05  # of SFace's two last batch norms


def p_net(w: Weights) -> Files:
    """P-Net: 3 x H x W to 6 x h x w, two logits (no face, face) and four of regression."""
    net = NetworkFile()
    x = _mtcnn_convolution(net, w, INPUT, "1")
    x = net.max_pool(x, 2, 2, ceil=True)
    x = _mtcnn_convolution(net, w, x, "2")
    x = _mtcnn_convolution(net, w, x, "3")
    weight = np.concatenate([w["conv4_1.weight"], w["conv4_2.weight"]])
    bias = np.concatenate([w["conv4_1.bias"], w["conv4_2.bias"]])
    return net.files(net.convolution(x, weight, bias))


def r_net(w: Weights) -> Files:
    """R-Net: 3 x 24 x 24 to 6 numbers, four of regression and two probabilities."""
    net = NetworkFile()
    x = net.max_pool(_mtcnn_convolution(net, w, INPUT, "1"), 3, 2, ceil=True)
    x = net.max_pool(_mtcnn_convolution(net, w, x, "2"), 3, 2, ceil=True)
    x = _mtcnn_convolution(net, w, x, "3")
    x = net.dense(x, _from_whc(w["dense4.weight"], 64, 3), w["dense4.bias"])
    x = net.prelu(x, w["prelu4.weight"])
    return _heads(net, w, x, ["dense5_2"], "dense5_1")


def o_net(w: Weights) -> Files:
    """O-Net: 3 x 48 x 48 to 16 numbers, four of regression, ten of landmarks, two probabilities."""
    net = NetworkFile()
    x = net.max_pool(_mtcnn_convolution(net, w, INPUT, "1"), 3, 2, ceil=True)
    x = net.max_pool(_mtcnn_convolution(net, w, x, "2"), 3, 2, ceil=True)
    x = net.max_pool(_mtcnn_convolution(net, w, x, "3"), 2, 2, ceil=True)
    x = _mtcnn_convolution(net, w, x, "4")
    x = net.dense(x, _from_whc(w["dense5.weight"], 128, 3), w["dense5.bias"])
    x = net.prelu(x, w["prelu5.weight"])
    return _heads(net, w, x, ["dense6_2", "dense6_3"], "dense6_1")


def _mtcnn_convolution(net: NetworkFile, w: Weights, x: str, number: str) -> str:
    x = net.convolution(x, w[f"conv{number}.weight"], w[f"conv{number}.bias"])
    return net.prelu(x, w[f"prelu{number}.weight"])


def _from_whc(weight: Array, channels: int, side: int) -> Array:
    """A dense layer for inputs read as C x H x W; facenet-pytorch's reads W x H x C."""
    shape = (len(weight), side, side, channels)
    return weight.reshape(shape).transpose(0, 3, 2, 1).reshape(len(weight), -1)


def _heads(net: NetworkFile, w: Weights, x: str, plain: list[str], softmax: str) -> Files:
    weight = np.concatenate([w[f"{name}.weight"] for name in plain])
    bias = np.concatenate([w[f"{name}.bias"] for name in plain])
    numbers = net.dense(x, weight, bias)
    logits = net.dense(x, w[f"{softmax}.weight"], w[f"{softmax}.bias"])
    return net.files(net.concat(numbers, net.softmax(logits)))


def inception_resnet_v1(w: Weights) -> Files:
    """InceptionResnetV1: 3 x S x S to 512 numbers, not yet of length 1."""
    net = _Inception(w)
    x = net.basic(INPUT, "conv2d_1a", stride=2)
    x = net.basic(x, "conv2d_2a")
    x = net.basic(x, "conv2d_2b", pad=True)
    x = net.max_pool(x, 3, 2, ceil=False)
    x = net.basic(x, "conv2d_3b")
    x = net.basic(x, "conv2d_4a")
    x = net.basic(x, "conv2d_4b", stride=2)
    for i in range(5):
        x = net.block(x, f"repeat_1.{i}", (1, 2, 3), 0.17)
    x = net.reduction(x, "mixed_6a", [(2,), (1, 1, 2)])
    for i in range(10):
        x = net.block(x, f"repeat_2.{i}", (1, 3), 0.10)
    x = net.reduction(x, "mixed_7a", [(1, 2), (1, 2), (1, 1, 2)])
    for i in range(5):
        x = net.block(x, f"repeat_3.{i}", (1, 3), 0.20)
    x = net.block(x, "block8", (1, 3), 1.0, relu=False)
    weight, bias = _folded(w["last_linear.weight"], w, "last_bn", BN_EPSILON)
    return net.files(net.dense(net.average_all(x), weight, bias))


class _Inception(NetworkFile):
    """The parts that InceptionResnetV1 repeats, named as in facenet-pytorch's module."""

    def __init__(self, w: Weights) -> None:
        super().__init__()
        self._w = w

    def basic(self, x: str, name: str, stride: int = 1, pad: bool = False) -> str:
        """BasicConv2d; `pad`: as much as keeps the size."""
        weight, bias = _folded(self._w[f"{name}.conv.weight"], self._w, f"{name}.bn", BN_EPSILON)
        padding = (weight.shape[2] // 2, weight.shape[3] // 2) if pad else (0, 0)
        return self.convolution(x, weight, bias, stride, padding, relu=True)

    def block(
        self, x: str, name: str, depths: tuple[int, ...], scale: float, relu: bool = True
    ) -> str:
        """Block35, Block17 or Block8: branches of these depths, added to x at `scale`."""
        branches = []
        for i, depth in enumerate(depths):
            names = [f"{name}.branch{i}{f'.{j}' if depth > 1 else ''}" for j in range(depth)]
            branch = x
            for part in names:
                branch = self.basic(branch, part, pad=True)
            branches.append(branch)
        weight, bias = self._w[f"{name}.conv2d.weight"], self._w[f"{name}.conv2d.bias"]
        summed = self.add(self.convolution(self.concat(*branches), weight * scale, bias * scale), x)
        return self.relu(summed) if relu else summed

    def reduction(self, x: str, name: str, strides: list[tuple[int, ...]]) -> str:
        """Mixed_6a or Mixed_7a: branches with these strides, and a max pool."""
        branches = []
        for i, steps in enumerate(strides):
            branch = x
            for j, stride in enumerate(steps):
                part = f"{name}.branch{i}{f'.{j}' if len(steps) > 1 else ''}"
                branch = self.basic(branch, part, stride, pad=stride == 1)
            branches.append(branch)
        return self.concat(*branches, self.max_pool(x, 3, 2, ceil=False))


def sface(w: Weights) -> Files:
    """SFace: 3 x 112 x 112 RGB from 0 to 255, as its ONNX file takes it, to 128 numbers.

    A MobileNet: after one convolution 13 pairs of a depthwise and a 1 x 1 convolution.
    """
    net = NetworkFile()
    factor = np.repeat(w["scalar_op2"], 3)
    x = net.scale(INPUT, factor, -factor * w["scalar_op1"])
    x = _sface_convolution(net, w, x, "conv_1", 1)
    for number in range(2, 15):
        stride = 2 if number in (3, 5, 7, 13) else 1
        x = _sface_convolution(net, w, x, f"conv_{number}_dw", stride)
        x = _sface_convolution(net, w, x, f"conv_{number}", 1)
    # A batch norm in front of a dense layer goes into its weights and bias.
    factor, offset = _batch_norm(_mxnet_batch_norm(w, "bn1"), "bn", LAST_EPSILON)
    weight = w["pre_fc1_weight"].reshape(128, factor.size, -1)
    bias = w["pre_fc1_bias"] + (weight.sum(axis=2, dtype=np.float64) @ offset)
    weight = (weight * factor[:, None]).reshape(128, -1)
    factor, offset = _batch_norm(_mxnet_batch_norm(w, "fc1"), "bn", LAST_EPSILON)
    return net.files(net.dense(x, weight * factor[:, None], bias * factor + offset))


def _sface_convolution(net: NetworkFile, w: Weights, x: str, name: str, stride: int) -> str:
    norm = _mxnet_batch_norm(w, f"{name}_batchnorm")
    weight, bias = _folded(w[f"{name}_conv2d_weight"], norm, "bn", BN_EPSILON)
    padding = weight.shape[2] // 2
    x = net.convolution(x, weight, bias, stride, (padding, padding))
    return net.prelu(x, w[f"{name}_relu_gamma"])


def _mxnet_batch_norm(w: Weights, name: str) -> Weights:
    """A batch norm of SFace's file, under the names that torch has for its parts."""
    parts = {
        "weight": "gamma",
        "bias": "beta",
        "running_mean": "moving_mean",
        "running_var": "moving_var",
    }
    return {f"bn.{ours}": w[f"{name}_{theirs}"] for ours, theirs in parts.items()}


def _batch_norm(w: Weights, name: str, epsilon: float) -> tuple[Array, Array]:
    """A batch norm as factor * x + offset."""
    mean, variance = w[f"{name}.running_mean"], w[f"{name}.running_var"].astype(np.float64)
    factor = w[f"{name}.weight"] / np.sqrt(variance + epsilon)
    return factor, w[f"{name}.bias"] - mean * factor


def _folded(weight: Array, w: Weights, name: str, epsilon: float) -> tuple[Array, Array]:
    """A convolution or dense layer without bias, and the batch norm after it, as one layer."""
    factor, offset = _batch_norm(w, name, epsilon)
    return weight * factor.reshape(-1, *[1] * (weight.ndim - 1)), offset
