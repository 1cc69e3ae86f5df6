"""The pipeline with the CPU that its functions' memory buys."""

from __future__ import annotations

import json
import re
from pathlib import Path

import psutil
import pytest

from local_aws.cpu_share import cores
from pipeline.settings import Deployment
from samples.stack import client_side, running
from tests.e2e.conftest import eventually
from workload.reporting.invocations import WAITING_STEP


@pytest.mark.slow
def test_the_pipeline_answers_with_the_cpu_that_its_memory_buys(
    people: Path, videos: Path, ffmpeg_zip: Path
) -> None:
    with running(Deployment("share"), people, aws_settings={"cpu_share": True}) as stack:
        client, splitter = client_side(stack.aws).client, stack.deployment.splitter
        s3, logs = client("s3"), client("logs")
        s3.upload_file(str(videos / "test_02.mp4"), stack.deployment.input_bucket, "clip.mp4")

        def text() -> str:
            keys = s3.list_objects_v2(Bucket=stack.deployment.output_bucket).get("Contents", [])
            if not keys:
                return ""
            found = s3.get_object(Bucket=stack.deployment.output_bucket, Key=keys[0]["Key"])
            return str(found["Body"].read().decode())

        def log() -> list[str]:
            events = logs.filter_log_events(logGroupName=splitter.log_group)["events"]
            lines = [str(event["message"]) for event in events]
            return lines if any(line.startswith("REPORT") for line in lines) else []

        assert eventually(text, 180) == "Joe Biden"
        lines = eventually(log)
        line = next(line for line in lines if line.startswith("REPORT"))
        took_ms = map(float, re.findall(r"(?<!Billed )Duration: ([\d.]+) ms", line))
        steps = [json.loads(line) for line in lines if line.startswith("{")]
        waited_ms = sum(step["ms"] for step in steps if step["step"] == WAITING_STEP)
        own_s = (sum(took_ms) - waited_ms) / 1000
        memory_mb = int(re.findall(r"Memory Size: (\d+)", line)[0])
        (process,) = [
            child
            for child in psutil.Process(stack.aws.pid).children(recursive=True)
            if child.environ().get("AWS_LAMBDA_FUNCTION_NAME") == splitter.name
        ]
        used_s = sum(process.cpu_times()[:4])  # its ffmpeg's included

    assert memory_mb < 1769
    assert used_s <= cores(memory_mb) * own_s * 1.2 + 0.05
