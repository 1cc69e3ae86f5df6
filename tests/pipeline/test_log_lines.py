"""Log lines: their fields, which invocation they belong to, and which video they are about."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline import log_lines
from pipeline.log_lines import Line, OfVideo, in_order, lines_of


def events(*texts: str, stream: str = "s", start: int = 0) -> list[dict[str, Any]]:
    return [
        {"message": text, "timestamp": start + 1000 * n, "logStreamName": stream}
        for n, text in enumerate(texts)
    ]


def one(*texts: str) -> Line:
    *_, last = lines_of("f", events(*texts))
    return last


def step(name: str, **more: Any) -> str:
    return json.dumps({"step": name, "message": name, **more})


def test_a_json_line_keeps_its_own_fields_apart_from_the_common_ones() -> None:
    line = one(step("x", level="ERROR", function_request_id="r", correlation_id="c", ms=1))

    assert (line.level, line.message, line.request_id) == ("ERROR", "x", "r")
    assert line.correlation_id == "c"
    assert line.fields == {"step": "x", "ms": 1}


@pytest.mark.parametrize(
    ("text", "level", "message"),
    [
        ("[ERROR] KeyError: 'x'\nTraceback", "ERROR", "KeyError: 'x'\nTraceback"),
        ("2026-11-27T09:00:00Z r Task timed out after 3.00 seconds", "ERROR", None),
        ("INIT_REPORT Init Duration: 10000 ms\tPhase: init\tStatus: timeout", "ERROR", None),
        ("REPORT RequestId: r\tDuration: 1 ms\tStatus: error", "ERROR", "Invocation ended"),
        ("REPORT RequestId: r\tDuration: 1 ms", "INFO", "Invocation ended"),
        ('{"cut', "INFO", '{"cut'),
        ("[1, 2]", "INFO", "[1, 2]"),
    ],
)
def test_a_line_of_python_or_lambda_belongs_to_the_running_invocation(
    text: str, level: str, message: str | None
) -> None:
    line = one("START RequestId: r Version: 1", step("x", correlation_id="c"), text)

    assert (line.level, line.message) == (level, message or text)
    # The recognizer's own ID, and the one that its handler has logged
    assert (line.request_id, line.correlation_id) == ("r", "c")


def test_an_environment_that_starts_another_invocation_forgets_the_earlier_ids() -> None:
    assert one("START RequestId: a", step("x", correlation_id="c"), "START RequestId: b", "t") == (
        Line(3.0, "f", "INFO", "t", "b")
    )


def test_figures_of_a_report_are_fields() -> None:
    line = one("REPORT RequestId: r\tDuration: 1.50 ms\tMax Memory Used: 55 MB")

    assert line.fields == {"duration": "1.50 ms", "max_memory_used": "55 MB"}


def test_start_and_end_are_left_out() -> None:
    assert (
        list(lines_of("f", events("INIT_START x", "START RequestId: r", "END RequestId: r"))) == []
    )


def test_logs_are_merged_by_time_without_being_read_at_once() -> None:
    read = []

    def endless(name: str, start: float) -> Any:
        while True:
            read.append(name)
            yield Line(start, name, "INFO", "")
            start += 2

    merged = in_order(endless("a", 0), endless("b", 1))

    assert [next(merged).function for _ in range(4)] == ["a", "b", "a", "b"]
    assert len(read) < 7


def test_a_videos_lines_are_found_by_name_and_id() -> None:
    is_ours = OfVideo("s3://in/d/v.mp4", "stage")

    def line(ids: str = "", **fields: Any) -> bool:
        return is_ours(Line(0, "f", "INFO", "", ids, ids, fields))

    assert not line("1", text="before anything is known")
    assert line("1", video="s3://in/d/v.mp4")
    assert line("1", frame="stage/d/v.jpg")
    assert line("1", frame="stage/d/v/output-03.jpg")
    assert line("1", duration="1 ms")
    # Another video of the same event, and another event
    assert not line("1", video="s3://in/d/v2.mp4")
    assert not line("1", frame="stage/d/v2.jpg")
    assert not line("2", duration="1 ms")
    assert not line("", seconds=1)


def test_only_so_many_ids_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "KEPT", 3)
    is_ours = OfVideo("s3://in/v.mp4", "stage")
    for number in range(9):
        is_ours(Line(0, "f", "INFO", "", "", f"{number}", {"video": "s3://in/v.mp4"}))

    assert list(is_ours.ids) == ["6", "7", "8"]
