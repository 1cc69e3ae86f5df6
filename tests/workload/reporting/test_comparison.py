"""Which answers of two runs differ, and whether that is better."""

from __future__ import annotations

import pytest

from workload.reporting.comparison import Side, compare
from workload.reporting.prices import load_prices
from workload.reporting.receipt import write_receipt
from workload.running.run import VideoRun, WorkloadRun

NAMES = ("video-splitting", "face-recognition")


def side(answer: str | None, expected: str | None) -> Side:
    answered = None if answer is None else 2.0
    video = VideoRun("a.mp4", 1, 0, 1, answered, answer=answer, expected=expected)
    run = WorkloadRun("p", "", "us-east-1", 0, 3, 0, (video,))
    return Side(run, [], write_receipt(NAMES, [], [], 1, load_prices(None)))


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        (("Ann", "Bob"), ("Bob", "Bob"), ["better"]),
        (("Bob", "Bob"), (None, "Bob"), ["worse"]),
        ((None, None), ("Ann", None), ["better"]),
        # one run knows what is right, the other does not
        (("Ann", "Bob"), ("Ann", None), []),
        (("Ann", None), ("Ann", "Bob"), []),
        (("Ann", "Bob"), ("Bob", None), ["other"]),
        (("Bob", "Bob"), ("Bob", None), []),
    ],
)
def test_an_answer_is_only_better_where_both_runs_know(
    before: tuple[str | None, str | None], after: tuple[str | None, str | None], kinds: list[str]
) -> None:
    compared = compare(side(*before), side(*after))

    assert [change.kind for change in compared.changes] == kinds
