"""Parsing Lambda's log lines."""

from __future__ import annotations

import json
from typing import Any

import pytest

from workload.reporting.invocations import parse_report, parse_step, read_invocations

LINE = (
    "REPORT RequestId: r1\tDuration: 1500.00 ms\tBilled Duration: {billed} ms\t"
    "Memory Size: 512 MB\tMax Memory Used: 90 MB\t{more}"
)


@pytest.mark.parametrize(
    ("more", "start_s"),
    [
        ("", 0.0),
        ("Init Duration: 300.00 ms\t", 0.3),
        ("Restore Duration: 200.00 ms\tBilled Restore Duration: 150 ms\t", 0.2),
    ],
)
def test_a_report_line_is_parsed(more: str, start_s: float) -> None:
    report = parse_report(LINE.format(billed=1800, more=more) + "\n")

    assert report is not None
    assert report.request_id == "r1"
    assert report.duration_ms == 1500
    assert report.gb_seconds == pytest.approx(0.9)  # 1.8 s of half a GB
    assert report.start_s == pytest.approx(start_s)


@pytest.mark.parametrize("line", ["END RequestId: r1", "REPORT RequestId: r1\tDuration: 1 ms", ""])
def test_other_lines_are_not_reports(line: str) -> None:
    assert parse_report(line) is None


def test_lines_belong_to_the_last_start_of_their_stream() -> None:
    def event(stream: str, at: int, message: str) -> dict[str, Any]:
        return {"logStreamName": stream, "timestamp": at, "message": message}

    step = json.dumps({"step": "invoke", "video": "s3://b/v.mp4", "ms": 500})
    first, second = read_invocations(
        [
            event("a", 1000, "START RequestId: r1 Version: $LATEST"),
            event("b", 1100, "START RequestId: r2 Version: $LATEST"),
            event("a", 1600, step),
            event("b", 1700, "[ERROR] ValueError: broken"),
            event("a", 2500, LINE.format(billed=1500, more="")),
        ]
    )

    assert (first.request_id, second.request_id) == ("r1", "r2")
    assert first.objects() == ["b/v.mp4"]
    assert first.steps[0].started == pytest.approx(1.1)
    assert first.report is not None
    assert second.report is None
    assert second.has_failed
    assert not first.has_failed


def test_a_skipped_object_is_one_that_the_invocation_names() -> None:
    def event(at: int, message: str) -> dict[str, Any]:
        return {"logStreamName": "a", "timestamp": at, "message": message}

    line = {"step": "skipped", "video": "s3://b/a.txt", "reason": "text"}
    (skipping,) = read_invocations(
        [event(1000, "START RequestId: r1 Version: $LATEST"), event(1100, json.dumps(line))]
    )

    assert skipping.objects() == ["b/a.txt"]
    assert not skipping.has_failed
    assert parse_step('{"step": "ready"}', 1.0) is None


def test_an_init_that_was_repeated_inside_the_invocation_is_a_cold_start() -> None:
    def event(at: int, message: str) -> dict[str, Any]:
        return {"logStreamName": "a", "timestamp": at, "message": message}

    cold, warm = read_invocations(
        [
            event(11_000, "INIT_REPORT Init Duration: 10000.00 ms\tPhase: init\tStatus: timeout"),
            event(11_000, "START RequestId: r1 Version: $LATEST"),
            event(12_500, LINE.format(billed=1500, more="")),
            event(13_000, "START RequestId: r1 Version: $LATEST"),
            event(14_500, LINE.format(billed=1500, more="")),
        ]
    )

    assert (cold.is_cold, cold.start_s) == (True, 10)
    assert (warm.is_cold, warm.start_s) == (False, 0)
