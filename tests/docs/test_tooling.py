"""The hosted workflow and the git hooks run what the Makefile and .ci/run run."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.docs.pages import ROOT


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_workflow_runs_what_ci_runs() -> None:
    workflow = read(".github/workflows/ci.yml")
    (job,) = workflow["jobs"].values()
    python = next(step["with"] for step in job["steps"] if "python" in step.get("uses", ""))

    assert workflow["permissions"] == {"contents": "read"}
    assert job["timeout-minutes"] == 90
    assert python["python-version"] == "3.12"
    assert all((ROOT / name).is_file() for name in python["cache-dependency-path"].split())
    commands = "\n".join(step.get("run", "") for step in job["steps"])
    assert re.search(r"^sudo .* \.ci/run$", commands, re.MULTILINE)
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_hooks_need_no_network() -> None:
    (repository,) = read(".pre-commit-config.yaml")["repos"]
    entries = [hook["entry"].split()[0] for hook in repository["hooks"]]

    assert repository["repo"] == "local"
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
    assert all(entry.startswith(".venv/bin/") for entry in entries)
    tools = Path(sys.executable).parent
    assert [entry for entry in entries if not (tools / Path(entry).name).exists()] == []


def test_the_oldest_python_is_the_one_that_the_tools_check_for() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")

    oldest = re.search(r'requires-python = ">=3\.(\d+)"', project)
    assert oldest
    assert f'target-version = "py3{oldest[1]}"' in project
    assert f"-t=3.{oldest[1]}-" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f'"Programming Language :: Python :: 3.{oldest[1]}"' in project
