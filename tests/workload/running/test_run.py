"""Saving and loading runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workload.running.input_errors import RunError
from workload.running.run import VideoRun, WorkloadRun, load, save

RUN = WorkloadRun("p", "", "us-east-1", 1.0, 9.0, 0.5, (VideoRun("a.mp4", 10, 1.0, 2.0, 3.0),))


def test_a_file_of_an_older_version_is_read(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    save(RUN, path)
    content = json.loads(path.read_text())
    del content["waited"], content["videos"][0]["repeated"]
    del content["videos"][0]["expected"], content["videos"][0]["answer"]
    path.write_text(json.dumps(content))

    assert load(path) == RUN


def test_an_answer_from_before_the_run_has_no_latency() -> None:
    assert RUN.videos[0].latency_s == 2.0
    assert VideoRun("a.mp4", 10, 1.0, 2.0, 2.0, repeated=True).latency_s is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("key", 5),
        ("size_bytes", "10"),
        ("started", "1"),
        ("stored", None),
        ("stored", True),
        ("answered", "3"),
        ("answered", float("nan")),
        ("answered", 1e300),
        ("repeated", 1),
        ("expected", 5),
        ("answer", ["Ann"]),
    ],
)
def test_a_field_of_the_wrong_type_is_rejected(tmp_path: Path, name: str, value: object) -> None:
    path = tmp_path / "run.json"
    save(RUN, path)
    content = json.loads(path.read_text())
    content["videos"][0][name] = value
    path.write_text(json.dumps(content))

    with pytest.raises(RunError, match=f"Cannot read the run in .*: {name} is "):
        load(path)
