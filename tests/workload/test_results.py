"""The list of answers: what is shown of which outputs."""

from __future__ import annotations

import csv
import io
import json
import time
from typing import Any

import pytest

from tests.workload.conftest import Place

PEOPLE = json.dumps([["Ada%20Lee", 3, 0.0, 3.2, 0.31], ["Bj%C3%B6rk", 1, 1.6, 1.6, 0.4]])
OUTPUTS: dict[str, tuple[str, dict[str, str]]] = {
    "dir/a b.txt": (
        "Ada Lee",
        {"source-key": "dir/a%20b.mp4", "distance": "0.31", "frames": "5", "people": PEOPLE},
    ),
    "b.mov.txt": (
        "Ada Lee",
        {"source-key": "b.mov", "distance": "0.2", "box": "[1,2,3,4]", "frame-etag": "?"},
    ),
    "c.txt": (
        "Unknown",
        {"source-key": "c.mp4", "distance": "0.71", "nearest": "Ada%20Lee", "box": "[1,2,3,4]"},
    ),
    "d.txt": ("No face", {"source-key": "sha256:0123"}),
    "e.txt": ("=cmd()", {}),
    "dir/a b.json": ("{}", {}),
}


@pytest.fixture
def filled(bare: Place) -> Place:
    """Outputs of every kind, and the frame of one."""
    s3, names = bare.client("s3"), bare.deployment
    frame = s3.put_object(
        Bucket=names.stage_1_bucket, Key="b.mov.jpg", Body=b"x", Metadata={"frame-time": "0.4"}
    )
    for key, (text, metadata) in OUTPUTS.items():
        if "frame-etag" in metadata:
            metadata = {**metadata, "frame-etag": frame["ETag"].strip('"')}
        body = text.encode()
        s3.put_object(Bucket=names.output_bucket, Key=key, Body=body, Metadata=metadata)
    return bare


def rows(place: Place, *options: object) -> list[dict[str, Any]]:
    """What results.py prints as JSON."""
    done = place.run("workload/results.py", "--json", *options)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_every_answer_is_listed_in_every_form(filled: Place) -> None:
    table = filled.run("workload/results.py")
    lines = filled.run("workload/results.py", "--csv").stdout
    found = rows(filled)

    assert [row["video"] for row in found] == ["b.mov", "c.mp4", "d.txt", "dir/a b.mp4", "e.txt"]
    assert found[3]["people"][0] == {
        **{"name": "Ada Lee", "frames": 3, "first": 0.0, "last": 3.2, "distance": 0.31}
    }
    assert (found[1]["nearest"], found[1]["distance"], found[2]["distance"]) == (
        *("Ada Lee", 0.71),
        None,
    )
    assert "Ada Lee 0 to 3.2 s (0.31), Björk 1.6 s (0.40)" in table.stdout
    assert "Unknown, nearest Ada Lee 0.71" in table.stdout
    assert table.stderr == ""  # no bar where there is no terminal
    cells = list(csv.DictReader(io.StringIO(lines)))
    assert [row["video"] for row in cells] == [row["video"] for row in found]
    assert cells[4]["answer"] == "'=cmd()"  # no formula in a spreadsheet


def test_a_person_is_found_with_the_times(filled: Place) -> None:
    found = rows(filled, "--person", "ADA  lee")

    # THEN where one frame was enough, the frame has the time
    assert [(row["video"], row["people"][0]["first"]) for row in found] == [
        ("b.mov", 0.4),
        ("dir/a b.mp4", 0.0),
    ]
    # AND somebody who is not the answer is found as well
    (other,) = rows(filled, "--person", "Bjo\u0308rk")
    assert [(p["name"], p["first"]) for p in other["people"]] == [("Björk", 1.6)]
    none = filled.run("workload/results.py", "--person", "Cy")
    assert (none.returncode, none.stdout) == (0, "")
    assert "There is no answer with Cy in s3://" in none.stderr


def test_unknown_and_since_choose(filled: Place) -> None:
    assert [row["video"] for row in rows(filled, "--unknown")] == ["c.mp4"]
    assert len(rows(filled, "--since", "1h")) == 5
    later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
    assert rows(filled, "--since", later) == []
    none = filled.run("workload/results.py", "--unknown", "--since", later)
    assert f"There is no answer that is Unknown since {later} in s3://" in none.stderr
    wrong = filled.run("workload/results.py", "--since", "yesterday")
    assert wrong.returncode == 2
    assert "'yesterday' is not a time: use 90s" in wrong.stderr
