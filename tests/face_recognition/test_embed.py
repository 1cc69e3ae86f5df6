"""Both models: the loaded and folded networks embed like the plain ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import embed
import export
import models
import numpy as np
import pytest
import recognition
import torch
from detect import Detector
from engine import Load
from facenet_pytorch import InceptionResnetV1
from facenet_pytorch.models.utils.detect_face import extract_face
from images import read_rgb
from PIL import Image


@pytest.fixture(scope="module")
def network() -> Any:
    """facenet-pytorch's network with random weights and statistics, as in the released file."""
    torch.manual_seed(7)
    net = InceptionResnetV1(pretrained=None, classify=True, num_classes=10).eval()
    for module in net.modules():
        if isinstance(module, (torch.nn.BatchNorm2d, torch.nn.BatchNorm1d)):
            mean, variance = module.running_mean, module.running_var
            assert mean is not None
            assert variance is not None
            mean.normal_(0, 0.1)
            variance.uniform_(0.5, 1.5)
    return net


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(True, id="current"),
        pytest.param(False, id="released", marks=pytest.mark.slow),
    ],
)
def facenet(
    network: Any, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> embed.Embedder:
    """Our embedder, from a state dict with a classifier in torch's current or released format."""
    folder = tmp_path_factory.mktemp("facenet")
    path = folder / "facenet-vggface2.pt"
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=request.param)
    with pytest.MonkeyPatch.context() as patch:
        model = replace(models.MODELS["facenet-vggface2"], size=path.stat().st_size)
        patch.setitem(models.MODELS, "facenet-vggface2", model)
        drawn = export.read_pictures(folder)
        export.export("facenet-vggface2", folder, folder / "networks", drawn)
    return embed.load("facenet-vggface2", recognition.networks(folder / "networks"), 160)


def test_facenet_embeds_like_the_eager_network(
    network: Any, facenet: embed.Embedder, sample_photos: Path, load_network: Load
) -> None:
    image = read_rgb((sample_photos / "obama.jpg").read_bytes())
    faces = Detector(load_network).largest(image)

    ours = facenet.embed(image, faces)
    crop = extract_face(Image.fromarray(image), np.array(faces[0].box), 160, 0)
    network.classify = False
    with torch.inference_mode():
        theirs = network(((crop - 127.5) / 128)[None]).numpy()

    assert ours.shape == (1, 512)
    assert np.linalg.norm(ours) == pytest.approx(1, abs=1e-5)
    assert float((ours @ theirs.T)[0, 0]) == pytest.approx(1, abs=1e-5)


def test_sface_tells_people_apart(load_network: Load, sample_photos: Path) -> None:
    embedder, detector = embed.load("sface", load_network, 0), Detector(load_network)

    def vector(name: str) -> Any:
        image = read_rgb((sample_photos / name).read_bytes())
        return embedder.embed(image, detector.largest(image))[0]

    obama, again, biden = vector("obama.jpg"), vector("obama2.jpg"), vector("biden.jpg")
    assert obama.shape == (128,)
    assert np.linalg.norm(obama) == pytest.approx(1, abs=1e-5)
    assert obama @ again > 0.6  # 0.363 or more means the same person
    assert obama @ biden < 0.2


def test_facenet_returns_no_embeddings_without_faces(facenet: embed.Embedder) -> None:
    assert facenet.embed(np.zeros((50, 50, 3), np.uint8), []).shape == (0, 512)


def test_sface_returns_no_embeddings_without_faces(load_network: Load) -> None:
    embedder = embed.load("sface", load_network, 160)

    assert embedder.embed(np.zeros((50, 50, 3), np.uint8), []).shape == (0, 128)


def test_an_unknown_model_is_refused(load_network: Load) -> None:
    with pytest.raises(ValueError, match="no model 'other'"):
        embed.load("other", load_network, 160)
