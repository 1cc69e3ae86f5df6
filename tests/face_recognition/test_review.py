"""What is said about people too near each other and photos of somebody else."""

from __future__ import annotations

import numpy as np
import pytest
from review import Review, Row, review


def row(name: str, photo: str, degrees: float, first: int = 0, second: int = 1) -> Row:
    """A row at this angle in the plane of two axes."""
    vector = np.zeros(8, np.float32)
    vector[first] = np.cos(np.deg2rad(degrees))
    vector[second] = np.sin(np.deg2rad(degrees))
    return Row(name, photo, vector)


def said(rows: list[Row], threshold: float = 0.5) -> Review:
    return review("sface", rows, threshold)


def test_one_photo_says_nothing() -> None:
    assert said([row("Ann", "1", 0)]) == Review([], [])


def test_good_photos_are_described_without_a_warning() -> None:
    done = said([row("Ann", "1", 0), row("Ann", "2", 20), row("Bob", "3", 90)])

    assert done.lines == [
        "closest photos of two people: 0.658 (Ann: 2 and Bob: 3)",
        "furthest photos of one person: 0.060 (Ann: 1 and 2)",
        "leave-one-out: 2 of 2 photos get the right name from the other photos",
    ]
    assert done.warnings == []


def test_every_pair_within_the_threshold_is_named_once() -> None:
    rows = [row("Ann", "1", 0), row("Bob", "2", 30), row("Bob", "3", 40), row("Cid", "4", 60)]

    pairs = [warning for warning in said(rows).warnings if " apart, within " in warning]

    # Ann and Cid are exactly at the threshold of 0.5, which counts as within
    assert [pair.split(" are ")[0] for pair in pairs] == [
        "Bob and Cid",
        "Ann and Bob",
        "Ann and Cid",
    ]
    assert pairs[1] == (
        "Ann and Bob are 0.134 apart, within the threshold 0.500: either may be taken for the "
        "other, or it is one person (Ann: 1 and Bob: 2)"
    )
    assert not [w for w in said([rows[0], rows[3]], 0.499).warnings if " apart, within " in w]


def test_one_picture_under_two_names_is_called_that() -> None:
    (warning,) = said([row("Ann", "1", 0), row("Bob", "2", 0)]).warnings

    assert "it is the same picture under two names (Ann: 1 and Bob: 2)" in warning


def test_rounding_makes_no_distance_negative() -> None:
    ann = row("Ann", "1", 0)

    done = said([ann, Row("Bob", "2", ann.embedding * np.float32(1.0000002))])

    assert "-0" not in " ".join(done.lines + done.warnings)


def test_somebody_elses_photo_is_named_with_its_distances() -> None:
    rows = [row("Ann", "1", 0), row("Ann", "2", 10), row("Ann", "meme", 90)]
    rows += [row("Bob", "4", 95)]

    strange = [w for w in said(rows, 0.3).warnings if "looks like somebody else" in w]

    assert strange == [
        "Ann: meme looks like somebody else: its distance to Ann's other photos is 0.826 to 1.000"
        ", to Bob's 4 0.004"
    ]


def test_a_drawing_that_looks_like_nobody_names_nobody() -> None:
    rows = [row("Ann", "1", 0), row("Ann", "2", 10), row("Ann", "drawing", 90, 0, 2)]
    rows += [row("Bob", "4", 90, 0, 3)]

    (strange,) = [w for w in said(rows).warnings if "looks like somebody else" in w]

    assert strange.endswith("Ann's other photos is 1.000")


@pytest.mark.parametrize(
    ("angles", "groups"),
    [
        ((0, 90), "1; 2"),
        ((0, 90, 180), "1; 2; 3"),
        ((0, 10, 90, 180), "1, 2; 3; 4"),
        ((0, 10, 90, 100), "1, 2; 3, 4"),
    ],
)
def test_a_folder_of_different_people_is_named(angles: tuple[float, ...], groups: str) -> None:
    rows = [row("Ann", str(number), angle) for number, angle in enumerate(angles, 1)]

    (mixed,) = [w for w in said(rows).warnings if "different people" in w]

    count = groups.count(";") + 1
    assert mixed.startswith(f"Ann: the {len(angles)} photos look like {count} different people, at")
    assert mixed.endswith(f": {groups}")


def test_photos_joined_by_one_between_them_are_one_person() -> None:
    rows = [row("Ann", "1", 0), row("Ann", "2", 60), row("Ann", "3", 120)]

    assert not [w for w in said(rows).warnings if "different people" in w or "else" in w]


def test_leave_one_out_tells_who_would_be_taken_for_whom() -> None:
    rows = [row("Ann", "1", 0), row("Ann", "2", 50), row("Bob", "3", 60), row("Bob", "4", 75)]
    rows += [row("Cid", "5", 180), row("Cid", "6", 250), row("Dan", "7", 300, 0, 3)]

    done = said(rows)

    assert done.lines[-1] == (
        "leave-one-out: 2 of 6 photos get the right name from the other photos"
    )
    left_out = [w for w in done.warnings if "without" in w]
    assert left_out == [
        "Ann: without 2 in the gallery, it would be taken for Bob: 0.015 from 3, 0.357 from Ann's "
        "nearest other photo",
        "Bob: without 3 in the gallery, it would be taken for Ann: 0.015 from 2, 0.034 from Bob's "
        "nearest other photo",
        "Cid: without 5 in the gallery, it would be Unknown: 0.658 from Cid's nearest other photo, "
        "over the threshold 0.500",
        "Cid: without 6 in the gallery, it would be Unknown: 0.658 from Cid's nearest other photo, "
        "over the threshold 0.500",
    ]


def test_a_copy_is_not_a_photo_to_recognize_by() -> None:
    rows = [row("Ann", "1", 0), row("Ann", "copy", 0)]

    assert not [line for line in said(rows).lines if "leave-one-out" in line]
