"""What conftest.py promises about how tests are run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path


def test_the_tests_of_a_folder_run_in_one_process(root: Path) -> None:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV_"))}
    chosen = ["tests/pipeline/test_aws.py", "tests/workload/test_checks.py"]
    chosen += ["tests/samples/test_samples.py", "-k", "aws or checks or table"]
    command = [sys.executable, "-m", "pytest", "--numprocesses", "2", "--verbose", *chosen]

    run = subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True)

    ran = set(re.findall(r"^\[(gw\d)\] .* PASSED tests/(\w+)/", run.stdout, re.MULTILINE))
    process_of = {folder: process for process, folder in ran}
    assert set(process_of) == {"pipeline", "workload", "samples"}, run.stdout
    assert len(ran) == 3, "a folder ran in both processes"
    assert process_of["samples"] == process_of["workload"] != process_of["pipeline"]
