"""The support rule and the frame of the answer, as pure functions."""

from __future__ import annotations

from typing import Any

import pytest
from agreement import CERTAIN, NO_FACE, UNKNOWN, Agreement, Look, Person, agree
from hypothesis import given
from hypothesis import strategies as st

T = 0.6
WEAK, STRONG = 0.59, 0.3


def face(name: str, distance: float = WEAK) -> Any:
    return {"name": name, "distance": distance, "nearest": "Ann"}


def looks(*frames: str, damaged: tuple[int, ...] = ()) -> list[Look]:
    """One look per text, a second apart: "A b ?" is strong A, weak B and a stranger, in order."""
    people = {"?": (UNKNOWN, 0.8), "A": ("A", STRONG), "B": ("B", STRONG), "C": ("C", 0.2)}
    people |= {"a": ("A", WEAK), "b": ("B", WEAK), "+": (UNKNOWN, 0.7)}
    return [
        Look(float(index), [face(*people[one]) for one in frame.split()], index in damaged)
        for index, frame in enumerate(frames)
    ]


@pytest.mark.parametrize(
    ("frames", "name", "frame"),
    [
        (["a"], "A", 0),  # one frame: as without a second look
        (["?"], UNKNOWN, 0),
        ([""], NO_FACE, 0),
        (["a", "", "", "", ""], "A", 0),  # frames without faces have no say
        (["?", "a", "?", "?", "?"], UNKNOWN, 0),  # one weak hit among strangers
        (["?", "A", "?", "?", "?"], "A", 1),  # one near face
        (["?", "a", "a", "?", "?"], UNKNOWN, 0),
        (["?", "a", "a", "?"], UNKNOWN, 0),  # half is not more than half
        (["?", "a", "a", "", "?"], UNKNOWN, 0),
        (["?", "a", "a", "", ""], "A", 1),
        (["?", "a", "a", "a", "?"], "A", 1),
        (["a", "A", "a"], "A", 1),  # the frame with the smallest distance
        (["a", "a", "a"], "A", 0),  # the first of equals
        (["A B", "A B", "B A"], "A", 0),  # more often the largest known face
        (["B A", "B A", "A B"], "B", 0),
        (["? B", "b", "A"], "B", 0),  # a known face that is not the largest votes
        (["A", "C"], "C", 1),  # the smallest distance
        (["A b", "a B"], "A", 0),  # all alike: by name, so that every run says the same
        (["a", "b", "C"], "C", 2),
        (["a", "?", "", "b"], UNKNOWN, 1),  # the first frame with only strangers
        (["a", "b", "b ?"], "B", 1),
        (["a b", "? b", "? a", "?"], UNKNOWN, 3),
        (["", "? a", "b ?", "a", "b"], UNKNOWN, 1),  # none with only strangers: the first with any
    ],
)
def test_agreement(frames: list[str], name: str, frame: int) -> None:
    found = agree(looks(*frames), T)
    assert (found.name, found.frame) == (name, frame)


@pytest.mark.parametrize(
    ("damaged", "frame"), [((), 0), ((0,), 1), ((0, 1), 2), ((0, 1, 2), 0), ((1,), 0)]
)
def test_no_face_comes_from_a_whole_frame(damaged: tuple[int, ...], frame: int) -> None:
    found = agree(looks("", "", "", damaged=damaged), T)
    assert found == Agreement(NO_FACE, frame, 3, (), None)


def test_the_nearest_person_to_a_stranger() -> None:
    found = agree(looks("", "? +", "+"), T)
    assert (found.name, found.votes) == (UNKNOWN, 2)
    assert found.face
    assert found.face["distance"] == 0.7


def test_the_limits_of_support() -> None:
    at, over = CERTAIN * T, CERTAIN * T + 1e-6
    for distance, name in ((at, "A"), (over, UNKNOWN)):
        found = agree([*looks("?", "?"), Look(2.0, [face("A", distance)])], T)
        assert found.name == name


def test_everybody_is_summed_up() -> None:
    # GIVEN two people side by side, then in turn, and a weak hit of a third
    found = agree([*looks("A B", "b", "A", "B"), Look(4.0, [face("D")])], T)
    assert found.people == (Person("B", 3, 0, 3, STRONG), Person("A", 2, 0, 2, STRONG))


NAMES = st.sampled_from(["A", "B", "C", UNKNOWN])
FACES = st.builds(face, NAMES, st.floats(0.01, T))
LOOKS = st.lists(
    st.builds(Look, st.floats(0, 100), st.lists(FACES, max_size=4), st.booleans()),
    min_size=1,
    max_size=6,
)


@given(LOOKS)
def test_every_answer_can_be_shown(frames: list[Look]) -> None:
    found = agree(frames, T)
    look = frames[found.frame]
    if found.name == NO_FACE:
        assert not any(one.faces for one in frames)
    elif found.name == UNKNOWN:
        assert look.faces
        assert found.face in look.faces
    else:
        assert found.face
        assert found.face["name"] == found.name == found.people[0].name
        # and it is the best of that person in the whole video
        assert found.face["distance"] == found.people[0].distance
        assert found.face in look.faces


@given(LOOKS)
def test_a_name_always_has_support(frames: list[Look]) -> None:
    found = agree(frames, T)
    showing = sum(bool(one.faces) for one in frames)
    for person in found.people:
        assert 2 * person.frames > showing or person.distance <= CERTAIN * T
    assert len({person.name for person in found.people}) == len(found.people)


@given(LOOKS, st.integers(0, 5), st.booleans())
def test_frames_without_faces_change_no_name(frames: list[Look], at: int, state: bool) -> None:
    more = [*frames[:at], Look(50.0, [], state), *frames[at:]]
    assert agree(more, T).name == agree(frames, T).name


@given(LOOKS)
def test_people_are_never_in_more_frames_than_there_are(frames: list[Look]) -> None:
    for person in agree(frames, T).people:
        assert 1 <= person.frames <= len(frames)
        assert person.first <= person.last
