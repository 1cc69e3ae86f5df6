"""The grader's judgment of what the buckets hold: every fault is named once, and nothing else."""

from __future__ import annotations

import pytest

from workload.grading.checks import (
    FAIL,
    PASS,
    SKIP,
    Check,
    Holdings,
    Item,
    name_check,
    object_checks,
    time_check,
)
from workload.grading.scorecard import as_text, is_right, points

BUCKETS = ("p-input", "p-stage-1", "p-output")


def held(inputs: str, frames: str, outputs: str, stale: str = "") -> Holdings:
    one, two, three = (
        {key: Item(100.0) for key in keys.split()} for keys in (inputs, frames, outputs)
    )
    return Holdings(BUCKETS, one, two, three, frozenset(stale.split()))


def faults(checks: list[Check]) -> list[str]:
    """Objects of all failed checks, without what is said of them."""
    return [thing.split(": ")[0] for c in checks if c.status == FAIL for thing in c.objects]


def test_what_is_right_passes() -> None:
    checks = object_checks(held("a.mp4 b.mov d/", "a.jpg b.mov.jpg", "a.txt b.mov.txt"), 1, {})

    assert [check.status for check in checks] == [PASS] * 5


@pytest.mark.parametrize(
    ("inputs", "frames", "outputs", "named"),
    [
        ("a.mp4 b.mp4", "a.jpg b.jpg", "a.txt", "s3://p-output/b.txt"),
        ("a.mp4 b.mp4", "a.jpg", "a.txt b.txt", "s3://p-stage-1/b.jpg"),
        ("a.mp4", "a.jpg b.jpg", "a.txt", "s3://p-stage-1/b.jpg"),
        ("a.mp4", "a.jpg", "a.txt b.txt", "s3://p-output/b.txt"),
        ("a.mp4 n.md", "a.jpg", "a.txt", "s3://p-input/n.md"),
        ("a.mp4", "a.jpg a/output-00.jpg", "a.txt", "s3://p-stage-1/a/output-00.jpg"),
        ("a.mp4", "a.jpg", "a.txt a/output-00.txt", "s3://p-output/a/output-00.txt"),
        ("", "", "", "s3://p-input/"),
    ],
)
def test_one_fault_is_named_once(inputs: str, frames: str, outputs: str, named: str) -> None:
    checks = object_checks(held(inputs, frames, outputs), 1, {})

    assert faults(checks) == [named]
    assert sum(check.status == FAIL for check in checks) == 1


FIVE = "a/output-00.jpg a/output-01.jpg a/output-02.jpg"
TEXTS = "a/output-00.txt a/output-01.txt a/output-02.txt"


@pytest.mark.parametrize(
    ("frames", "outputs", "named"),
    [
        (FIVE, f"a.txt {TEXTS}", []),  # a short video has fewer than were asked for
        (FIVE, TEXTS, ["s3://p-output/a.txt"]),
        (FIVE, f"a.txt {TEXTS[:31]}", ["s3://p-output/a/output-02.txt"]),
        (
            FIVE.replace(" a/output-01.jpg", ""),
            f"a.txt {TEXTS}",
            ["s3://p-stage-1/a/output-01.jpg"],
        ),
        (f"{FIVE} a/output-07.jpg", f"a.txt {TEXTS}", ["s3://p-stage-1/a/output-07.jpg"]),
        (FIVE, f"a.txt {TEXTS} a/output-04.txt", ["s3://p-output/a/output-04.txt"]),
        (f"{FIVE} a.jpg", f"a.txt {TEXTS}", ["s3://p-stage-1/a.jpg"]),
    ],
)
def test_several_frames_a_video(frames: str, outputs: str, named: list[str]) -> None:
    assert faults(object_checks(held("a.mp4", frames, outputs), 5, {})) == named


def test_an_output_of_an_earlier_upload_is_a_missing_one() -> None:
    checks = object_checks(held("a.mp4", "a.jpg", "a.txt", stale="a.txt"), 1, {})

    assert faults(checks) == ["s3://p-output/a.txt"]
    assert "earlier upload" in checks[3].objects[0]


def test_a_missing_output_comes_with_the_failure_queues_reason() -> None:
    checks = object_checks(held("a.mp4", "a.jpg", ""), 1, {"a.mp4": "It is empty."})

    assert checks[3].objects == ("s3://p-output/a.txt: of a.mp4: It is empty.",)


def test_a_wrong_name_is_named_and_a_missing_one_is_not_wrong() -> None:
    holdings = held("a.mp4 b.mp4 c.mp4", "", "a.txt b.txt")
    expected = {"a.mp4": "Ann", "b.mp4": "Bob", "c.mp4": "Cid"}

    wrong = name_check(holdings, expected, {"a.mp4": "Ann", "b.mp4": "Ann"})
    right = name_check(holdings, expected, {"a.mp4": "Ann", "b.mp4": "Bob"})

    assert wrong.objects == ("s3://p-output/b.txt: 'Ann', expected 'Bob'",)
    assert right.status == PASS
    assert name_check(holdings, None, {}).status == SKIP
    assert name_check(holdings, expected, {}).status == FAIL


def test_late_answers_are_named() -> None:
    check = time_check({"a.mp4": 3.0, "b.mp4": 11.0}, 10, "measured", "")

    assert check.objects == ("b.mp4: 11.0 s",)
    assert "average 7.0 s, longest 11.0 s" in check.reason
    assert time_check({"a.mp4": 10.0}, 10, "measured", "").status == PASS
    skipped = time_check({}, 10, "measured", "all are older")
    assert (skipped.status, skipped.reason) == (SKIP, "all are older")
    assert time_check({}, 10, "measured", "").status == FAIL


def test_points_are_those_of_the_checks_made() -> None:
    many = tuple(f"s3://b/{n}" for n in range(50))
    checks = [Check("x", PASS, 10), Check("y", FAIL, 20, "why", many), Check("z", SKIP, 70)]

    assert points(checks) == (10, 30)
    assert not is_right(checks)
    assert is_right([checks[0], checks[2]])
    text = as_text(checks)
    assert text.endswith("10/30 points")
    assert "s3://b/19" in text
    assert "s3://b/20" not in text
    assert "and 30 more" in text
