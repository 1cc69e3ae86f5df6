"""The synchronous call against a server that refuses, fails, is slow and answers nonsense."""

from __future__ import annotations

import time
from typing import Any

import boto3
import pytest
import recognizer
from botocore.config import Config
from botocore.exceptions import ReadTimeoutError

ANN = {"name": "Ann", "distance": 0.4}
REFUSAL = (
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


def a_minute() -> float:
    return 60.0


def test_refusals_are_tried_again(callee: Any) -> None:
    # GIVEN three refusals
    callee.script = [lambda _: REFUSAL] * 3
    pauses: list[float] = []
    # WHEN
    results = build(callee, sleep=pauses.append).recognize("b", ["a.jpg"], a_minute)
    # THEN the fourth try gives the answer; pauses are random, from a growing range
    assert results[0]["faces"][0]["name"] == "Ann"
    assert len(callee.payloads) == 4
    assert len(set(pauses)) == 3
    assert all(0 <= pause <= 0.2 * 2**n for n, pause in enumerate(pauses))


def test_refusals_end_with_the_time(callee: Any) -> None:
    # GIVEN nothing but refusals, and 8 seconds, of which a call may take 5 and its margin
    callee.script = [lambda _: REFUSAL] * 1000
    clock = [12.0]

    def sleep(seconds: float) -> None:
        clock[0] -= max(seconds, 0.5)

    # WHEN, THEN no try is made that could not be waited for
    with pytest.raises(recognizer.RecognitionThrottled, match=r"'namer' was refused \d times"):
        build(callee, sleep=sleep).recognize("b", ["a.jpg"], lambda: clock[0])
    assert 1 < len(callee.payloads) <= 5


@pytest.mark.parametrize("status", [500, 502, 503])
def test_only_refusals_are_tried_again(callee: Any, status: int) -> None:
    callee.script = [lambda _: (status, {"X-Amzn-ErrorType": "ServiceException"}, {})]
    tester = build(callee)
    with pytest.raises(tester.client.exceptions.ClientError):
        tester.recognize("b", ["a.jpg"], a_minute)
    assert len(callee.payloads) == 1


def test_slow_answers_run_the_work_once(callee: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # GIVEN an answer later than the client waits
    monkeypatch.setattr(recognizer, "READ_MARGIN_S", 0)
    callee.seconds = 2
    with pytest.raises(ReadTimeoutError):
        build(callee, timeout_s=1).recognize("b", ["a.jpg"], a_minute)
    time.sleep(0.5)
    assert len(callee.payloads) == 1


def test_waits_longer_than_the_callee_may_run() -> None:
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
def test_answers_are_checked(callee: Any, answer: Any) -> None:
    callee.script = [lambda _: (200, {}, answer)]
    with pytest.raises(recognizer.RecognitionBadAnswer, match=r"'namer' answered without .* a.jpg"):
        build(callee).recognize("b", ["a.jpg"], a_minute)


def test_results_come_in_the_order_of_the_frames(callee: Any) -> None:
    keys = [f"{index}.jpg" for index in range(5)]

    def backwards(payload: dict[str, Any]) -> Any:
        status, headers, body = callee.good_answer(payload)
        return status, headers, {**body, "results": body["results"][::-1]}

    callee.script = [backwards, backwards]
    results = build(callee).recognize("b", keys, a_minute)
    assert [result["image_file_name"] for result in results] == keys
    assert {result["model"] for result in results} == {"facenet-vggface2"}


def test_every_batch_is_tried(callee: Any) -> None:
    error = {"errorType": "Boom", "errorMessage": "no"}
    callee.script = [lambda _: (200, {"X-Amz-Function-Error": "Unhandled"}, error)]
    keys = [f"{index}.jpg" for index in range(9)]
    with pytest.raises(recognizer.RecognitionFailed, match=r"raised Boom on .*: no"):
        build(callee).recognize("b", keys, a_minute)
    assert len(callee.payloads) == 3


def test_errors_that_are_no_json(callee: Any) -> None:
    callee.script = [lambda _: (200, {"X-Amz-Function-Error": "Unhandled"}, b"Runtime exited")]
    with pytest.raises(recognizer.RecognitionFailed, match=r"an error on a.jpg: Runtime exited"):
        build(callee).recognize("b", ["a.jpg"], a_minute)


def faces(*names: str, distance: float = 0.5) -> recognizer.Result:
    return {"faces": [{"name": name, "distance": distance} for name in names]}


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([faces("Ann"), faces("Bob"), faces("Bob")], ("Bob", 2)),
        ([faces("Ann"), faces("Unknown"), faces("Unknown"), faces()], ("Ann", 1)),
        ([faces("Ann", distance=0.6), faces("Bob", distance=0.3)], ("Bob", 1)),
        ([faces("Unknown", "Bob"), faces()], ("Bob", 1)),
        ([faces("Unknown"), faces(), faces()], ("Unknown", 1)),
        ([faces(), faces()], ("No face", 2)),
    ],
)
def test_agreed_name(results: list[recognizer.Result], expected: tuple[str, int]) -> None:
    assert recognizer.agreed_name(results) == expected
