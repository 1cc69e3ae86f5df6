"""Models to measure: those that were fetched, and facenet-vggface2 with random weights if not.

Random weights cost the same as the released ones, which come from outside a package index.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "face-recognition"), str(ROOT)]

import export
import models
import torch
import torchvision_substitute

torchvision_substitute.install()
from facenet_pytorch import InceptionResnetV1

FETCHED, RANDOM = ROOT / "build" / "models", ROOT / "build" / "bench" / "models"
NETWORKS = ROOT / "build" / "bench" / "networks"


def prepare(model: str) -> tuple[Path, Path]:
    """The folder with the model's file, and that with its networks for ncnn, made if need be."""
    folder = FETCHED
    if model == "facenet-vggface2" and not (FETCHED / "facenet-vggface2.pt").is_file():
        folder = RANDOM
        _random_facenet(folder / "facenet-vggface2.pt")
    else:
        models.fetch(model, FETCHED)
    accept(model, folder)
    networks = NETWORKS / export.folder_name(model, folder)
    if not export.has_networks(networks, model):
        export.export(model, folder, networks, export.read_pictures(export.SAMPLES))
    return folder, networks


def accept(model: str, folder: Path) -> None:
    """Let this process take the file in `folder` as the model's, whatever its size."""
    size = (folder / models.MODELS[model].file).stat().st_size
    models.MODELS[model] = replace(models.MODELS[model], size=size)


def _random_facenet(path: Path) -> None:
    if path.is_file():
        return
    torch.manual_seed(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        InceptionResnetV1(pretrained=None, classify=True, num_classes=8631).state_dict(), path
    )
