"""Answered and right are two things."""

from __future__ import annotations

import pytest

from workload.running.run import VideoRun, WorkloadRun
from workload.running.run_text import result_text
from workload.running.score import Outcome


def video(key: str, answer: str | None, expected: str | None) -> VideoRun:
    """A video with this answer, None for none."""
    times = (1.0, 2.0, None if answer is None else 3.0)
    return VideoRun(key, 10, *times, expected=expected, answer=answer)


def run(*videos: tuple[str | None, str | None]) -> WorkloadRun:
    """A run of videos, each with its answer and expected name."""
    made = tuple(video(f"{n}.mp4", *pair) for n, pair in enumerate(videos))
    return WorkloadRun("p", "", "us-east-1", 1.0, 9.0, 0.0, made)


RIGHT, WRONG, LATE = ("Ann", "Ann"), ("Unknown", "Ann"), (None, "Ann")
OTHER, LOST = ("Unknown", None), (None, None)


@pytest.mark.parametrize(
    ("videos", "headline", "is_good"),
    [
        # Seven strangers among one's own videos are answers, and nobody said what is right.
        ((*[OTHER] * 7, ("Ann", None)), "8 of 8 videos answered", True),
        ((OTHER,), "1 of 1 video answered", True),
        ((OTHER, LOST), "1 of 2 videos answered", False),
        ((RIGHT,) * 100, "100 of 100 right", True),
        ((*[RIGHT] * 88, *[WRONG] * 12), "88 of 100 right, 12 wrong", False),
        ((RIGHT, WRONG, LATE, LATE), "1 of 4 right, 1 wrong, 2 missing", False),
        ((RIGHT, OTHER, OTHER, LOST), "1 of 1 right, 2 of 3 others answered", False),
        ((), "0 of 0 videos answered", True),
    ],
)
def test_the_headline_tells_answered_from_right(
    videos: tuple[tuple[str | None, str | None], ...], headline: str, is_good: bool
) -> None:
    score = run(*videos).score

    assert (str(score), score.is_good) == (headline, is_good)


def test_an_answer_is_compared_as_names_are() -> None:
    assert video("a", "Bjo\u0308rk  A", "Bj\u00f6rk A").outcome == Outcome.RIGHT
    # AND one that could not be read is neither right nor wrong
    unread = VideoRun("a", 10, 1.0, 2.0, 3.0, expected="Ann")
    assert unread.outcome == Outcome.UNCHECKED


def test_the_table_has_wrong_ones_first() -> None:
    lines = result_text(run(RIGHT, OTHER, LATE, WRONG), 4, is_queue_read=True).splitlines()

    assert [line.split()[0] for line in lines[2:6]] == ["3.mp4", "2.mp4", "0.mp4", "1.mp4"]
    assert lines[2].split()[1:] == ["Ann", "Unknown", "2.00", "WRONG"]
    assert "names       1 of 3 right, 1 wrong, 1 missing, 1 of 1 other answered" in lines


def test_a_table_without_expected_names_has_no_column_for_them() -> None:
    head, _, row = result_text(run(OTHER), 1, is_queue_read=True).splitlines()[:3]

    assert (head.split(), row.split()) == (
        ["video", "answer", "seconds"],
        ["0.mp4", "Unknown", "2.00"],
    )
