"""The synchronous call, against a server that throttles, fails, is slow and returns nonsense."""

from __future__ import annotations

import time
from typing import Any

import boto3
import pytest
import recognizer
from botocore.config import Config
from botocore.exceptions import ReadTimeoutError

THROTTLED = (
    429,
    {"X-Amzn-ErrorType": "TooManyRequestsException"},
    {"Reason": "ReservedFunctionConcurrentInvocationLimitExceeded", "message": "Rate Exceeded."},
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


def test_throttled_calls_are_retried(callee: Any) -> None:
    # GIVEN three throttled calls
    callee.script = [lambda _: THROTTLED] * 3
    pauses: list[float] = []
    # WHEN
    results = build(callee, sleep=pauses.append).recognize("b", ["a.jpg"], one_minute)
    # THEN the fourth attempt succeeds, and the pauses are random within a growing range
    assert results[0]["faces"][0]["name"] == "Ann"
    assert len(callee.payloads) == 4
    assert len(set(pauses)) == 3
    assert all(0 <= pause <= 0.2 * 2**n for n, pause in enumerate(pauses))


def test_retries_end_when_time_runs_out(callee: Any) -> None:
    # GIVEN only throttled calls, and 12 seconds, of which a call needs 5 and its margin
    callee.script = [lambda _: THROTTLED] * 1000
    clock = [12.0]

    def sleep(seconds: float) -> None:
        clock[0] -= max(seconds, 0.5)

    # WHEN, THEN no attempt is made that has too little time left
    with pytest.raises(recognizer.RecognitionThrottled, match=r"'namer' was throttled \d times"):
        build(callee, sleep=sleep).recognize("b", ["a.jpg"], lambda: clock[0])
    assert 1 < len(callee.payloads) <= 5


@pytest.mark.parametrize("status", [500, 502, 503])
def test_other_errors_are_not_retried(callee: Any, status: int) -> None:
    callee.script = [lambda _: (status, {"X-Amzn-ErrorType": "ServiceException"}, {})]
    tester = build(callee)
    with pytest.raises(tester.client.exceptions.ClientError):
        tester.recognize("b", ["a.jpg"], one_minute)
    assert len(callee.payloads) == 1


def test_a_slow_call_is_not_repeated(callee: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # GIVEN an answer that takes longer than the client waits
    monkeypatch.setattr(recognizer, "READ_MARGIN_S", 0)
    callee.seconds = 2
    with pytest.raises(ReadTimeoutError):
        build(callee, timeout_s=1).recognize("b", ["a.jpg"], one_minute)
    time.sleep(0.5)
    assert len(callee.payloads) == 1


def test_the_client_waits_longer_than_the_callee_may_run() -> None:
    settings = recognizer.client_settings(120, 4)
    assert settings["read_timeout"] > 120
    assert settings["retries"]["total_max_attempts"] == 1


RESULT = {"image_file_name": "a.jpg", "output_key": "a.txt", "faces": []}


@pytest.mark.parametrize(
    "answer",
    [
        b"not json",
        {},
        [],
        {"model": "m", "results": []},
        {"results": [RESULT]},
        {"model": "m", "results": [RESULT, RESULT]},
        {"model": "m", "results": [{**RESULT, "image_file_name": "b.jpg"}]},
        {"model": "m", "results": [{**RESULT, "faces": None}]},
        {"model": "m", "results": [{**RESULT, "faces": [{"distance": 1}]}]},
        {"model": "m", "results": [{"image_file_name": "a.jpg", "faces": []}]},
        {"model": "m", "results": [None]},
    ],
)
def test_malformed_answers_are_rejected(callee: Any, answer: Any) -> None:
    callee.script = [lambda _: (200, {}, answer)]
    with pytest.raises(recognizer.RecognitionBadAnswer, match=r"'namer' answered without .* a.jpg"):
        build(callee).recognize("b", ["a.jpg"], one_minute)


def test_results_are_in_the_order_of_the_frames(callee: Any) -> None:
    keys = [f"{index}.jpg" for index in range(5)]

    def backwards(payload: dict[str, Any]) -> Any:
        status, headers, body = callee.good_answer(payload)
        return status, headers, {**body, "results": body["results"][::-1]}

    callee.script = [backwards, backwards]
    results = build(callee).recognize("b", keys, one_minute)
    assert [result["image_file_name"] for result in results] == keys
    assert {result["model"] for result in results} == {"facenet-vggface2"}


def test_every_batch_is_tried(callee: Any) -> None:
    error = {"errorType": "Boom", "errorMessage": "no"}
    callee.script = [lambda _: (200, {"X-Amz-Function-Error": "Unhandled"}, error)]
    keys = [f"{index}.jpg" for index in range(9)]
    with pytest.raises(recognizer.RecognitionFailed, match=r"raised Boom on .*: no"):
        build(callee).recognize("b", keys, one_minute)
    assert len(callee.payloads) == 3


def test_an_error_that_is_not_json(callee: Any) -> None:
    callee.script = [lambda _: (200, {"X-Amz-Function-Error": "Unhandled"}, b"Runtime exited")]
    with pytest.raises(recognizer.RecognitionFailed, match=r"an error on a.jpg: Runtime exited"):
        build(callee).recognize("b", ["a.jpg"], one_minute)


def result(*names: str, distance: float = 0.5) -> recognizer.Result:
    return {
        "image_file_name": "a.jpg",
        "output_key": "a.txt",
        "model": "sface",
        "faces": [{"name": name, "distance": distance} for name in names],
    }


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([result("Ann"), result("Bob"), result("Bob")], ("Bob", 2)),
        ([result("Ann"), result("Unknown"), result("Unknown"), result()], ("Ann", 1)),
        ([result("Ann", distance=0.6), result("Bob", distance=0.3)], ("Bob", 1)),
        ([result("Unknown", "Bob"), result()], ("Bob", 1)),
        ([result("Unknown"), result(), result()], ("Unknown", 1)),
        ([result(), result()], ("No face", 2)),
    ],
)
def test_agreed_name(results: list[recognizer.Result], expected: tuple[str, int]) -> None:
    assert recognizer.agreed_name(results) == expected
