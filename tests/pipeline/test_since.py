"""Tests: times that users give."""

from __future__ import annotations

import click
import pytest

from pipeline.since import moment

OPTION = click.Option(["--since"])
CONTEXT = click.Context(click.Command("logs"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 910),
        ("1.5m", 910),
        ("1970-01-01T00:01:00Z", 60),
        ("1970-01-01T00:01:00", 60),
        ("1970-01-01T00:01:00+00:00", 60),
    ],
)
def test_a_time_is_ago_or_iso_8601(
    text: str, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1000.0)
    assert moment(CONTEXT, OPTION, text) == expected


@pytest.mark.parametrize("text", ["yesterday", "", "5", "-1h"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="use 90s"):
        moment(CONTEXT, OPTION, text)
