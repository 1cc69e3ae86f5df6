"""The splitter's log lines have the fields of Powertools' logger and the recognizer's ID."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import step_log

from tests.video_splitting.conftest import Context

ID = "11111111-2222-3333-4444-555555555555"
TRACE = "1-5759e988-bd862e3fe1be46a994272793"


class LambdaContext(Context):
    """Lambda's context object, as the runtime gives it."""

    aws_request_id = ID
    function_name = "n-video-splitting"


@pytest.fixture(autouse=True)
def new_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that has run nothing yet; other tests get no IDs from here."""
    monkeypatch.setattr(step_log._Invocation, "count", 0)
    monkeypatch.setattr(step_log._Invocation, "fields", {})


def lines_of(world: Any, capsys: Any, *keys: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    world.module.handler(world.event(*keys), LambdaContext())
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_every_line_has_the_fields_of_powertools(
    world: Any, clip: Path, callee: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put("a.mp4", clip)
    monkeypatch.setenv("_X_AMZN_TRACE_ID", f"Root={TRACE};Parent=53995c3f42cd8ad8;Sampled=0")

    first, second = (lines_of(world, capsys, "a.mp4") for _ in range(2))

    for line in first:
        assert (line["level"], line["service"]) == ("INFO", "video-splitting")
        assert line["function_name"] == "n-video-splitting"
        assert line["function_request_id"] == line["correlation_id"] == ID
        assert line["xray_trace_id"] == TRACE
        assert line["timestamp"].endswith("+00:00")
        assert line["message"]
    places = {line["step"]: line["location"].partition(":")[0] for line in first}
    assert (places["video"], places["frames"]) == ("answer", "_look_once_or_twice")
    # AND a video is named when work on it begins, so that one that never ends is found
    assert first[0]["step"] == "start"
    assert {line["cold_start"] for line in first} == {True}
    assert {line["cold_start"] for line in second} == {False}
    # AND the recognizer is told the ID
    assert {payload["correlation_id"] for payload in callee.payloads} == {ID}


def test_a_failure_is_of_level_error(world: Any, capsys: Any) -> None:
    capsys.readouterr()
    with pytest.raises(Exception, match=r"no\.mp4"):
        world.module.handler(world.event("no.mp4"), LambdaContext())

    line = json.loads(capsys.readouterr().out.splitlines()[-1])

    assert (line["level"], line["message"]) == ("ERROR", "Failed: video")
    assert line["exception_name"] == "VideoGone"
    assert line["error"].startswith("VideoGone: ")
