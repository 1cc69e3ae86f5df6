"""The weights in SFace's ONNX file, without the onnx package.

Only initializers are read: the layers are known (networks.sface), and the file is pinned by its
SHA-256 (models.py), so this reader meets that one file. Field numbers are those of onnx.proto3 in
github.com/onnx/onnx.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

GRAPH, INITIALIZER = 7, 5
DIMENSIONS, KIND, FLOATS, NAME, RAW = 1, 2, 4, 8, 9
KINDS: dict[int, npt.DTypeLike] = {1: "<f4", 3: "i1", 7: "<i8"}
VARINT, BYTES, FIXED_64, FIXED_32 = 0, 2, 1, 5


def read(path: Path) -> dict[str, Array]:
    """The weights by name, with what is quantized in blocks turned back into float32."""
    tensors = dict(_tensors(path.read_bytes()))
    weights = {}
    for name, values in tensors.items():
        if name.endswith("_quantized"):
            base = name.removesuffix("_quantized")
            scales, zeros = tensors[f"{base}_scales"], tensors[f"{base}_zero_point"]
            weights[base] = _dequantized(values, scales, zeros)
        elif not name.endswith(("_scales", "_zero_point", "_shape")):
            weights[name] = values
    for name, values in weights.items():
        if f"{name}_shape" in tensors:
            weights[name] = values.reshape(tensors[f"{name}_shape"])
    return weights


def _dequantized(values: Array, scales: Array, zeros: Array) -> Array:
    """Each block along the last axis has a scale and a zero of its own."""
    blocks = values.reshape(*scales.shape, -1).astype(np.float32)
    blocks = (blocks - zeros[..., None]) * scales[..., None]
    return np.asarray(blocks.reshape(values.shape), np.float32)


def _tensors(model: bytes) -> Iterator[tuple[str, Array]]:
    for field, graph in _fields(model):
        if field == GRAPH:
            for part, tensor in _fields(graph):
                if part == INITIALIZER:
                    yield _tensor(tensor)


def _tensor(data: bytes) -> tuple[str, Array]:
    name, kind, dimensions, raw = "", 0, list[int](), b""
    for field, value in _fields(data):
        if field == DIMENSIONS:
            dimensions += [value] if isinstance(value, int) else list(_varints(value))
        elif field == KIND:
            kind = value
        elif field == NAME:
            name = value.decode()
        elif field in (FLOATS, RAW):
            raw += value
    return name, np.frombuffer(raw, KINDS[kind]).reshape(dimensions)


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """A message's fields: their numbers, and an int or bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        field, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = _varint(data, at)
            yield field, value
            continue
        size = {FIXED_64: 8, FIXED_32: 4}.get(wire, 0)
        if wire == BYTES:
            size, at = _varint(data, at)
        yield field, data[at : at + size]
        at += size


def _varints(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
