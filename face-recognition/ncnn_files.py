"""Write a network as ncnn reads it: a text of layers (.param) and their weights (.bin).

The format: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure. NumPy alone is
needed, so the files can be made from any source of weights.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

MAGIC = "7767517"  # ncnn's first line, the version of the format
FLOAT32 = b"\0\0\0\0"  # the tag in front of weights that says how they are stored
INPUT, OUTPUT = "in0", "out0"


@dataclass
class _Layer:
    kind: str
    inputs: list[str]
    outputs: list[str]
    settings: dict[int, int | float]
    weights: list[bytes] = field(default_factory=list)


class NetworkFile:
    """Layers in the order in which they run. Each method adds one and returns its output's name."""

    def __init__(self) -> None:
        """Start with the input, INPUT."""
        self._layers = [_Layer("Input", [], [INPUT], {})]

    def convolution(
        self,
        x: str,
        weight: Array,
        bias: Array,
        stride: int = 1,
        padding: tuple[int, int] = (0, 0),
        relu: bool = False,
    ) -> str:
        """`weight` as torch has it: outputs x inputs x height x width; padding (height, width).

        One input channel for each output is a depthwise convolution if there are more outputs.
        """
        outputs, inputs, height, width = weight.shape
        settings: dict[int, int | float] = {0: outputs, 1: width, 11: height}
        settings |= {3: stride, 4: padding[1], 14: padding[0], 5: 1, 6: weight.size}
        depthwise = inputs == 1 and outputs > 1
        if depthwise:
            settings[7] = outputs
        if relu:
            settings[9] = 1
        kind = "ConvolutionDepthWise" if depthwise else "Convolution"
        return self._add(kind, [x], settings, [FLOAT32, _bytes(weight), _bytes(bias)])

    def dense(self, x: str, weight: Array, bias: Array) -> str:
        """`weight`: outputs x inputs; an input of three dimensions is read as C x H x W."""
        settings: dict[int, int | float] = {0: len(weight), 1: 1, 2: weight.size}
        return self._add("InnerProduct", [x], settings, [FLOAT32, _bytes(weight), _bytes(bias)])

    def prelu(self, x: str, slope: Array) -> str:
        """Each channel's own slope below zero."""
        return self._add("PReLU", [x], {0: slope.size}, [_bytes(slope)])

    def scale(self, x: str, factor: Array, offset: Array) -> str:
        """factor * x + offset, for each channel."""
        settings: dict[int, int | float] = {0: factor.size, 1: 1}
        return self._add("Scale", [x], settings, [_bytes(factor), _bytes(offset)])

    def max_pool(self, x: str, size: int, stride: int, ceil: bool) -> str:
        """`ceil`: a window that starts within the input counts, as in torch's ceil_mode."""
        return self._add("Pooling", [x], {0: 0, 1: size, 2: stride, 5: 0 if ceil else 1})

    def average_all(self, x: str) -> str:
        """The mean of each channel."""
        return self._add("Pooling", [x], {0: 1, 4: 1})

    def add(self, x: str, y: str) -> str:
        """x + y."""
        return self._add("BinaryOp", [x, y], {0: 0})

    def relu(self, x: str) -> str:
        """Negative values become zero."""
        return self._add("ReLU", [x], {})

    def softmax(self, x: str) -> str:
        """Over the channels."""
        return self._add("Softmax", [x], {0: 0, 1: 1})

    def concat(self, *xs: str) -> str:
        """The channels of all, in order."""
        return self._add("Concat", list(xs), {0: 0})

    def files(self, result: str) -> tuple[str, bytes]:
        """The text of .param and the bytes of .bin; `result` becomes OUTPUT."""
        layers = _with_splits(self._layers)
        lines = []
        for number, layer in enumerate(layers):
            inputs = [OUTPUT if name == result else name for name in layer.inputs]
            outputs = [OUTPUT if name == result else name for name in layer.outputs]
            words = [layer.kind, f"{layer.kind.lower()}_{number}", len(inputs), len(outputs)]
            words += [*inputs, *outputs, *(f"{key}={v}" for key, v in layer.settings.items())]
            lines.append(" ".join(map(str, words)))
        blobs = sum(len(layer.outputs) for layer in layers)
        text = "\n".join([MAGIC, f"{len(layers)} {blobs}", *lines]) + "\n"
        return text, b"".join(part for layer in layers for part in layer.weights)

    def _add(
        self,
        kind: str,
        inputs: list[str],
        settings: dict[int, int | float],
        weights: list[bytes] | None = None,
    ) -> str:
        name = f"b{len(self._layers)}"
        self._layers.append(_Layer(kind, inputs, [name], settings, weights or []))
        return name


def _with_splits(layers: list[_Layer]) -> list[_Layer]:
    """The layers with a Split after each output that several read: ncnn allows one reader."""
    readers = Counter(name for layer in layers for name in layer.inputs)
    taken: Counter[str] = Counter()
    made = []
    for layer in layers:
        inputs = []
        for name in layer.inputs:
            inputs.append(f"{name}_{taken[name]}" if readers[name] > 1 else name)
            taken[name] += 1
        made.append(_Layer(layer.kind, inputs, layer.outputs, layer.settings, layer.weights))
        for name in layer.outputs:
            if readers[name] > 1:
                copies = [f"{name}_{i}" for i in range(readers[name])]
                made.append(_Layer("Split", [name], copies, {}))
    return made


def _bytes(values: Array) -> bytes:
    return np.ascontiguousarray(values, "<f4").tobytes()
