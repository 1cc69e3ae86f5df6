"""The synchronous call, against a server that throttles, fails, is slow and returns nonsense."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import boto3
import pytest
import recognizer
from botocore.config import Config
from botocore.exceptions import ReadTimeoutError

from pipeline.settings import Deployment

THROTTLED = (
    429,
    {"X-Amzn-ErrorType": "TooManyRequestsException"},
    {"Reason": "ReservedFunctionConcurrentInvocationLimitExceeded", "message": "Rate Exceeded."},
)
PENDING = (
    409,
    {"X-Amzn-ErrorType": "ResourceConflictException"},
    {
        "message": "The operation cannot be performed at this time. The function is currently in "
        "the following state: Pending"
    },
)


def build(callee: Any, timeout_s: float = 5, **options: Any) -> recognizer.Recognizer:
    client = boto3.client(
        "lambda",
        endpoint_url=callee.url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(**recognizer.client_settings(timeout_s, 4)),
    )
    return recognizer.Recognizer(client, "namer", timeout_s, 3, 2, **options)


def one_minute() -> float:
    return 60.0


@pytest.mark.parametrize("refusal", [THROTTLED, PENDING])
def test_calls_that_did_not_start_are_retried(callee: Any, refusal: Any) -> None:
    # GIVEN three calls that are throttled, or come before an idle function is ready again
    callee.script = [lambda _: refusal] * 3
    pauses: list[float] = []
    # WHEN
    answer = build(callee, sleep=pauses.append).recognize_one("b", "a.jpg", "always", one_minute)
    # THEN the fourth attempt succeeds, and the pauses are random within a growing range
    assert answer.results[0]["faces"][0]["name"] == "Ann"
    assert len(callee.payloads) == 4
    assert len(set(pauses)) == 3
    assert all(0 <= pause <= 0.2 * 2**n for n, pause in enumerate(pauses))
    # AND only waiting for a free environment counts as such
    assert answer.slot_s == pytest.approx(sum(pauses) if refusal is THROTTLED else 0)


@pytest.mark.parametrize(
    ("refusal", "error", "message"),
    [
        (THROTTLED, "RecognitionThrottled", r"'namer' was throttled \d times \(429\)"),
        (PENDING, "RecognitionPending", r"'namer' was not ready \d times \(409\).*state: Pending"),
    ],
)
def test_retries_end_when_time_runs_out(
    callee: Any, refusal: Any, error: str, message: str
) -> None:
    # GIVEN only refused calls, and 12 seconds, of which a call needs 5 and its margin
    callee.script = [lambda _: refusal] * 1000
    clock = [12.0]

    def sleep(seconds: float) -> None:
        clock[0] -= max(seconds, 0.5)

    # WHEN, THEN no attempt is made that has too little time left
    with pytest.raises(getattr(recognizer, error), match=message):
        build(callee, sleep=sleep).recognize_one("b", "a.jpg", "always", lambda: clock[0])
    assert 1 < len(callee.payloads) <= 5


def failing(status: int, kind: str = "ServiceException") -> Any:
    """What Lambda says when it fails itself."""
    return lambda _: (status, {"X-Amzn-ErrorType": kind}, {})


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_calls_that_lambda_fails_are_tried_again(callee: Any, status: int) -> None:
    callee.script = [failing(status, "ENILimitReachedException" if status == 502 else "")] * 4
    pauses: list[float] = []
    answer = build(callee, sleep=pauses.append).recognize_one("b", "a.jpg", "always", one_minute)
    assert answer.results[0]["faces"][0]["name"] == "Ann"
    assert (len(callee.payloads), answer.slot_s) == (5, 0)
    assert 0 < sum(pauses) < 3


def test_an_outage_is_left_to_the_events_retries(callee: Any) -> None:
    # GIVEN a call that waits for an environment, and then an outage
    callee.script = [lambda _: THROTTLED] * 6 + [failing(503)] * 100
    tester = build(callee, sleep=lambda _: None)
    with pytest.raises(
        recognizer.RecognitionUnavailable, match=r"could not start 'namer' in 11 attempts: .*Serv"
    ):
        tester.recognize_one("b", "a.jpg", "always", one_minute)
    assert len(callee.payloads) == 6 + 5


def test_no_call_is_repeated_that_has_too_little_time(callee: Any) -> None:
    callee.script = [failing(503)] * 100
    with pytest.raises(recognizer.RecognitionUnavailable, match="in 1 attempts"):
        build(callee).recognize_one("b", "a.jpg", "always", lambda: 9.9)
    assert len(callee.payloads) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (502, "InvalidRuntimeException"),
        (502, "KMSDisabledException"),
        (502, "EC2AccessDeniedException"),
        (404, "ResourceNotFoundException"),
        (413, "RequestTooLargeException"),
        (403, "AccessDeniedException"),
    ],
)
def test_what_no_attempt_can_mend_is_not_repeated(callee: Any, status: int, kind: str) -> None:
    callee.script = [failing(status, kind)]
    tester = build(callee)
    with pytest.raises(tester.client.exceptions.ClientError, match=kind):
        tester.recognize_one("b", "a.jpg", "always", one_minute)
    assert len(callee.payloads) == 1


def test_a_call_that_reaches_nobody_is_tried_again(callee: Any) -> None:
    tester = build(callee)
    tester.client.meta.events.register(
        "before-send.lambda.Invoke", lambda request, **_: attempts.append(request)
    )
    attempts: list[Any] = []
    callee.shutdown()
    callee.server_close()
    with pytest.raises(recognizer.RecognitionUnavailable, match="Could not connect"):
        tester.recognize_one("b", "a.jpg", "always", one_minute)
    assert len(attempts) == 5


def test_a_slow_call_is_not_repeated(callee: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # GIVEN an answer that takes longer than the client waits
    monkeypatch.setattr(recognizer, "READ_MARGIN_S", 0)
    callee.seconds = 2
    with pytest.raises(ReadTimeoutError):
        build(callee, timeout_s=1).recognize_one("b", "a.jpg", "always", one_minute)
    time.sleep(0.5)
    assert len(callee.payloads) == 1


def test_the_client_waits_longer_than_the_callee_may_run() -> None:
    settings = recognizer.client_settings(120, 4)
    assert settings["read_timeout"] > 120
    assert settings["retries"]["total_max_attempts"] == 1


RESULT = {
    "image_file_name": "a.jpg",
    "output_key": "a.txt",
    "source_etag": "e",
    "frame_etag": "f",
    "written": True,
    "faces": [],
}
OF = {"model": "m", "gallery": "g", "threshold": "0.6370", "selection": "known"}


@pytest.mark.parametrize(
    "answer",
    [
        b"not json",
        {},
        [],
        {**OF, "results": []},
        {**OF, "unchanged": False, "results": []},
        {**OF, "unchanged": True, "results": []},  # nobody asked for that
        {**OF, "unchanged": True, "results": [RESULT, RESULT]},
        {"results": [RESULT]},
        *({**OF, name: None, "results": [RESULT]} for name in OF),
        {**OF, "threshold": "near", "results": [RESULT]},
        {**OF, "results": [RESULT, RESULT]},
        {**OF, "results": [{**RESULT, "image_file_name": "b.jpg"}]},
        *({**OF, "results": [{**RESULT, name: None}]} for name in RESULT),
        {**OF, "results": [{**RESULT, "faces": [{"distance": 1}]}]},
        {**OF, "results": [{**RESULT, "faces": [{"name": "Ann"}]}]},
        {**OF, "results": [None]},
    ],
)
def test_malformed_answers_are_rejected(callee: Any, answer: Any) -> None:
    callee.script = [lambda _: (200, {}, answer)]
    with pytest.raises(recognizer.RecognitionBadAnswer, match=r"'namer' answered without .* a.jpg"):
        build(callee).recognize_one("b", "a.jpg", "always", one_minute)


def test_results_are_in_the_order_of_the_frames(callee: Any) -> None:
    keys = [f"{index}.jpg" for index in range(5)]

    def backwards(payload: dict[str, Any]) -> Any:
        status, headers, body = callee.good_answer(payload)
        return status, headers, {**body, "results": body["results"][::-1]}

    callee.script = [backwards, backwards]
    answer = build(callee).recognize_all("b", keys, one_minute)
    assert [result["image_file_name"] for result in answer.results] == keys
    assert answer.settings == callee.settings


@pytest.mark.parametrize(
    ("frames", "remaining_s", "most_busy"),
    [
        (6, 60, 1),  # two calls of at most 5 s and a margin of 5 s each end in time
        (6, 19, 2),  # only one of them surely would
        (15, 21, 2),  # five calls, two in turn: three at a time would be needed, two are allowed
        (3, 1, 1),
    ],
)
def test_a_second_environment_is_called_only_if_time_demands_it(
    callee: Any, frames: int, remaining_s: float, most_busy: int
) -> None:
    callee.seconds = 0.1
    keys = [f"{index}.jpg" for index in range(frames)]
    build(callee).recognize_all("b", keys, lambda: remaining_s)
    assert callee.most_busy == most_busy
    assert len(callee.payloads) == -(-frames // 3)


def test_ten_frames_need_one_environment_of_the_deployed_recognizer(callee: Any) -> None:
    # GIVEN the settings of both functions as they are deployed, and all of its time spent on ffmpeg
    mine, theirs = Deployment("any").splitter, Deployment("any").recognizer
    size = int(mine.environment["FRAMES_PER_INVOKE"])
    concurrency = int(mine.environment["INVOKE_CONCURRENCY"])
    tester = replace(build(callee, theirs.timeout_s), concurrency=concurrency)
    left = mine.timeout_s - int(mine.environment["FFMPEG_TIMEOUT_S"])
    # WHEN, THEN
    lanes = {count: tester.lanes(-(-count // size), left) for count in (1, 8, 10, 16, 17, 100)}
    assert lanes == {1: 1, 8: 1, 10: 1, 16: 1, 17: 2, 100: 4}


def test_every_batch_is_tried(callee: Any) -> None:
    error = {"errorType": "Boom", "errorMessage": "no"}
    callee.script = [lambda _: (200, {"X-Amz-Function-Error": "Unhandled"}, error)]
    keys = [f"{index}.jpg" for index in range(9)]
    with pytest.raises(recognizer.RecognitionFailed, match=r"raised Boom on .*: no"):
        build(callee).recognize_all("b", keys, one_minute)
    assert len(callee.payloads) == 3


def test_an_error_that_is_not_json(callee: Any) -> None:
    callee.script = [lambda _: (200, {"X-Amz-Function-Error": "Unhandled"}, b"Runtime exited")]
    with pytest.raises(recognizer.RecognitionFailed, match=r"an error on a.jpg: Runtime exited"):
        build(callee).recognize_one("b", "a.jpg", "always", one_minute)


def test_the_payload_of_each_call(callee: Any) -> None:
    caller = build(callee)
    caller.recognize_one("b", "a.jpg", "always", one_minute)
    caller.recognize_one("b", "a.jpg", "known", one_minute)
    caller.recognize_all("b", ["a.jpg"], one_minute, {"model": "m"})
    assert callee.payloads == [
        {"bucket_name": "b", "image_file_name": "a.jpg"},
        {"bucket_name": "b", "image_file_name": "a.jpg", "write": "known"},
        {"bucket_name": "b", "image_file_names": ["a.jpg"], "unchanged": {"model": "m"}},
    ]


def test_nothing_is_computed_for_unchanged_settings(callee: Any) -> None:
    keys = [f"{index}.jpg" for index in range(5)]
    answer = build(callee).recognize_all("b", keys, one_minute, callee.settings)
    assert (answer.unchanged, answer.results) == (True, [])
    # BUT an environment that has another gallery already is not mixed with one that has not
    callee.script = [lambda _: (200, {}, {**OF, "unchanged": True, "results": []})]
    with pytest.raises(recognizer.RecognitionSettingsChanged, match="got another gallery"):
        build(callee).recognize_all("b", keys, one_minute, callee.settings)
