"""Retries, comparing settings, and error messages."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, NoCredentialsError

from pipeline.aws import Aws, AwsError, covers, explain, read_or_none, retry_while


def refusal(code: str, message: str = "no") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "CreateFunction")


class Clock:
    """A clock that advances only when something sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def __call__(self) -> float:
        return self.now


def test_a_settling_call_is_repeated_until_it_succeeds() -> None:
    clock, answers = Clock(), [refusal("Settling"), refusal("Settling"), "made"]

    def call() -> object:
        answer = answers.pop(0)
        if isinstance(answer, ClientError):
            raise answer
        return answer

    assert retry_while(call, lambda _: True, 60, clock.sleep, clock) == "made"
    assert clock.now == 4


def test_a_call_that_never_settles_raises_its_error_in_the_end() -> None:
    clock = Clock()

    def call() -> None:
        raise refusal("Settling")

    with pytest.raises(ClientError, match="Settling"):
        retry_while(call, lambda _: True, 60, clock.sleep, clock)
    assert clock.now == 60


def test_another_error_is_raised_at_once() -> None:
    clock = Clock()

    def call() -> None:
        raise refusal("Other")

    with pytest.raises(ClientError, match="Other"):
        retry_while(call, lambda e: "Settling" in str(e), 60, clock.sleep, clock)
    assert clock.now == 0


@pytest.mark.parametrize(
    ("current", "wanted", "answer"),
    [
        ({"a": 1, "more": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({}, {"a": 1}, False),
        (None, {"a": 1}, False),
        ({"l": [{"a": 1, "b": 2}]}, {"l": [{"a": 1}]}, True),
        ({"l": [1, 2]}, {"l": [1]}, False),
    ],
)
def test_covers(current: object, wanted: object, answer: bool) -> None:
    assert covers(current, wanted) is answer


def test_only_the_given_codes_count_as_missing() -> None:
    def call() -> None:
        raise refusal("AccessDenied")

    assert read_or_none(call, "AccessDenied") is None
    with pytest.raises(ClientError):
        read_or_none(call, "NoSuchThing")


def test_an_explanation_names_the_call_and_what_to_do() -> None:
    text = explain(refusal("ExpiredToken", "The token has expired"))

    assert text.startswith("CreateFunction failed: ExpiredToken: The token has expired")
    assert "sign in again" in text
    assert "aws configure" in explain(NoCredentialsError())


def test_the_error_names_an_unknown_profile() -> None:
    with pytest.raises(AwsError, match="nobody-has-this"):
        Aws(region="us-east-1", profile="nobody-has-this")


def test_a_missing_region_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")

    with pytest.raises(AwsError, match="pass --region"):
        Aws()
