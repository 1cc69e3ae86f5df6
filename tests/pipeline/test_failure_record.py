"""Lambda's record of a failed event, and other messages in the queue."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.failure_record import FailedVideo, failed_videos, failure_reason, parse

EVENT = {
    "Records": [
        {
            "eventTime": "2026-11-24T02:30:25.500Z",
            "s3": {
                "bucket": {"name": "p-input"},
                "object": {"key": "a+folder/%C3%BC%2B.mp4", "eTag": "e"},
            },
        },
        {"s3": {"bucket": {"name": "p-input"}, "object": {"key": "b.mp4"}}},
    ]
}


def test_every_video_of_the_event_is_found() -> None:
    first, second = failed_videos({"requestPayload": EVENT})

    when = datetime(2026, 11, 24, 2, 30, 25, 500000, timezone.utc).timestamp()
    assert first == FailedVideo("p-input", "a folder/ü+.mp4", when, "e")
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
def test_other_messages_have_no_video(text: str) -> None:
    record = parse(text)

    assert failed_videos(record) == []
    assert failure_reason(record) == "no reason given"


def test_text_that_is_not_a_record_is_kept() -> None:
    assert parse("put there by hand") == {"message": "put there by hand"}


OTHER = st.sampled_from([None, True, 0, 1.5, "", "text", [], [1], {}, {"a": 1}])
# Records that are almost right: some value is missing or has another type.
ALMOST = st.fixed_dictionaries(
    {},
    optional={
        "requestPayload": OTHER
        | st.fixed_dictionaries(
            {
                "Records": OTHER
                | st.lists(
                    st.fixed_dictionaries(
                        {
                            "s3": OTHER
                            | st.fixed_dictionaries(
                                {
                                    "bucket": OTHER | st.fixed_dictionaries({"name": OTHER}),
                                    "object": OTHER | st.fixed_dictionaries({"key": OTHER}),
                                }
                            )
                        },
                        optional={"eventTime": OTHER},
                    ),
                    max_size=2,
                )
            }
        ),
        "responsePayload": OTHER | st.fixed_dictionaries({"errorMessage": OTHER}),
        "requestContext": OTHER | st.fixed_dictionaries({"condition": OTHER}),
    },
)


@given(ALMOST)
def test_no_message_makes_the_parser_fail(record: dict[str, Any]) -> None:
    parsed = parse(json.dumps(record))

    assert parsed == record
    assert all(isinstance(video.uri, str) for video in failed_videos(parsed))
    assert failure_reason(parsed)


@given(st.text())
def test_any_text_is_parsed(text: str) -> None:
    parsed = parse(text)

    assert failed_videos(parsed) == []
    assert failure_reason(parsed) == "no reason given"


@given(st.text(min_size=1), st.datetimes(timezones=st.just(timezone.utc)))
def test_any_key_and_time_survive_the_encoding_of_s3(key: str, when: datetime) -> None:
    record = {
        "eventTime": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "s3": {"bucket": {"name": "b"}, "object": {"key": quote_plus(key)}},
    }

    (video,) = failed_videos({"requestPayload": {"Records": [record]}})

    assert video.key == key
    assert video.uploaded == pytest.approx(when.timestamp(), abs=0.002)
