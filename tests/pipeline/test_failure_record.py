"""Lambda's record of a failed event, and what else may lie in the queue."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from pipeline.failure_record import FailedVideo, failed_videos, failure_reason, parse

EVENT = {
    "Records": [
        {
            "eventTime": "2026-11-24T02:30:25.500Z",
            "s3": {"bucket": {"name": "p-input"}, "object": {"key": "a+folder/%C3%BC%2B.mp4"}},
        },
        {"s3": {"bucket": {"name": "p-input"}, "object": {"key": "b.mp4"}}},
    ]
}


def test_every_video_of_the_event_is_named() -> None:
    first, second = failed_videos({"requestPayload": EVENT})

    when = datetime(2026, 11, 24, 2, 30, 25, 500000, timezone.utc).timestamp()
    assert first == FailedVideo("p-input", "a folder/ü+.mp4", when)
    assert first.uri == "s3://p-input/a folder/ü+.mp4"
    assert second == FailedVideo("p-input", "b.mp4", 0.0)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (
            {"responsePayload": {"errorType": "UnreadableVideo", "errorMessage": "It is empty."}},
            "UnreadableVideo: It is empty.",
        ),
        ({"responsePayload": {"errorMessage": "Killed"}}, "Error: Killed"),
        ({"requestContext": {"condition": "EventAgeExceeded"}}, "EventAgeExceeded"),
        (
            {"responsePayload": "text", "requestContext": {"condition": "RetriesExhausted"}},
            "RetriesExhausted",
        ),
        ({"requestContext": "text"}, "no reason given"),
        ({}, "no reason given"),
    ],
)
def test_the_reason_is_the_error_or_lambdas_condition(record: dict[str, Any], reason: str) -> None:
    assert failure_reason(record) == reason


@pytest.mark.parametrize(
    "text", ["", "no JSON", "[]", "{}", '{"requestPayload": {}}', "null", '{"requestPayload": "x"}']
)
def test_somebody_elses_message_has_no_video(text: str) -> None:
    record = parse(text)

    assert failed_videos(record) == []
    assert failure_reason(record) == "no reason given"


def test_text_that_is_no_record_is_kept() -> None:
    assert parse("put there by hand") == {"message": "put there by hand"}
