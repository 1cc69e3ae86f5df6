"""How conftest.py distributes the tests over processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import BY_MODULE, LONGEST_FIRST, ON_ONE_PIPELINE, group_of


@pytest.mark.slow
def test_a_group_runs_in_one_process_and_the_longest_starts_first(root: Path) -> None:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV_"))}
    chosen = ["tests/pipeline/test_keys.py", "tests/pipeline/test_settings.py"]
    chosen += ["tests/test_house.py", "tests/e2e/test_permissions.py"]
    wanted = "keys or settings or allowed or listed"  # none that takes long
    command = [sys.executable, "-m", "pytest", "--numprocesses", "2", "--verbose"]

    run = subprocess.run(
        [*command, *chosen, "-k", wanted], cwd=root, env=environ, capture_output=True, text=True
    )

    ran = re.findall(r"^\[(gw\d)\] .* PASSED tests/(\w+)", run.stdout, re.MULTILINE)
    process_of = {group: process for process, group in ran}
    assert set(process_of) == {"pipeline", "test_house", "e2e"}, run.stdout
    assert len(set(ran)) == 3, "a group ran in both processes"
    assert set(process_of.values()) == {"gw0", "gw1"}
    assert next(group for process, group in ran if process == process_of["e2e"]) == "e2e"


def test_the_named_groups_exist(root: Path) -> None:
    modules = [module for together in ON_ONE_PIPELINE.values() for module in together]
    groups = [*BY_MODULE, *modules, *(set(LONGEST_FIRST) - set(ON_ONE_PIPELINE))]

    assert [group for group in groups if not (root / "tests" / group).exists()] == []
    assert set(ON_ONE_PIPELINE) <= set(LONGEST_FIRST)


def test_modules_on_one_pipeline_are_a_group_and_no_other_module_uses_it(root: Path) -> None:
    for group, modules in ON_ONE_PIPELINE.items():
        for module in modules:
            assert group_of(f"tests/{module}::test_a") == group
    users = {
        str(path.relative_to(root / "tests"))
        for folder in ("e2e", "workload")
        for path in (root / "tests" / folder).rglob("test_*.py")
        if re.search(r"^def test_[^)]*\b(pipeline|emptied|stack): ", path.read_text(), re.MULTILINE)
    }
    assert users == {module for modules in ON_ONE_PIPELINE.values() for module in modules}
