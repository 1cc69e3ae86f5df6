"""The one door to the neural networks: a network's name to a function on float32 arrays.

Two ways in. ncnn, the default: 26 MB, imported in 10 ms; it reads the files that export.py made
from facenet-pytorch's weights. torch, the way of facenet-pytorch's own documents
(engine_torch.py): slower to start and to run, and the reference of tests and benchmarks.

| network | input, n x 3 x H x W | output, n x |
|---|---|---|
| p-net | RGB as (value - 127.5) / 128, any size from 12 px | 6 x h x w: two logits (no face, face), 4 of regression |
| r-net | the same, 24 x 24 | 6: 4 of regression, two probabilities |
| o-net | the same, 48 x 48 | 16: 4 of regression, 10 of landmarks, two probabilities |
| facenet-vggface2 | the same, any size from 75 px | 512, of any length |
| sface | RGB from 0 to 255, 112 x 112 | 128, of any length |
"""  # noqa: E501 - a table

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Network = Callable[[Array], Array]
Load = Callable[[str], Network]

ENGINES = ("ncnn", "torch")
DETECTION = ("p-net", "r-net", "o-net")
MANIFEST = "networks.json"  # each network's files and their sizes, as export.py wrote them

TILE = 50  # cells of P-Net's output in each direction: the fastest of 32 to 100


class EngineError(RuntimeError):
    """A network cannot be loaded or run; the message says which and why."""


@dataclass(frozen=True)
class Shape:
    """What goes in and out: `side` in px is exact, or the least if `any_size`; `outputs` a row."""

    side: int
    any_size: bool
    outputs: int


SHAPES = {
    "p-net": Shape(12, True, 6),
    "r-net": Shape(24, False, 6),
    "o-net": Shape(48, False, 16),
    "facenet-vggface2": Shape(75, True, 512),
    "sface": Shape(112, False, 128),
}


def choose(engine: str, folder: Path, threads: int) -> Load:
    """How networks are loaded: from files in `folder`, with this many threads for each.

    Raises EngineError for an unknown engine; what is returned raises it for a network that is
    unknown, missing or damaged.
    """
    if engine == "torch":
        import engine_torch  # 2 s and 200 MB: only for whoever asks for it

        return lambda name: Checked(name, engine_torch.load(name, folder, threads))
    if engine != "ncnn":
        raise EngineError(f"There is no engine {engine!r}: use one of {', '.join(ENGINES)}.")

    def load(name: str) -> Network:
        network: Network = NcnnNetwork(name, folder, threads)
        return Checked(name, InTiles(network) if name == "p-net" else network)

    return load


class Checked:
    """A network that refuses what it was not made for, and answers that cannot be right.

    ncnn checks no shapes: a wrong input gives a plausible answer and no error.
    """

    def __init__(self, name: str, network: Network) -> None:
        """`network` is the one of this name."""
        self._name, self._network, self._shape = name, network, _shape(name)

    def __call__(self, x: Array) -> Array:
        """The network's output for n x 3 x H x W; raises EngineError."""
        shape, sides = self._shape, x.shape[2:]
        fits = x.ndim == 4 and x.shape[1] == 3 and x.dtype == np.float32
        if shape.any_size:
            fits = fits and min(sides) >= shape.side
        else:
            fits = fits and sides == (shape.side, shape.side)
        if not fits:
            raise EngineError(f"{self._name} cannot take {x.dtype} of shape {x.shape}.")
        if not len(x):
            return np.empty((0, shape.outputs), np.float32)
        y = self._network(x)
        if y.shape[:2] != (len(x), shape.outputs) or y.dtype != np.float32:
            raise EngineError(f"{self._name} gave {y.dtype} of shape {y.shape} for {x.shape}.")
        return y


class NcnnNetwork:
    """A network in ncnn. It keeps no state between calls, so threads may share it."""

    def __init__(self, name: str, folder: Path, threads: int) -> None:
        """Load the network from its two files in `folder`; raises EngineError."""
        import ncnn  # 10 ms, and not there at all where torch was chosen

        self._name = name
        param, weights = _files(name, folder)
        self._net, self._mat = ncnn.Net(), ncnn.Mat
        options = self._net.opt
        options.num_threads = threads
        # On by default: 16 bits are faster on some processors and give other numbers there.
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
        options.use_bf16_packed = options.use_bf16_storage = False
        self._check(self._net.load_param(str(param)), f"loading {param}")
        self._check(self._net.load_model(str(weights)), f"loading {weights}")

    def __call__(self, x: Array) -> Array:
        """See the module's table. ncnn has no batches, and larger ones gain nothing per image."""
        return np.stack([self._one(image) for image in np.ascontiguousarray(x)])

    def _one(self, image: Array) -> Array:
        extractor = self._net.create_extractor()
        # A Mat of an array is a view. A first layer that works in place would write to the caller's
        # array, and past it, as ncnn pads each channel in its own memory.
        self._check(extractor.input("in0", self._mat(image).clone()), "its input")
        code, output = extractor.extract("out0")
        self._check(code, "running it")
        return np.array(output)

    def _check(self, code: int, what: str) -> None:
        if code != 0:
            raise EngineError(f"{self._name}: ncnn failed at {what} with code {code}.")


class InTiles:
    """P-Net over tiles of a picture, which gives what it gives for the whole picture.

    A tile's layers stay in the processor's cache: 0.4 of the time at 433 x 769 px, and no more
    memory for a larger picture.
    """

    def __init__(self, network: Network) -> None:
        """`network` is P-Net: output cell i looks at pixels 2 * i to 2 * i + 11."""
        self._network = network

    def __call__(self, x: Array) -> Array:
        """See the module's table."""
        # Max pooling rounds up, so the last cell of an odd size looks at 11 pixels.
        height, width = ((side - 1) // 2 - 4 for side in x.shape[2:])
        out = np.empty((len(x), SHAPES["p-net"].outputs, height, width), np.float32)
        for top, bottom in _parts(height):
            for left, right in _parts(width):
                tile = x[:, :, 2 * top : 2 * bottom + 10, 2 * left : 2 * right + 10]
                answer, place = self._network(tile), out[:, :, top:bottom, left:right]
                if answer.shape != place.shape:
                    raise EngineError(f"p-net gave {answer.shape} for a tile of {tile.shape}.")
                place[:] = answer
        return out


def _parts(size: int) -> list[tuple[int, int]]:
    """`size` cells in equal parts of about TILE."""
    number = max(1, round(size / TILE))
    edges = [size * i // number for i in range(number + 1)]
    return list(itertools.pairwise(edges))


def _shape(name: str) -> Shape:
    if name not in SHAPES:
        raise EngineError(f"There is no network {name!r}: use one of {', '.join(SHAPES)}.")
    return SHAPES[name]


def _files(name: str, folder: Path) -> tuple[Path, Path]:
    """The network's two files, which must have the sizes that export.py wrote down.

    ncnn reads a file that is too long, and one of another network, without an error.
    """
    _shape(name)
    paths = folder / f"{name}.param", folder / f"{name}.bin"
    again = f"run python3 face-recognition/export.py MODEL --output {folder}"
    try:
        sizes = json.loads((folder / MANIFEST).read_text())[name]
        found = [path.stat().st_size for path in paths]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise EngineError(f"The network {name} is missing ({error}): {again}.") from error
    if found != sizes:
        raise EngineError(
            f"{paths[0]} and {paths[1].name} have {found} bytes, not {sizes}: {again}."
        )
    return paths
