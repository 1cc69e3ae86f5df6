"""Galleries in both formats, the reasons for refusing one, and the nearest person."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import gallery
import gallery_format
import numpy as np
import pytest
import torch
from gallery import GalleryError, load

METADATA = {"model": "sface", "image_size": 112}


def write(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def vector(*values: float, length: int = 128) -> np.ndarray[Any, np.dtype[np.float32]]:
    """These values, padded with zeros to the length of an embedding (128 for sface)."""
    return np.array([*values, *[0] * (length - len(values))], np.float32)


def row(*values: float, length: int = 128) -> torch.Tensor:
    return torch.from_numpy(vector(*values, length=length))[None]


def test_the_nearest_person_is_named_with_the_cosine_distance(tmp_path: Path) -> None:
    path = write(tmp_path / "data.pt", [[row(2, 0), row(0, 1)], ["Ann", "Bob"], METADATA])
    people = load(path, "sface")

    match = people.nearest(vector(0.8, 0.6))

    assert (match.name, match.nearest) == ("Ann", "Ann")
    assert match.distance == pytest.approx(0.2)


def test_facenet_measures_euclidean_distance(tmp_path: Path) -> None:
    path = write(tmp_path / "data.pt", [[row(1, 0, length=512)], ["Ann"]])

    match = load(path, "facenet-vggface2", threshold=2).nearest(vector(0, 1, length=512))

    assert match.distance == pytest.approx(2**0.5)


def test_a_face_is_unknown_only_beyond_the_threshold(tmp_path: Path) -> None:
    path = write(tmp_path / "data.pt", [[row(1, 0)], ["Ann"], METADATA])
    probe = vector(0.5, 0.75**0.5)
    distance = load(path, "sface").nearest(probe).distance

    assert load(path, "sface", threshold=distance).nearest(probe).name == "Ann"
    beyond = load(path, "sface", threshold=distance - 1e-4).nearest(probe)
    assert beyond == gallery.Match("Unknown", distance, "Ann")


def test_names_are_read_in_one_form(tmp_path: Path) -> None:
    rows = [row(1, 0), row(0, 1)]
    path = write(tmp_path / "data.pt", [rows, ["A\u0308nn ", "Bob  Lee"], METADATA])

    assert load(path, "sface").names == ("\u00c4nn", "Bob Lee")


def test_any_known_model_is_accepted_without_one(tmp_path: Path) -> None:
    sface = write(tmp_path / "sface.pt", [[row(1, 0)], ["Ann"], METADATA])
    older = write(tmp_path / "older.pt", [[row(1, 0, length=512)], ["Ann"]])

    assert load(sface, None).model == "sface"
    assert load(older, None).model == "facenet-vggface2"
    for model in ("new", ["sface"], None):
        path = write(tmp_path / "new.pt", [[row(1, 0)], ["Ann"], {"model": model}])
        with pytest.raises(GalleryError, match="which is not one of facenet-vggface2, sface"):
            load(path, None)


def test_the_callers_threshold_precedes_the_gallerys_and_the_models(tmp_path: Path) -> None:
    own = write(tmp_path / "own.pt", [[row(1, 0)], ["Ann"], {**METADATA, "threshold": 0.1}])
    none = write(tmp_path / "none.pt", [[row(1, 0)], ["Ann"], METADATA])

    assert load(own, "sface", threshold=0.4).threshold == 0.4
    assert load(own, "sface").threshold == 0.1
    assert load(none, "sface").threshold == pytest.approx(0.637)


def test_a_real_gallery_in_the_old_format_is_facenet_at_240_px(shared_media: Path) -> None:
    people = load(shared_media / "gallery-facenet-vggface2-240.pt", "facenet-vggface2")

    assert people.embeddings.shape == (79, 512)
    assert len(set(people.names)) == 8
    assert people.image_size == 240
    for name, embedding in zip(people.names, people.embeddings, strict=True):
        match = people.nearest(embedding)
        assert match.name == name
        assert match.distance == pytest.approx(0, abs=1e-3)


def test_a_gallery_of_another_model_is_refused(tmp_path: Path) -> None:
    older = write(tmp_path / "data.pt", [[row(1, 0)], ["Ann"]])

    with pytest.raises(GalleryError, match="made with the model facenet-vggface2, but sface is in"):
        load(older, "sface")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"not": "a list"}, "is not a gallery"),
        ([[row(1, 0)]], "is not a gallery"),
        ([[], [], METADATA], "is empty"),
        ([[row(1, 0)], ["Ann", "Bob"], METADATA], "1 embeddings for 2 names"),
        ([[row(1, 0)], [7], METADATA], "not text"),
        ([[row(1, 0)], [""], METADATA], "the name '' shows nothing"),
        ([[row(1, 0)], [" "], METADATA], "the name ' ' shows nothing"),
        ([[row(1), row(1)], ["Ann", "unknown"], METADATA], "'unknown' is reserved"),
        ([[row(1)], ["No  Face"], METADATA], "'No  Face' is reserved"),
        ([[row(1)], ["\x1b[31mAnn"], METADATA], r"'\\x1b\[31mAnn' has a control character"),
        ([[row(1)], ["Ann\nBob"], METADATA], r"'Ann\\nBob' has a control character"),
        ([[row(1)], ["\u202eAnn"], METADATA], "changes the reading direction"),
        ([[[1.0, 0.0]], ["Ann"], METADATA], "not a float tensor"),
        ([[torch.tensor([1, 0])], ["Ann"], METADATA], "torch.LongStorage"),
        ([[row(1), row(1, length=129)], ["Ann", "Bob"], METADATA], "different lengths"),
        (
            [[row(1, length=512)], ["Ann"], METADATA],
            "of 512 dimensions, but the model .* makes 128",
        ),
        ([[row(1)], ["J\udcf6rg"], METADATA], "the name is not UTF-8"),
        ([[row(1)], ["Ann"], {**METADATA, "image_size": "large"}], "image_size 'large'"),
        ([[row(1)], ["Ann"], {**METADATA, "image_size": None}], "image_size None"),
        ([[row(1)], ["Ann"], {**METADATA, "image_size": -1}], "image_size -1"),
        ([[row(1)], ["Ann"], {**METADATA, "image_size": True}], "image_size True"),
        ([[row(1)], ["Ann"], {**METADATA, "image_size": 112.5}], "image_size 112.5"),
        ([[row(1)], ["Ann"], {**METADATA, "image_size": 1025}], "image_size 1025"),
        ([[row(1)], ["Ann"], {**METADATA, "image_size": 10**400}], "image_size 1000"),
        ([[row(1)], ["Ann"], {**METADATA, "threshold": 1e9}], "threshold 1000000000.0: use a num"),
        ([[row(1)], ["Ann"], {**METADATA, "threshold": 2.001}], "threshold 2.001"),
        ([[row(1)], ["Ann"], {**METADATA, "threshold": -0.1}], "threshold -0.1"),
        ([[row(1)], ["Ann"], {**METADATA, "threshold": True}], "threshold True"),
        ([[row(1)], ["Ann"], {**METADATA, "threshold": 10**400}], "threshold 1000.*from 0 to 2"),
        ([[row(1)], ["Ann"], {**METADATA, "threshold": float("inf")}], "threshold inf"),
        ([[row(1)], ["Ann"], {**METADATA, "threshold": "lax"}], "threshold 'lax'"),
        ([[row(1)], ["Ann"], {**METADATA, "threshold": [1]}], "threshold"),
        ([[row(1)], ["Ann"], {**METADATA, "threshold": float("nan")}], "threshold nan"),
        ([[row(float("nan"), 0)], ["Ann"], METADATA], "not finite"),
        ([[row(0, 0)], ["Ann"], METADATA], "zero"),
        ([[row(1, 0)], ["Ann"], {}], "does not name the model"),
    ],
)
def test_a_bad_gallery_is_refused_with_its_reason(
    tmp_path: Path, content: Any, reason: str
) -> None:
    path = write(tmp_path / "data.pt", content)

    with pytest.raises(GalleryError, match=reason) as error:
        load(path, "sface")
    assert str(path) in str(error.value)


@pytest.mark.parametrize("threshold", [0, 0.25, 1, 2])
def test_a_threshold_may_be_any_distance(tmp_path: Path, threshold: float) -> None:
    path = write(tmp_path / "a.pt", [[row(1)], ["Ann"], {**METADATA, "threshold": threshold}])

    assert load(path, "sface").threshold == threshold


@pytest.mark.parametrize("threshold", [1e9, float("nan"), True])
def test_no_gallery_is_saved_with_a_threshold_that_is_no_distance(
    tmp_path: Path, threshold: float
) -> None:
    with pytest.raises(gallery_format.GalleryFormatError, match="threshold"):
        gallery.save(tmp_path / "data.pt", [vector(1)], ["Ann"], "sface", 112, threshold)

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("model", ["sface", "facenet-vggface2"])
def test_a_distance_is_from_0_to_2_however_cosines_are_rounded(model: str) -> None:
    cosines = np.array([-1.0000002, -1, 0, 1, 1.0000002], np.float32)

    distances = gallery.distance(model, cosines)

    assert distances.dtype == np.float32
    assert distances[[0, 1]].tolist() == [2, 2]
    assert distances[[3, 4]].tolist() == [0, 0]


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match=r"enroll\.py PEOPLE_DIR"):
        load(tmp_path / "data.pt", "sface")


class Evil:
    """Calls a function when it is unpickled."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("/tmp/evil-gallery"),))


@pytest.mark.parametrize("content", [b"", b"hello", "evil"])
def test_a_file_that_is_not_a_gallery_is_not_executed(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "data.pt"
    if content == "evil":
        torch.save([[Evil()], ["Ann"]], path)
    else:
        path.write_bytes(content)

    with pytest.raises(GalleryError, match="is not a gallery"):
        load(path, "sface")
    assert not Path("/tmp/evil-gallery").exists()


def test_a_saved_gallery_can_be_loaded(tmp_path: Path) -> None:
    path = tmp_path / "data.pt"
    gallery.save(path, [vector(0.6, 0.8)], ["Änn"], "sface", 112)

    people = load(path, "sface")

    assert people.names == ("Änn",)
    assert np.allclose(people.embeddings, [vector(0.6, 0.8)])
    assert list(tmp_path.iterdir()) == [path]


def test_a_saved_gallery_may_have_a_threshold(tmp_path: Path) -> None:
    gallery.save(tmp_path / "data.pt", [vector(1)], ["Ann"], "sface", 112, 0.25)

    assert load(tmp_path / "data.pt", "sface").threshold == 0.25


@pytest.mark.parametrize("kind", ["folder", "FIFO"])
def test_what_is_not_a_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "data.pt"
    path.mkdir() if kind == "folder" else os.mkfifo(path)

    with pytest.raises(GalleryError, match="it is not a regular file"):
        load(path, "sface")


def test_a_gallery_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "data.pt").mkdir()

    with pytest.raises(OSError, match=r"data\.pt"):
        gallery.save(tmp_path / "data.pt", [vector(1)], ["Ann"], "sface", 112)

    assert [path.name for path in tmp_path.iterdir()] == ["data.pt"]
