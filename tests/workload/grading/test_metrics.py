"""Reading metrics from CloudWatch."""

from __future__ import annotations

import pytest

from workload.grading.metrics import DAY_S, Usage, Waited, period, settled_usage, waits_in
from workload.reporting.invocations import Step


@pytest.mark.parametrize(
    ("days_ago", "days", "seconds"),
    [(0, 0.01, 60), (2, 1.9, 120), (20, 0.01, 300), (100, 0.01, 3600), (14, 14, 60 * 15)],
)
def test_the_period_suits_cloudwatch(days_ago: float, days: float, seconds: int) -> None:
    now = 2e9
    start = now - days_ago * DAY_S

    assert period(start, start + days * DAY_S, now) == seconds


def call(**notes: object) -> Step:
    """An entry of the splitter's log: a call of the recognizer."""
    return Step("invoke", 9.0, 2.0, {"frames": 1, **notes})


@pytest.mark.parametrize(
    ("steps", "waited"),
    [
        ([], None),
        ([Step("ffmpeg", 9.0, 2.0, {})], None),
        ([call(), call()], Waited(4.0, 1.0)),
        ([call(look=1), call(look=1), call(look=2, frames=4)], Waited(6.0, 3.0)),
        ([call(frames=5)], Waited(2.0, 5.0)),
        ([Step("invoke", 9.0, 2.0, {"error": "no"})], Waited(2.0, 1.0)),
        ([call(look=2, frames=4)], Waited(2.0, 4.0)),  # the first look came before the period
    ],
)
def test_second_looks_add_frames_but_no_videos(steps: list[Step], waited: Waited | None) -> None:
    assert waits_in(steps) == waited


def test_late_metrics_are_awaited_until_the_timeout() -> None:
    shown, now = [0, 3, 5], [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    def read() -> dict[str, Usage]:
        return {"f": Usage(shown.pop(0) if len(shown) > 1 else shown[0], 1.0, 1)}

    assert settled_usage(read, 5, 60, print, sleep, lambda: now[0])["f"].invocations == 5
    assert now[0] == 10
    assert settled_usage(read, 6, 60, print, sleep, lambda: now[0])["f"].invocations == 5
    assert now[0] == 70
