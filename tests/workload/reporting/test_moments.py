"""Who is seen in which frame of a video."""

from __future__ import annotations

import json

from workload.reporting.faces import Face
from workload.reporting.invocations import Invocation, Step
from workload.reporting.moments import (
    Moment,
    faces_in_details,
    faces_in_log,
    frame_number,
    label_of,
    presences,
)
from workload.reporting.verdict import Verdict

ADA = {"name": "Ada", "distance": 0.3, "box": [1, 2, 3, 4], "nearest": "Ada"}
STRANGER = {"name": "Unknown", "distance": 0.9, "box": [5, 6, 7, 8], "nearest": "Ada"}


def test_frames_are_told_by_their_keys() -> None:
    assert frame_number("a/v.jpg", "", "a/v.mp4") == 0
    assert frame_number("p-stage-1/a/v/output-03.jpg", "p-stage-1/", "a/v.mp4") == 3
    for other in ("a/w/output-03.jpg", "a/v/output-03.txt", "a/v/output-x.jpg", ""):
        assert frame_number(other, "", "a/v.mp4") is None


def test_the_log_has_the_faces_of_each_frame() -> None:
    def line(frame: str, *faces: object) -> Step:
        return Step("embed", 1, 0.1, {"frame": f"p-stage-1/{frame}", "faces": list(faces)})

    retried = [line("v/output-00.jpg", STRANGER), line("v/output-01.jpg"), line("w.jpg", ADA)]
    other = Step("warning", 1, 1, {"frame": "p-stage-1/v/output-01.jpg", "faces": [ADA]})
    last = [line("v/output-00.jpg", ADA, STRANGER), Step("init", 1, 1, {}), other]
    calls = [Invocation("r", 0, retried), Invocation("r", 9, last)]

    found = faces_in_log(calls, "p-stage-1", "v.mp4", 0.637)

    assert {index: [face.name for face in faces] for index, faces in found.items()} == {
        0: ["Ada", "Unknown"],
        1: [],
    }
    assert found[0][0].box == (1, 2, 3, 4)


def test_details_have_times_as_well() -> None:
    body = json.dumps({"frames": [{"time": 0.5, "faces": [ADA]}, {"time": 2, "faces": []}]})

    (first, second) = faces_in_details(body.encode(), 0.637)

    assert (first[0], first[1][0].name, second) == (0.5, "Ada", (2.0, ()))
    for broken in (b"", b"[]", b'{"frames": [{}]}'):
        assert faces_in_details(broken, 0.637) == []


def face(name: str) -> Face:
    return Face(name, 0.5, None, Verdict.UNKNOWN if name == "Unknown" else Verdict.SURE)


def test_who_is_seen_is_placed_by_time_and_strangers_come_last() -> None:
    moments = [
        Moment(0, (face("Unknown"), face("Unknown")), 1.0),
        Moment(1, (face("Bob"), face("Ada")), 2.0),
        Moment(2, (face("Ada"),), 5.0),
    ]

    seen = presences(moments)

    assert [(one.name, [mark.place for mark in one.marks]) for one in seen] == [
        ("Ada", [25.0, 100.0]),
        ("Bob", [25.0]),
        ("Unknown", [0.0, 0.0]),
    ]
    assert seen[0].marks[1].label == "5 s"


def test_frames_without_a_time_are_placed_by_number() -> None:
    moments = [Moment(0, (face("Ada"),), 0.0), Moment(3, (face("Ada"),)), Moment(4)]

    (ada,) = presences(moments)

    assert [mark.place for mark in ada.marks] == [0.0, 50.0]
    assert label_of(moments[1], 5) == "frame 4 of 5"
