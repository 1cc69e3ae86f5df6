"""Telemetry of one invocation that cannot be written costs no other its own."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from local_aws.function import Telemetry
from local_aws.telemetry import TelemetrySink
from tests.local_aws.test_concurrency import SPEC


def test_an_error_that_nobody_expected_is_logged_and_the_next_is_written(
    caplog: pytest.LogCaptureFixture,
) -> None:
    written = []

    def put(role: str, group: str, stream: str, lines: Sequence[tuple[int, str]]) -> None:
        if stream == "fault":
            raise OSError("writing failed")
        written.append(stream)

    sink = TelemetrySink(put, lambda *_: None)
    for stream in ("fault", "next"):
        sink(Telemetry(SPEC, stream, [(0, "line")]))
    sink.close()

    assert written == ["next"]
    assert "telemetry of f was lost" in caplog.text
