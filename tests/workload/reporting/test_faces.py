"""What the metadata of a text say about its answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from workload.reporting.faces import (
    Person,
    answer_face,
    faces_in,
    nearest_in,
    people_in,
    spoken,
)
from workload.reporting.sightings import of_output
from workload.reporting.verdict import Verdict
from workload.running.outputs import Output
from workload.running.run import VideoRun

STRANGER = {"name": "Unknown", "distance": 0.79, "box": [0, 0, 90, 90], "nearest": "Bob"}
ANN = {"name": "Ann", "distance": 0.37, "box": [100, 0, 150, 60], "nearest": "Ann"}
VIDEO = VideoRun("a.mp4", 10, 1.0, 2.0, 3.0)


def metadata(*faces: dict[str, Any], **more: str) -> dict[str, str]:
    """The metadata of an answer that comes from the last of `faces`."""
    own = {"distance": str(faces[-1]["distance"]), "box": json.dumps(faces[-1]["box"])}
    return {"threshold": "0.6370", **own, "faces": json.dumps(faces), **more}


def test_the_answers_face_is_the_one_whose_box_the_metadata_repeat() -> None:
    found = metadata(STRANGER, ANN)

    card = of_output(VIDEO, Output("a.txt", "Ann", found))

    assert [face.name for face in card.faces] == ["Unknown", "Ann"]
    assert card.answering == card.faces[1]
    assert (card.distance, card.verdict, card.said) == (0.37, Verdict.SURE, "Ann")


@pytest.mark.parametrize("box", [None, "[1,2,3,4]", "no json", "[1,2]"])
def test_without_a_box_that_fits_the_largest_face_is_the_answers(box: str | None) -> None:
    found = metadata(STRANGER, ANN)
    del found["box"]
    if box is not None:
        found["box"] = box

    face = answer_face(faces_in("Unknown", found), found)

    assert face is not None
    assert face.name == "Unknown"


@pytest.mark.parametrize("text", [None, "no json", "{}", '[{"distance": 1}]', "[3]"])
def test_faces_that_were_left_out_leave_the_answers_own(text: str | None) -> None:
    found = metadata(ANN, STRANGER, nearest="Ada%20L")
    del found["faces"]
    if text is not None:
        found["faces"] = text

    (face,) = faces_in("Unknown", found)

    assert (face.name, face.distance, face.nearest) == ("Unknown", 0.79, "Ada L")
    assert face.box == (0, 0, 90, 90)


def test_an_unknown_face_is_said_with_the_nearest_person() -> None:
    card = of_output(VIDEO, Output("a.txt", "Unknown", metadata(STRANGER, nearest="Ad%C3%A1%20L")))

    assert card.said == "Unknown, nearest Ad\u00e1 L 0.79"
    assert card.verdict is Verdict.UNKNOWN


def test_the_nearest_person_may_be_only_in_the_faces() -> None:
    found = metadata(STRANGER)

    assert nearest_in("Unknown", answer_face(faces_in("Unknown", found), found), found) == "Bob"
    assert nearest_in("Unknown", None, {}) == ""
    # a known person is the nearest anyway
    assert nearest_in("Ann", answer_face(faces_in("Ann", metadata(ANN)), metadata(ANN)), {}) == ""


def test_several_names_are_said_in_a_row() -> None:
    assert spoken("Ann\nBob", "", 0.3) == "Ann, Bob"
    assert spoken("Unknown", "Bob", None) == "Unknown, nearest Bob"


def test_no_face_has_no_face() -> None:
    card = of_output(
        VIDEO, Output("a.txt", "No face", {"threshold": "0.6", "faces": "[]", "frames": "5"})
    )

    assert (card.faces, card.answering, card.verdict) == ((), None, Verdict.NO_FACE)
    assert card.said == "No face"


def test_several_frames_have_votes_and_people() -> None:
    people = '[["Ann%20L",3,0.0,2.1,0.41],["Bob",1,2.1,2.1,0.5]]'

    card = of_output(
        VIDEO, Output("a.txt", "Ann L", metadata(ANN, frames="5", votes="3", people=people))
    )

    assert (card.frames, card.votes, card.verdict) == (5, 3, Verdict.SURE)
    assert card.people == (Person("Ann L", 3, 0.0, 2.1, 0.41), Person("Bob", 1, 2.1, 2.1, 0.5))


@pytest.mark.parametrize(
    "text", ["", "no json", "3", '{"a": 1}', "[3]", '[["Ann"]]', '[["Ann",1,0,NaN,0.4]]', "[[1,2]]"]
)
def test_people_that_were_cut_short_are_ignored(text: str) -> None:
    assert people_in({"people": text}) == ()
    assert people_in({}) == ()
