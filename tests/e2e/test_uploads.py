"""Nothing uploaded vanishes: an object ends in an answer, a failure, or a line that is counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.keys import output_key
from pipeline.settings import ROOT
from samples.stack import Stack
from tests.e2e.conftest import eventually

Answer = Callable[..., tuple[str, dict[str, str]]]
Failure = Callable[[str], dict[str, Any]]

# Containers by suffix, and the encoder that each is usually filled with.
CONTAINERS = {
    "a.Mp4": ["-c", "copy"],
    "a.mts": ["-c", "copy", "-f", "mpegts"],
    "a.3gp": ["-c", "copy"],
    "a.wmv": ["-c:v", "wmv2", "-q:v", "4"],
    "a.flv": ["-c:v", "flv1", "-q:v", "4"],
}


@pytest.mark.parametrize("key", list(CONTAINERS))
def test_every_container_that_ffmpeg_reads_safely_is_answered(
    stack: Stack, videos: Path, ffmpeg: str, s3: Any, answer: Answer, tmp_path: Path, key: str
) -> None:
    made = tmp_path / key
    argv = [ffmpeg, "-loglevel", "error", "-i", str(videos / "test_02.mp4")]
    argv += [*CONTAINERS[key], str(made)]
    subprocess.run(argv, check=True)

    s3.upload_file(str(made), stack.deployment.input_bucket, f"containers/{key}")

    found, _ = answer(stack.deployment.output_bucket, output_key(f"containers/{key}"))
    assert found == "Joe Biden"


@pytest.mark.parametrize("key", ["noext", "refused/a.rmvb", "refused/clip.mp4.part"])
def test_what_may_be_a_video_but_cannot_be_read_is_a_failure_that_names_the_suffixes(
    stack: Stack, videos: Path, s3: Any, failure: Failure, key: str
) -> None:
    body = (videos / "test_02.mp4").read_bytes()
    s3.put_object(Bucket=stack.deployment.input_bucket, Key=key, Body=body)

    report = failure(key)

    assert report["requestContext"]["condition"] == "PermanentFailure"
    assert report["requestContext"]["approximateInvokeCount"] == 1
    message = report["responsePayload"]["errorMessage"]
    assert key in message
    for suffix in ("mp4", "mov", "mts", "wmv"):
        assert suffix in message, message
    assert outputs(s3, stack, key) == []


def test_what_is_plainly_not_a_video_is_skipped_and_counted(stack: Stack, s3: Any) -> None:
    bucket = stack.deployment.input_bucket
    for key in ("skipped/a.txt", "skipped/folder/", "skipped/PHOTO.JPG"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"This is not a video.")

    def status() -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, ROOT / "deploy/status.py", "--config", stack.config, "--json"],
            env={**os.environ, **stack.aws.environ},
            capture_output=True,
            text=True,
        )
        found: dict[str, Any] = json.loads(done.stdout)["skipped"]
        return found

    found = eventually(lambda: (s := status())["count"] >= 3 and s, 30)

    text = " ".join(found["first"])
    for key in ("skipped/a.txt", "skipped/folder/", "skipped/PHOTO.JPG"):
        assert f"s3://{bucket}/{key}" in text
    assert outputs(s3, stack, "skipped/") == []


def outputs(s3: Any, stack: Stack, prefix: str) -> list[str]:
    """The keys of the output objects that begin with `prefix`."""
    found = s3.list_objects_v2(Bucket=stack.deployment.output_bucket, Prefix=prefix)
    return [item["Key"] for item in found.get("Contents", [])]


@pytest.mark.parametrize("key", ["empty.mp4", "text.mp4"])
def test_a_video_that_no_retry_can_read_fails_at_once(
    stack: Stack, s3: Any, failure: Failure, key: str
) -> None:
    content = b"" if key == "empty.mp4" else b"This is not a video. " * 100
    s3.put_object(Bucket=stack.deployment.input_bucket, Key=key, Body=content)

    report = failure(key)

    assert report["requestContext"]["condition"] == "PermanentFailure"
    assert report["requestContext"]["approximateInvokeCount"] == 1
    assert f"{stack.deployment.input_bucket}/{key}" in report["responsePayload"]["errorMessage"]


@pytest.mark.slow
def test_a_permanent_failure_is_listed_shown_and_sent_again_once(
    stack: Stack, videos: Path, s3: Any, answer: Answer, client: Callable[[str], Any]
) -> None:
    bucket, key = stack.deployment.input_bucket, "again/ü b+c.mp4"
    video = f"s3://{bucket}/{key}"

    def failures(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, ROOT / "deploy/failures.py", *words, *stack.deployment.options],
            env={**os.environ, **stack.aws.environ},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout + (done.stderr if words[0] == "redrive" else "")

    def listed() -> list[str]:
        return [line for line in failures("list").splitlines() if video in line]

    # GIVEN a failure that the splitter sent by itself
    s3.put_object(Bucket=bucket, Key=key, Body=b"This is not a video. " * 50)
    (line,) = eventually(listed)
    message = line.split()[0]
    assert f"{video}  UnreadableVideo: {video}: it is not a video" in line
    shown = json.loads(failures("show", message))
    assert shown["requestContext"]["condition"] == "PermanentFailure"
    # WHEN it is sent again, THEN it fails again, as one new message
    assert f"redrive {message} ({video})" in failures("redrive", message)
    (again,) = eventually(lambda: [line for line in listed() if message not in line])
    assert len(listed()) == 1
    # WHEN the video has been replaced, and the failure is sent again, THEN nothing is left of it
    s3.upload_file(str(videos / "test_02.mp4"), bucket, key)
    assert answer(stack.deployment.output_bucket, output_key(key))[0] == "Joe Biden"
    failures("redrive", again.split()[0])
    logs = client("logs")
    group = f"/aws/lambda/{stack.deployment.splitter.name}"

    def ends() -> list[Any]:
        events = logs.filter_log_events(logGroupName=group)["events"]
        lines = [json.loads(event["message"]) for event in events if event["message"][0] == "{"]
        return [line for line in lines if (line["step"], line["video"]) == ("video", video)]

    tried = eventually(lambda: (found := ends())[3:] and found)
    assert [end.get("error", "").partition(":")[0] for end in tried] == [
        *("UnreadableVideo", "UnreadableVideo", "", ""),
    ]
    assert listed() == []


def test_one_bad_object_does_not_hold_up_another(
    stack: Stack, videos: Path, s3: Any, answer: Answer, failure: Failure
) -> None:
    bucket = stack.deployment.input_bucket
    s3.put_object(Bucket=bucket, Key="mixed/bad.mp4", Body=b"not a video")
    s3.upload_file(str(videos / "test_02.mp4"), bucket, "mixed/good.mp4")

    assert answer(stack.deployment.output_bucket, "mixed/good.txt")[0] == "Joe Biden"
    assert failure("mixed/bad.mp4")["responsePayload"]["errorType"] == "UnreadableVideo"
