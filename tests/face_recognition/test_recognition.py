"""Which faces of a frame are named, and what that costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gallery
import numpy as np
import pytest
import recognition
from detect import Detector, Face, Search
from engine import Load
from frame_answer import answer
from images import read_rgb
from PIL import Image, ImageFilter
from recognition import NamedFace, Recognizer, SettingsError

OBAMA, BIDEN, COLLINS = "Barack Obama", "Joe Biden", "Eileen Collins"
Frame = Callable[..., Any]


@pytest.fixture(scope="module")
def heads(sample_photos: Path, load_network: Load) -> dict[str, Image.Image]:
    """A square part of a photo around the face of each person, whose face is a third of it."""
    detector, found = Detector(load_network), {}
    for name, photo in ((OBAMA, "obama2.jpg"), (BIDEN, "biden.jpg"), (COLLINS, "astronaut.png")):
        image = read_rgb((sample_photos / photo).read_bytes())
        x1, y1, x2, y2 = detector.largest(image)[0].box
        side, x, y = max(x2 - x1, y2 - y1) * 3, (x1 + x2) / 2, (y1 + y2) / 2
        box = (int(x - side / 2), int(y - side / 2), int(x + side / 2), int(y + side / 2))
        found[name] = Image.fromarray(image).crop(box)
    return found


@pytest.fixture(scope="module")
def frame(heads: dict[str, Image.Image]) -> Frame:
    """frame((name, side, blur), ...) is a picture of heads of these sides in px, in a row."""

    def make(*people: tuple[str, int, float]) -> Any:
        canvas = Image.new("RGB", (sum(s for _, s, _ in people), max(s for _, s, _ in people)))
        left = 0
        for name, side, blur in people:
            head = heads[name].resize((side, side), Image.Resampling.LANCZOS)
            canvas.paste(head.filter(ImageFilter.GaussianBlur(blur)), (left, 0))
            left += side
        return np.array(canvas)

    return make


@pytest.fixture(scope="module")
def whole(data_pt: Path, load_network: Load) -> Recognizer:
    """A recognizer of all sample people."""
    people = gallery.load(data_pt, "sface")
    return Recognizer("sface", load_network, lambda: people, "known")


class Counting:
    """An embedder that remembers the boxes of the faces that it embeds."""

    def __init__(self, embedder: Any) -> None:
        self._embedder = embedder
        self.boxes: list[Any] = []

    def embed(self, image: Any, faces: Any) -> Any:
        self.boxes += [face.box for face in faces]
        return self._embedder.embed(image, faces)


@pytest.fixture
def knows(whole: Recognizer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Recognizer]:
    """knows(name, ..., faces="known") is the recognizer with a gallery of these people alone."""
    everybody, embedder = whole.gallery, whole._embedder

    def limit(*names: str, faces: str = "known") -> Recognizer:
        rows = [everybody.names.index(name) for name in names]
        few = replace(everybody, embeddings=everybody.embeddings[rows], names=names)
        monkeypatch.setattr(whole, "gallery", few)
        monkeypatch.setattr(whole, "faces", faces)
        monkeypatch.setattr(whole, "_embedder", Counting(embedder))
        return whole

    return limit


def names(faces: list[NamedFace]) -> list[str]:
    return [face.name for face in faces]


def text(recognizer: Recognizer, faces: list[NamedFace]) -> str:
    return answer([face.as_json() for face in faces], recognizer.faces)[0]


def embedded(recognizer: Recognizer) -> list[Any]:
    """The boxes that the recognizer embedded, each of which must be there once."""
    boxes: list[Any] = recognizer._embedder.boxes  # type: ignore[attr-defined]
    assert len(set(boxes)) == len(boxes)
    return boxes


@pytest.mark.parametrize("blur", [0, 4])
@pytest.mark.parametrize("stranger_first", [True, False])
def test_a_known_person_is_named_beside_a_larger_stranger(
    knows: Any, frame: Frame, blur: float, stranger_first: bool
) -> None:
    recognizer = knows(OBAMA)
    people = [(BIDEN, 600, blur), (OBAMA, 400, 0)]
    image = frame(*(people if stranger_first else people[::-1]))

    faces = recognizer.name_faces(image)

    assert names(faces) == ["Unknown", OBAMA]
    assert text(recognizer, faces) == OBAMA
    assert [face.nearest for face in faces] == [OBAMA, OBAMA]
    assert faces[0].distance > recognizer.gallery.threshold > faces[1].distance
    assert len(embedded(recognizer)) == 2


def test_the_largest_known_face_is_found_without_looking_further(
    knows: Any, frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizer = knows(OBAMA, BIDEN)
    levels: list[float] = []
    propose = Detector.propose

    def spy(detector: Detector, area: Any, scale: float) -> Any:
        levels.append(scale)
        return propose(detector, area, scale)

    monkeypatch.setattr(Detector, "propose", spy)
    image = frame((BIDEN, 600, 0), (OBAMA, 400, 0))

    faces = recognizer.name_faces(image)
    known = len(levels)
    recognizer._detector.largest(image)

    assert names(faces) == [BIDEN]
    assert len(embedded(recognizer)) == 1
    assert known == len(levels) - known  # as many levels as the search for the largest alone


def test_people_are_tried_in_order_of_size_until_one_is_known(knows: Any, frame: Frame) -> None:
    recognizer = knows(COLLINS)
    image = frame((OBAMA, 350, 0), (BIDEN, 600, 0), (COLLINS, 420, 0))

    faces = recognizer.name_faces(image)

    assert names(faces) == ["Unknown", COLLINS]  # and not Obama, whose face is smaller
    assert len(embedded(recognizer)) == 2


@pytest.mark.parametrize("order", [(OBAMA, BIDEN), (BIDEN, OBAMA)])
def test_of_two_faces_of_one_size_the_known_one_is_named(
    knows: Any, frame: Frame, order: tuple[str, str]
) -> None:
    recognizer = knows(OBAMA)

    faces = recognizer.name_faces(frame(*((name, 450, 0) for name in order)))

    assert text(recognizer, faces) == OBAMA
    assert names(faces)[-1] == OBAMA


def test_of_two_known_people_the_larger_is_named(knows: Any, frame: Frame) -> None:
    recognizer = knows(OBAMA, BIDEN)

    faces = recognizer.name_faces(frame((OBAMA, 400, 0), (BIDEN, 600, 0)))

    assert text(recognizer, faces) == BIDEN


def test_if_nobody_is_known_every_face_is_tried_once(knows: Any, sample_photos: Path) -> None:
    recognizer = knows(OBAMA)
    image = read_rgb((sample_photos / "t1.jpg").read_bytes())

    faces = recognizer.name_faces(image)

    assert names(faces) == ["Unknown"] * 6
    assert [face.nearest for face in faces] == [OBAMA] * 6
    assert np.allclose(
        [f.box for f in faces], [f.box for f in recognizer._detector.all(image)], atol=0.5
    )
    assert len(embedded(recognizer)) == 6
    assert text(recognizer, faces) == "Unknown"


def test_an_image_without_a_face_has_no_faces(knows: Any, sample_photos: Path) -> None:
    recognizer = knows(OBAMA)
    image = read_rgb((sample_photos / "coffee.png").read_bytes())

    assert recognizer.name_faces(image) == recognizer.name_faces(image, votes=True) == []
    assert embedded(recognizer) == []


def test_frames_that_vote_name_every_face(knows: Any, frame: Frame) -> None:
    recognizer = knows(OBAMA, BIDEN)

    faces = recognizer.name_faces(frame((BIDEN, 600, 0), (OBAMA, 400, 0)), votes=True)

    assert names(faces) == [BIDEN, OBAMA]
    assert len(embedded(recognizer)) == 2


@pytest.mark.parametrize("votes", [False, True])
def test_the_selection_largest_names_the_largest_face_whoever_it_is(
    knows: Any, frame: Frame, votes: bool
) -> None:
    recognizer = knows(OBAMA, faces="largest")

    faces = recognizer.name_faces(frame((BIDEN, 600, 0), (OBAMA, 400, 0)), votes)

    assert names(faces) == ["Unknown"]
    assert faces[0].nearest == OBAMA
    assert len(embedded(recognizer)) == 1


@pytest.mark.parametrize("votes", [False, True])
def test_the_selection_all_names_every_face(knows: Any, frame: Frame, votes: bool) -> None:
    recognizer = knows(OBAMA, BIDEN, faces="all")

    faces = recognizer.name_faces(frame((BIDEN, 600, 0), (OBAMA, 400, 0)), votes)

    assert names(faces) == [BIDEN, OBAMA]


@pytest.fixture(scope="module")
def crowd(heads: dict[str, Image.Image]) -> Any:
    """34 faces of a stranger, and one known face that is smaller than 31 and larger than 3."""
    canvas = Image.new("RGB", (7 * 150, 5 * 150))
    for cell in range(35):
        name, side = (OBAMA, 130) if cell == 17 else (BIDEN, 110 if cell in (0, 8, 34) else 150)
        canvas.paste(heads[name].resize((side, side)), (cell % 7 * 150, cell // 7 * 150))
    return np.array(canvas)


@pytest.mark.parametrize("limit", [31, 32])
def test_a_crowd_is_tried_up_to_a_limit(
    knows: Any, crowd: Any, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert recognition.MAX_FACES == 32
    monkeypatch.setattr(recognition, "MAX_FACES", limit)
    recognizer = knows(OBAMA)

    faces = recognizer.name_faces(crowd)

    assert names(faces) == ["Unknown"] * 31 + [OBAMA] * (limit - 31)
    assert len(embedded(recognizer)) == limit


def test_a_crowd_votes_up_to_a_limit_and_all_has_none(knows: Any, crowd: Any) -> None:
    voting = knows(OBAMA)
    assert len(voting.name_faces(crowd, votes=True)) == len(embedded(voting)) == 32

    everybody = knows(OBAMA, faces="all")
    faces = everybody.name_faces(crowd)

    assert len(faces) == len(embedded(everybody)) == 35
    assert names(faces).index(OBAMA) == 31
    assert names(faces).count(OBAMA) == 1


def test_a_better_box_replaces_the_first_one(
    knows: Any, frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizer = knows(OBAMA)
    image = frame((BIDEN, 600, 0), (OBAMA, 400, 0))
    everything = Search.all

    def moved(search: Search) -> list[Face]:
        first, *rest = everything(search)
        x1, y1, x2, y2 = first.box
        return [replace(first, box=(x1, y1, x2 + 2, y2)), *rest]

    monkeypatch.setattr(Search, "all", moved)
    faces = recognizer.name_faces(image)

    assert names(faces) == ["Unknown", OBAMA]
    assert len(embedded(recognizer)) == 3
    assert faces[0].box == embedded(recognizer)[1]


def test_a_face_that_only_the_first_search_finds_is_kept(
    knows: Any, frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizer = knows(OBAMA)
    monkeypatch.setattr(Search, "all", lambda search: [])

    faces = recognizer.name_faces(frame((BIDEN, 600, 0)))

    assert names(faces) == ["Unknown"]


@pytest.mark.parametrize("faces", ["", "Known", "some"])
def test_an_unknown_selection_is_refused(whole: Recognizer, faces: str) -> None:
    with pytest.raises(SettingsError, match=f"FACES is {faces!r}: use one of known, largest, all"):
        Recognizer("sface", whole._load, lambda: whole.gallery, faces)
