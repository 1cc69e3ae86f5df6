"""Which of a photo's faces is enrolled."""

from __future__ import annotations

import numpy as np
import pytest
from detect import Face
from dominant import choose, counted


def face(side: float, probability: float = 1.0, left: float = 0.0) -> Face:
    box = (left, 0.0, left + side, side)
    return Face(box, probability, np.zeros((5, 2), np.float32))


def test_no_face_and_one_face() -> None:
    assert choose([]).face is None
    for only in (face(20), face(20, 0.9)):
        assert choose([only]).face is only
        assert choose([only], strict=True).face is only


@pytest.mark.parametrize(
    ("others", "is_clear"),
    [
        ([face(100)], False),  # two equal faces
        ([face(51)], False),
        ([face(50)], True),  # half the side, a quarter of the area
        ([face(50), face(30), face(20)], True),
        ([face(50), face(51)], False),
        ([face(100, 0.94)], True),  # faint, however large
        ([face(99, 0.91)], True),
        ([face(99, 0.95)], False),
    ],
)
def test_the_others_are_small_or_faint(others: list[Face], is_clear: bool) -> None:
    largest = face(100)

    choice = choose([largest, *others])

    assert (choice.face is largest) == is_clear
    assert len(choice.others) == len(others) + (not is_clear)
    assert choose([*others, largest]).face is choice.face or not is_clear
    assert choose([largest, *others], strict=True).face is None


@pytest.mark.parametrize(
    ("other", "is_clear"),
    [
        (face(20, 0.95), False),  # the faint one may be no face at all
        (face(20, 0.94), True),
        (face(50, 0.9), True),
        (face(51, 0.9), False),
    ],
)
def test_a_faint_largest_face_yields_to_no_sure_one(other: Face, is_clear: bool) -> None:
    largest = face(100, 0.94)

    assert (choose([largest, other]).face is largest) == is_clear


def test_a_refusal_gives_boxes_and_probabilities() -> None:
    choice = choose([face(100, 0.9987), face(90, 0.95, left=200)])

    assert counted(choice.others) == (
        "2 faces at [0, 0, 100, 100] with probability 0.999; "
        "[200, 0, 290, 90] with probability 0.950"
    )
    assert counted([face(20)]) == "1 face at [0, 0, 20, 20] with probability 1.000"
    assert counted([]) == "no face"
