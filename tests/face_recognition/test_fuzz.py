"""Whatever the recognizer is asked, it answers or says by name why not, soon."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.wrong_values import JSON, LEFT_OUT, WRONG, each_with_one_wrong, with_one_wrong

pytestmark = pytest.mark.usefixtures("output_bucket")

KEYS = ("b.jpg", "%FF.jpg", "..", "/", "x" * 2000 + ".jpg", "\0.jpg", "a\nb.jpg", "p-output")
ONE = {
    "bucket_name": "p-stage-1",
    "image_file_name": "none.jpg",
    "write": "known",
    "unchanged": {"model": "sface"},
    "correlation_id": "c",
}
SEVERAL = {"bucket_name": "p-stage-1", "image_file_names": ["none.jpg", "other.jpg"]}
ANYTHING = JSON | st.sampled_from((LEFT_OUT, *KEYS))
PAYLOADS = st.one_of(JSON, *(with_one_wrong(payload, ANYTHING) for payload in (ONE, SEVERAL)))


@pytest.fixture(scope="module")
def handler(load_handler: Callable[..., ModuleType]) -> ModuleType:
    return load_handler(KEEP_EMBEDDINGS="1")


def check_payload(handler: ModuleType, payload: Any, capsys: Any) -> None:
    """The payload is answered, or refused by an error that is named, in a short time."""
    started = time.monotonic()
    named = ""
    try:
        json.dumps(handler.handler(payload, None))
    except (handler.BadPayload, handler.RecognitionFailed) as error:
        named = str(error)
    assert len(named.encode()) < 10_000
    assert time.monotonic() - started < 5
    assert "Traceback" not in capsys.readouterr().err, payload


def test_a_payload_with_one_wrong_value_is_answered_or_refused_by_name(
    handler: ModuleType, capsys: Any
) -> None:
    for good in (ONE, SEVERAL):
        for payload in each_with_one_wrong(good, (*WRONG, *KEYS)):
            check_payload(handler, payload, capsys)


@pytest.mark.slow
@settings(
    max_examples=1000,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(payload=PAYLOADS)
def test_any_payload_is_answered_or_refused_by_name(
    handler: ModuleType, capsys: Any, payload: Any
) -> None:
    check_payload(handler, payload, capsys)
