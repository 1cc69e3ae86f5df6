#!/usr/bin/env python3
"""Make the networks' files for ncnn from facenet-pytorch's weights, and prove that they agree.

Runs while the image or a demo is built, never in Lambda. Each network is made aside, loaded from
there and compared with the original in torch (SFace: in OpenCV) on real images (parity.py). Only
when all of them agree are they put in place.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import networks
import numpy as np
import numpy.typing as npt
import onnx_weights
import parity
from command_line import Parser, run
from engine import DETECTION, MANIFEST, EngineError, choose
from images import UnreadableImage, read_rgb
from models import DEFAULT_DIR, DEMO_DIR, MODELS, ModelError, installed_path, model_path

Array = npt.NDArray[Any]
Convert = Callable[[str, Path], networks.Files]

HERE = Path(__file__).resolve().parent
SAMPLES = HERE.parent / "build" / "samples" / "photos"
NETWORKS = HERE.parent / "build" / "networks"  # where `make demo` puts them
# What the files are made from and judged by, beside the weights.
SOURCES = (
    *("align", "engine", "engine_torch", "export", "ncnn_files", "networks", "onnx_weights"),
    "parity",
)
PACKAGES = ("facenet-pytorch", "ncnn")
MAKERS = {
    "p-net": networks.p_net,
    "r-net": networks.r_net,
    "o-net": networks.o_net,
    "facenet-vggface2": networks.inception_resnet_v1,
}


class ExportError(RuntimeError):
    """The networks cannot be made; the message says what is missing."""


def folder_name(model: str, models_dir: Path = DEFAULT_DIR) -> str:
    """A name for the folder of a model's networks: the hash of all that they are made from.

    Needs no torch. Raises ModelError or ExportError when something of that is missing.
    """
    digest = hashlib.sha256()
    for package in PACKAGES:
        digest.update(f"{package} {importlib.metadata.version(package)}\n".encode())
    paths = [HERE / f"{name}.py" for name in SOURCES]
    for path in [*paths, *(weights_path(name, models_dir) for name in (*DETECTION, model))]:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"{model}-{digest.hexdigest()[:16]}"


def installed(model: str) -> Path:
    """The folder with a model's networks: DEFAULT_DIR, or where `make demo` put them.

    Raises ExportError with the command that makes them, and ModelError as `installed_path` does.
    """
    if has_networks(DEFAULT_DIR, model):
        return DEFAULT_DIR
    source = installed_path(model)
    demo = NETWORKS / folder_name(model, source.parent)
    if has_networks(demo, model):
        return demo
    raise ExportError(
        f"The networks for {model} are neither in {DEFAULT_DIR} nor in {NETWORKS}: run "
        f"python3 {HERE.name}/export.py {model}."
    )


def has_networks(folder: Path, model: str) -> bool:
    """Whether the list of networks in `folder` names the model."""
    try:
        return model in json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return False


def weights_path(name: str, models_dir: Path) -> Path:
    """The file with a network's released weights; facenet-pytorch is found without importing it."""
    if name not in DETECTION:
        return model_path(name, models_dir)
    spec = importlib.util.find_spec("facenet_pytorch")
    if spec is None or spec.origin is None:
        raise ExportError("facenet-pytorch is missing: install its pinned requirements first.")
    return Path(spec.origin).parent / "data" / f"{name.replace('-', '')}.pt"


def convert(name: str, models_dir: Path) -> networks.Files:
    """A network's ncnn files."""
    path = weights_path(name, models_dir)
    if name == "sface":
        return networks.sface(onnx_weights.read(path))
    import torch

    state = torch.load(path, map_location="cpu", weights_only=True)
    return MAKERS[name]({key: value.numpy() for key, value in state.items()})


def export(
    model: str,
    models_dir: Path,
    folder: Path,
    pictures: Sequence[Array],
    convert: Convert = convert,
) -> list[str]:
    """Put MTCNN's networks and the model's into `folder`; returns what was found, in lines.

    `pictures`: H x W x 3 uint8 RGB. Raises ParityError for a network that does not agree with the
    original, and leaves `folder` as it was.
    """
    import engine_torch  # with torch, 2 s; not for who only asks for the folder's name

    original = choose("torch", models_dir, 1)
    opencv = engine_torch.opencv_sface(models_dir) if model == "sface" else None
    views = [parity.View(picture, opencv) for picture in pictures]
    folder.parent.mkdir(parents=True, exist_ok=True)
    found, sizes = [], {}
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        made = Path(temporary) / "networks"
        made.mkdir()
        for name in (*DETECTION, model):
            param, weights = convert(name, models_dir)
            (made / f"{name}.param").write_text(param)
            (made / f"{name}.bin").write_bytes(weights)
            sizes[name] = [len(param.encode()), len(weights)]
            (made / MANIFEST).write_text(json.dumps(sizes, indent=2) + "\n")
            ours = choose("ncnn", made, 1)(name)
            found.append(parity.compare(name, ours, original(name), views))
        _put(made, folder)
    return found


def _put(made: Path, folder: Path) -> None:
    """Move the files to `folder`, which may also hold the models, the list of files last."""
    if not folder.exists():
        made.rename(folder)
        return
    (folder / MANIFEST).unlink(missing_ok=True)
    for path in sorted(made.iterdir(), key=lambda path: path.name == MANIFEST):
        path.replace(folder / path.name)


def read_pictures(folder: Path) -> list[Array]:
    """The images in a folder, or drawn ones where there is none: noise, smooth at several scales.

    The same network gives the same numbers for any picture, but one with a face is the better test.
    """
    pictures = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        try:
            pictures.append(read_rgb(path.read_bytes()))
        except (OSError, UnreadableImage):
            continue
    return pictures or [_drawn(seed) for seed in range(3)]


def _drawn(seed: int) -> Array:
    rng = np.random.default_rng(seed)
    total = np.zeros((384, 512, 3))
    for cell in (2, 8, 32, 128):
        noise = rng.uniform(-1, 1, (384 // cell, 512 // cell, 3))
        total += np.kron(noise, np.ones((cell, cell, 1)))
    return np.asarray(np.clip(127 + 50 * total, 0, 255), np.uint8)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    command = Parser(
        description="Make and check the networks' files: python3 face-recognition/export.py sface"
    )
    command.add_argument("model", choices=list(MODELS))
    place = command.add_mutually_exclusive_group()
    place.add_argument(
        "--output", type=Path, default=DEFAULT_DIR, help="default: models/ next to this script"
    )
    place.add_argument(
        "--cache",
        type=Path,
        help="keep them in a folder in this one, named after what they are made from, and print "
        "its path; nothing is made if it is there",
    )
    command.add_argument(
        "--models-dir",
        type=Path,
        help="where the model's file is; default: models/ next to this script, then "
        f"{DEMO_DIR.relative_to(HERE.parent)}, where make demo puts it",
    )
    command.add_argument("--photos", type=Path, default=SAMPLES, help="default: the samples")
    options = command.parse_args(argv)
    try:
        models_dir = options.models_dir or installed_path(options.model).parent
        output = options.output
        if options.cache:
            output = options.cache / folder_name(options.model, models_dir)
            print(output, flush=True)
            if has_networks(output, options.model):
                return 0
        found = export(options.model, models_dir, output, read_pictures(options.photos))
    except (EngineError, ExportError, ModelError, OSError, parity.ParityError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print("\n".join(found), file=sys.stderr)
    return 0


if __name__ == "__main__":
    run(main)
