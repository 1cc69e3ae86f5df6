"""What the splitter's log says about tries that failed."""

from __future__ import annotations

import json

import pytest

from workload.reporting.first_failures import NO_VIDEO, Failed, failures

START = "START RequestId: r1 Version: $LATEST"
TIMEOUT = "2026-11-27T09:00:00Z r1 Task timed out after 280.00 seconds"
REPORT = "REPORT RequestId: r1\tDuration: 9 ms\tStatus: error\tError Type: Runtime.ExitError"
WHY = "FfmpegTimeout: s3://in/a.mp4: too long"


def line(step: str, key: str = "a.mp4", **notes: object) -> str:
    """A line of the splitter."""
    return json.dumps({"level": "INFO", "step": step, "video": f"s3://in/{key}", "ms": 1, **notes})


def said(*messages: str) -> dict[str, Failed]:
    """What follows from these lines of one stream."""
    return failures(({"logStreamName": "s", "message": text} for text in messages), "in")


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([START, line("frames"), line("video")], {}),
        (
            [START, line("video", error=WHY), f"[ERROR] {WHY}\nTraceback", REPORT],
            {"a.mp4": Failed(WHY)},
        ),
        ([START, line("video", error=WHY, retry=False)], {"a.mp4": Failed(WHY, is_final=True)}),
        # A retry that ends well leaves no failure.
        ([START, line("video", error=WHY), START, line("video")], {}),
        # Lambda ends an invocation, which says no more about its video.
        ([START, line("frames"), TIMEOUT], {"a.mp4": Failed(TIMEOUT)}),
        (
            [START, line("frames"), line("video"), START, line("frames", "b.mp4"), REPORT],
            {"b.mp4": Failed(REPORT.replace("\t", ", "))},
        ),
        # It never gets to a video.
        (
            ["[ERROR] Runtime.ImportModuleError: No module named 'x'\nTraceback"],
            {NO_VIDEO: Failed("[ERROR] Runtime.ImportModuleError: No module named 'x'")},
        ),
        # Other people's videos, and lines that only look like ours.
        ([START, line("video", error=WHY).replace("s3://in", "s3://other"), REPORT], {}),
        ([START, "{not json", '["step"]', line("video")], {}),
    ],
)
def test_a_failure_is_found_in_the_lines(messages: list[str], expected: dict[str, Failed]) -> None:
    assert said(*messages) == expected
