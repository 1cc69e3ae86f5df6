"""Networks for ncnn: made from the released weights, and kept only if they agree with them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import align
import cv2
import engine
import export
import models
import networks
import numpy as np
import onnx_weights
import parity
import pytest
import torch
from facenet_pytorch import InceptionResnetV1
from images import read_rgb


@pytest.fixture(scope="module")
def pictures(sample_photos: Path) -> list[Any]:
    return [read_rgb((sample_photos / name).read_bytes()) for name in ("obama.jpg", "t1.jpg")]


@pytest.fixture(scope="module")
def random_facenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model file like the released one: random weights, a classifier, and
    statistics of the batch norms as training leaves them."""
    torch.manual_seed(3)
    net = InceptionResnetV1(pretrained=None, classify=True, num_classes=10)
    net.train()
    with torch.no_grad():
        for _ in range(6):
            net(torch.randn(4, 3, 128, 128) / 2 + torch.randn(4, 3, 1, 1) / 3)
    folder = tmp_path_factory.mktemp("facenet")
    torch.save(net.state_dict(), folder / "facenet-vggface2.pt")
    return folder


@pytest.fixture
def facenet_dir(random_facenet: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder, taken for the released file's."""
    size = (random_facenet / "facenet-vggface2.pt").stat().st_size
    model = dataclasses.replace(models.MODELS["facenet-vggface2"], size=size)
    monkeypatch.setitem(models.MODELS, model.name, model)
    return random_facenet


@pytest.mark.slow
def test_facenet_agrees_with_torch(facenet_dir: Path, pictures: list[Any], tmp_path: Path) -> None:
    found = export.export("facenet-vggface2", facenet_dir, tmp_path / "made", pictures)

    assert [line.split(":")[0] for line in found] == ["p-net", "r-net", "o-net", "facenet-vggface2"]
    # THEN no folder is left beside, and batches and other sizes agree, too
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(m, s, (1, 3, 141, 141)) for m, s in ((0, 1), (-1, 0.1), (1, 2))])
    x = x.astype(np.float32)
    ours = engine.choose("ncnn", tmp_path / "made", 1)("facenet-vggface2")(x)
    theirs = engine.choose("torch", facenet_dir, 1)("facenet-vggface2")(x)
    ours /= np.linalg.norm(ours, axis=1, keepdims=True)
    assert parity.cosines(ours, theirs).min() > 0.99999
    # Random weights tell hardly anything apart: what is different between the rows must agree.
    ours, theirs = ours - ours.mean(axis=0), theirs - theirs.mean(axis=0)
    assert parity.cosines(ours, theirs).min() > 0.99999


def test_sface_agrees_with_opencv(models_dir: Path, pictures: list[Any], tmp_path: Path) -> None:
    found = export.export("sface", models_dir, tmp_path / "made", pictures)

    assert found[-1].startswith("sface: cosine at least 0.999")
    made = {path.name for path in (tmp_path / "made").iterdir()}
    names = ("p-net", "r-net", "o-net", "sface")
    assert made == {"networks.json", *(f"{n}.{kind}" for n in names for kind in ("param", "bin"))}


@pytest.mark.parametrize("wrong", ["r-net", "sface"])
def test_a_network_that_does_not_agree_is_not_written(
    wrong: str, models_dir: Path, pictures: list[Any], tmp_path: Path
) -> None:
    # GIVEN a folder of an earlier build, and weights that are a little off
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "earlier").touch()

    def convert(name: str, models_dir: Path) -> networks.Files:
        param, weights = export.convert(name, models_dir)
        if name == wrong:
            values = np.frombuffer(weights, "<f4").copy()
            values[2000:3000] *= 1.5
            weights = values.tobytes()
        return param, weights

    with pytest.raises(parity.ParityError, match=f"{wrong} does not agree"):
        export.export("sface", models_dir, folder, pictures, convert)

    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    assert [path.name for path in folder.iterdir()] == ["earlier"]


def test_numbers_that_are_none_do_not_agree(pictures: list[Any]) -> None:
    def nothing(x: Any) -> Any:
        return np.full((len(x), 512), np.nan, np.float32)

    view = parity.View(pictures[0])
    with pytest.raises(parity.ParityError, match="cosine"):
        parity.compare("facenet-vggface2", nothing, nothing, [view])


def test_the_folder_is_named_after_what_it_is_made_from(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = export.folder_name("sface", models_dir)
    assert name == export.folder_name("sface", models_dir)

    monkeypatch.setattr(export, "PACKAGES", ("facenet-pytorch",))
    assert export.folder_name("sface", models_dir) != name


def test_a_missing_model_says_how_to_fetch_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["sface", "--models-dir", str(tmp_path), "--output", str(tmp_path / "made")]

    assert export.main(options) == 1
    assert "models.py fetch sface" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


def test_without_photos_pictures_are_drawn(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("not an image")
    assert {picture.shape for picture in export.read_pictures(tmp_path)} == {(384, 512, 3)}
    assert len(export.read_pictures(tmp_path / "missing")) == 3


def test_the_weights_of_sface_are_those_that_onnx_describes(models_dir: Path) -> None:
    weights = onnx_weights.read(models_dir / "sface.onnx")

    assert weights["conv_1_conv2d_weight"].shape == (32, 3, 3, 3)
    assert weights["pre_fc1_weight"].shape == (128, 50176)
    assert all(values.dtype == np.float32 for values in weights.values())
    assert all(np.isfinite(values).all() for values in weights.values())


@pytest.mark.parametrize("angle", [0, 20, -75, 180])
def test_align_does_what_opencv_does(angle: int, pictures: list[Any], models_dir: Path) -> None:
    # GIVEN five landmarks at an angle, some of the face outside the picture
    net: Any = cv2.FaceRecognizerSF.create(str(models_dir / "sface.onnx"), "")
    turn = np.deg2rad(angle)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    for center in ((300.0, 200.0), (20.0, 30.0)):
        landmarks = (align.TARGET - 56) @ rotation.T * 1.3 + center

        theirs = net.alignCrop(
            pictures[0], np.array([0, 0, 0, 0, *landmarks.ravel(), 1], np.float32)
        )

        difference = np.abs(align.align(pictures[0], landmarks).astype(int) - theirs)
        assert difference.mean() < 0.1
        assert difference.max() <= 8


def test_landmarks_in_one_point_are_no_error(pictures: list[Any]) -> None:
    assert align.align(pictures[0], np.full((5, 2), 50.0)).shape == (112, 112, 3)
