"""An error of ours inside an invocation leaves nothing running."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from local_aws.executor import Executor
from local_aws.function import Telemetry
from tests.local_aws.test_concurrency import SPEC

KEYS = dict.fromkeys(("AccessKeyId", "SecretAccessKey", "SessionToken"), "x")


def test_an_error_of_ours_stops_the_environment(tmp_path: Path) -> None:
    (tmp_path / "handler.py").write_text("def handler(event, context):\n    return 1\n")

    def fail(telemetry: Telemetry) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    executor = Executor(
        tmp_path / "environments",
        "http://127.0.0.1:9",
        lambda role: KEYS,
        fail,
        cap=1,
        has_cpu_share=False,
        init_limit_s=20,
    )
    process = psutil.Process()
    before = process.children(recursive=True)

    with pytest.raises(OSError, match="Too many open files"):
        executor.invoke(replace(SPEC, task_root=tmp_path), b"{}")

    left = [child for child in process.children(recursive=True) if child not in before]
    alive = psutil.wait_procs(left, timeout=5)[1]
    for child in alive:
        child.kill()
    assert alive == []
