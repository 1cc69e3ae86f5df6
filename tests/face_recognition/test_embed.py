"""Both models: loaded and folded as they are, they embed as the plain networks do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import embed
import numpy as np
import pytest
import torch
from detect import Detector
from facenet_pytorch import InceptionResnetV1
from facenet_pytorch.models.utils.detect_face import extract_face
from images import read_rgb
from PIL import Image


@pytest.fixture(scope="module")
def network() -> Any:
    """facenet-pytorch's network with random weights and statistics, as the released file has."""
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


@pytest.mark.parametrize("is_zip", [True, False])
def test_facenet_embeds_as_the_eager_network_does(
    network: Any, sample_photos: Path, tmp_path: Path, is_zip: bool
) -> None:
    # GIVEN a state dict with a classifier, in the format of today's torch or of the released file
    path = tmp_path / "facenet-vggface2.pt"
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=is_zip)
    image = read_rgb((sample_photos / "obama.jpg").read_bytes())
    faces = Detector().largest(image)

    # WHEN both embed the same face
    ours = embed.load("facenet-vggface2", path, 160).embed(image, faces)
    crop = extract_face(Image.fromarray(image), np.array(faces[0].box), 160, 0)
    network.classify = False
    with torch.inference_mode():
        theirs = network(((crop - 127.5) / 128)[None]).numpy()

    assert ours.shape == (1, 512)
    assert np.linalg.norm(ours) == pytest.approx(1, abs=1e-5)
    assert float((ours @ theirs.T)[0, 0]) == pytest.approx(1, abs=1e-5)


def test_sface_tells_people_apart(models_dir: Path, sample_photos: Path) -> None:
    embedder, detector = embed.load("sface", models_dir / "sface.onnx", 0), Detector()

    def vector(name: str) -> Any:
        image = read_rgb((sample_photos / name).read_bytes())
        return embedder.embed(image, detector.largest(image))[0]

    obama, again, biden = vector("obama.jpg"), vector("obama2.jpg"), vector("biden.jpg")
    assert obama.shape == (128,)
    assert np.linalg.norm(obama) == pytest.approx(1, abs=1e-5)
    assert obama @ again > 0.6  # 0.363 and more is the same person
    assert obama @ biden < 0.2


@pytest.mark.parametrize("model", ["sface", "facenet-vggface2"])
def test_no_faces_are_no_embeddings(
    model: str, models_dir: Path, network: Any, tmp_path: Path
) -> None:
    path = models_dir / "sface.onnx"
    if model == "facenet-vggface2":
        path = tmp_path / "weights.pt"
        torch.save(network.state_dict(), path)

    vectors = embed.load(model, path, 160).embed(np.zeros((50, 50, 3), np.uint8), [])

    assert len(vectors) == 0


def test_another_model_is_refused() -> None:
    with pytest.raises(ValueError, match="no model 'other'"):
        embed.load("other", Path("x"), 160)
