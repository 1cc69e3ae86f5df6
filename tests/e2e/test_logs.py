"""One ID goes through both functions, and the scripts find a video by it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.settings import ROOT
from samples.stack import Stack
from tests.e2e.conftest import eventually

KEY = "logs/ü v.mp4"


def test_a_video_is_followed_through_both_functions(
    stack: Stack, videos: Path, s3: Any, answer: Callable[..., Any]
) -> None:
    def printed(script: str, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, ROOT / script, "--config", stack.config, *words],
            env={**os.environ, **stack.aws.environ},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    s3.upload_file(str(videos / "test_02.mp4"), stack.deployment.input_bucket, KEY)
    answer(stack.deployment.output_bucket, "logs/ü v.txt")

    def seen() -> list[dict[str, Any]]:
        found = [json.loads(line) for line in printed("deploy/logs.py", "--json", KEY).splitlines()]
        return found if found and found[-1]["message"] == "Invocation ended" else []

    lines = eventually(seen)

    assert {line["service"] for line in lines} == {"video-splitting", "face-recognition"}
    assert len({line["correlation_id"] for line in lines}) == 1
    # Each function has its own request ID
    assert len({line["function_request_id"] for line in lines}) == 2
    path = json.loads(printed("deploy/status.py", "--video", KEY, "--json"))
    assert path["state"] == "answered"
    assert path["reason"].startswith("Joe Biden (")
    assert [moment["what"] for moment in path["moments"]] == [
        *("uploaded", "started", "split", "recognized", "answered"),
    ]
