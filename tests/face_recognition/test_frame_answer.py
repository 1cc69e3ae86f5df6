"""The answer that a frame's faces give, and the metadata that keeps it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, unquote

import pytest
from frame_answer import MAX_METADATA_BYTES, answer, known_faces, output_metadata, says

IDENTITY = {"model": "sface", "threshold": "0.6370", "selection": "known"}


def face(name: str, distance: float = 0.3, nearest: str = "") -> dict[str, Any]:
    return {
        "name": name,
        "distance": distance,
        "probability": 0.9999,
        "box": [1.0, 2.0, 3.0, 4.0],
        "nearest": nearest or name,
    }


def unknown(distance: float, nearest: str = "Ada") -> dict[str, Any]:
    return face("Unknown", distance, nearest)


def size(metadata: dict[str, str]) -> int:
    return sum(len(name) + len(value) for name, value in metadata.items())


@pytest.mark.parametrize(
    ("faces", "text", "index"),
    [
        ([], "No face", None),
        ([face("Ada")], "Ada", 0),
        ([unknown(0.8)], "Unknown", 0),
        ([unknown(0.8), face("Ada")], "Ada", 1),
        ([face("Ada", 0.6), face("Bob", 0.1)], "Ada", 0),  # the larger, even if Bob is surer
        ([unknown(0.8), unknown(0.7), unknown(0.9)], "Unknown", 1),
        ([unknown(0.8), unknown(0.7, "Ada"), unknown(0.7, "Bob")], "Unknown", 1),
    ],
)
@pytest.mark.parametrize("selection", ["known", "largest"])
def test_the_answer_is_the_largest_known_face_or_else_the_nearest_unknown_one(
    faces: list[dict[str, Any]], text: str, index: int | None, selection: str
) -> None:
    assert answer(faces, selection) == (text, None if index is None else faces[index])


def test_all_faces_are_one_name_a_line() -> None:
    faces = [unknown(0.8), face("Ada"), face("Bob")]

    assert answer(faces, "all") == ("Unknown\nAda\nBob", faces[1])
    assert answer([unknown(0.8), unknown(0.7)], "all")[1] == unknown(0.7)
    assert answer([], "all") == ("No face", None)


def test_the_metadata_are_those_of_the_answers_face() -> None:
    metadata = output_metadata(IDENTITY, [unknown(0.8), face("Ünal", 0.4)])

    assert metadata["name"] == quote("Ünal")
    assert metadata["distance"] == "0.4"
    assert metadata["probability"] == "0.9999"
    assert metadata["box"] == "[1.0,2.0,3.0,4.0]"
    assert "nearest" not in metadata


def test_an_unknown_face_keeps_the_nearest_person() -> None:
    metadata = output_metadata(IDENTITY, [unknown(0.8, "Ada"), unknown(0.7, "Ünal B")])

    assert metadata["name"] == "Unknown"
    assert metadata["distance"] == "0.7"
    assert unquote(metadata["nearest"]) == "Ünal B"
    assert metadata["nearest"].isascii()


def test_no_face_has_no_nearest_person() -> None:
    metadata = output_metadata(IDENTITY, [])

    assert metadata == {**IDENTITY, "name": "No%20face", "faces": "[]"}
    assert known_faces(metadata, IDENTITY) == []


@pytest.mark.parametrize("faces", [[], [face("Ünal")], [unknown(0.8), face("Ada"), unknown(0.9)]])
def test_faces_are_read_back_as_they_were(faces: list[dict[str, Any]]) -> None:
    metadata = output_metadata(IDENTITY, faces)

    assert known_faces(metadata, IDENTITY) == faces
    assert metadata["faces"].isascii()


def test_a_known_face_is_stored_without_repeating_its_name() -> None:
    stored = json.loads(output_metadata(IDENTITY, [face("Ada"), unknown(0.8, "Bob")])["faces"])

    assert [entry.get("nearest") for entry in stored] == [None, "Bob"]


@pytest.mark.parametrize("name", list(IDENTITY))
def test_faces_found_with_other_settings_are_not_used(name: str) -> None:
    metadata = output_metadata(IDENTITY, [face("Ada")])

    assert known_faces(metadata, {**IDENTITY, name: "other"}) is None
    assert known_faces({**metadata, name: "other"}, IDENTITY) is None
    del metadata[name]
    assert known_faces(metadata, IDENTITY) is None


def changed(**values: Any) -> str:
    return json.dumps([{**face("Ada"), **values}])


OLD = [{key: value for key, value in unknown(0.8).items() if key != "nearest"}]


@pytest.mark.parametrize(
    "faces",
    [
        "",
        "[",
        "{}",
        "null",
        "[null]",
        "[[]]",
        "[{}]",
        "[" * 1900,
        json.dumps(OLD),  # written before the nearest person was kept
        json.dumps([face("Ada"), *OLD]),
        changed(name=7),
        changed(name="\ud800"),
        changed(nearest=None),
        changed(nearest="\ud800"),
        changed(distance="0.1"),
        changed(distance=None),
        changed(distance=True),
        changed(distance=float("nan")),
        changed(probability=float("inf")),
        changed(probability=10**1000),
        changed(box=None),
        changed(box=[1, 2, 3]),
        changed(box=[1, 2, 3, 4, 5]),
        changed(box=[1, 2, 3, "4"]),
    ],
)
def test_damaged_faces_are_not_used(faces: str) -> None:
    assert known_faces({**IDENTITY, "faces": faces}, IDENTITY) is None


def test_missing_faces_are_not_used() -> None:
    assert known_faces(IDENTITY, IDENTITY) is None


def test_whole_numbers_are_numbers() -> None:
    faces = known_faces({**IDENTITY, "faces": changed(distance=0, box=[1, 2, 3, 4])}, IDENTITY)

    assert faces == [{**face("Ada"), "distance": 0, "box": [1, 2, 3, 4]}]


def test_an_output_says_the_answer_if_it_has_its_name() -> None:
    faces = [unknown(0.8), face("Ünal B")]
    metadata = output_metadata(IDENTITY, faces)

    assert says(metadata, faces, "known")
    assert not says({**metadata, "name": "Unknown"}, faces, "known")
    del metadata["name"]  # it did not fit, so the text alone repeats it
    assert says(metadata, faces, "known")


def test_metadata_omit_faces_that_do_not_fit() -> None:
    few, many = [face("Ada")] * 5, [face("Ada")] * 40

    assert "faces" in output_metadata(IDENTITY, few)
    long = output_metadata(IDENTITY, many)
    assert "faces" not in long
    assert (long["name"], long["distance"]) == ("Ada", "0.3")
    assert size(long) <= MAX_METADATA_BYTES


def test_metadata_omit_the_name_next_and_the_nearest_person_last() -> None:
    long_name = "Ü" * 340  # 2,040 bytes when percent-encoded

    named = output_metadata(IDENTITY, [face(long_name)])
    # two lines of text are too long, but the nearest person fits
    two = output_metadata(
        {**IDENTITY, "selection": "all"}, [unknown(0.8, "Ü" * 100), *[unknown(0.9)] * 200]
    )
    stranger = output_metadata(IDENTITY, [unknown(0.8, long_name)])

    assert "name" not in named
    assert "faces" not in named
    assert "name" not in two
    assert two["nearest"] == quote("Ü" * 100)
    assert "nearest" not in stranger
    for metadata in (named, two, stranger):
        assert metadata["distance"]
        assert size(metadata) <= MAX_METADATA_BYTES


def test_metadata_that_fit_exactly_are_complete() -> None:
    spare = MAX_METADATA_BYTES - size(output_metadata({**IDENTITY, "x": ""}, [face("Ada")]))

    exact = output_metadata({**IDENTITY, "x": "x" * spare}, [face("Ada")])
    over = output_metadata({**IDENTITY, "x": "x" * (spare + 1)}, [face("Ada")])

    assert size(exact) == MAX_METADATA_BYTES
    assert "faces" in exact
    assert "faces" not in over
    assert "name" in over
