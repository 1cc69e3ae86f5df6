"""The client's commands on CloudShell's Python, with its last supported packages."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.workload.conftest import Place


@pytest.mark.slow
def test_a_run_is_generated_graded_and_reported(
    emptied: Place, cloudshell: str, few_videos: Path, tmp_path: Path
) -> None:
    shell = dataclasses.replace(emptied, python=cloudshell)
    options = ("--testcase-folder", few_videos, "--run", "run.json", "--report", "report.html")

    made = shell.start("workload/generate.py", *options, cwd=tmp_path)
    limits = ("--max-split", 60, "--max-recognition", 60)  # speed does not matter here
    graded = shell.start(
        "workload/grade.py",
        *("--testcase-folder", few_videos, "--run", "run.json", *limits),
        cwd=tmp_path,
    )

    one = few_videos / "test_00.mp4"
    who = shell.start("workload/recognize.py", one, "--save", "frames", cwd=tmp_path)
    listed = shell.start("workload/results.py", "--csv", cwd=tmp_path)

    assert who.returncode == 0, who.stdout + who.stderr
    assert (tmp_path / "frames" / "test_00.mp4.jpg").is_file()
    assert len(listed.stdout.splitlines()) == 6, listed.stderr
    assert made.returncode == 0, made.stdout + made.stderr
    assert "answered    4 of 4" in made.stdout
    assert "<h1>4 of 4 right</h1>" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert graded.returncode == 0, graded.stdout + graded.stderr
    assert "100/100 points" in graded.stdout
