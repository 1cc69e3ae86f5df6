"""Videos through the deployed pipeline: what users upload, and what they get."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from deploy.parts.rights import POLICY_NAME
from pipeline.bucket_admin import empty_bucket
from pipeline.keys import frame_key, output_key
from pipeline.settings import Deployment
from samples.demo import run_videos
from samples.scenes import PEOPLE
from samples.stack import Stack, client_side
from workload.grading.checks import PASS, name_check, object_checks
from workload.grading.objects import holdings, read_answers, read_policy
from workload.running.videos import find_videos, folder_expected

Answer = Callable[..., tuple[str, dict[str, str]]]


def holds_only(s3: Any, bucket: str, keys: list[str], prefix: str = "") -> bool:
    """Whether the bucket's objects that begin with `prefix` are exactly `keys`."""
    found = s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
    return [item["Key"] for item in found] == keys


def check_frame(s3: Any, deployment: Deployment, video: str) -> None:
    """The only frame of a video is the one that its answer comes from, once the text is there."""
    text = s3.head_object(Bucket=deployment.output_bucket, Key=output_key(video))
    key = frame_key(video)
    assert holds_only(s3, deployment.stage_1_bucket, [key], key.removesuffix(".jpg"))
    frame = s3.head_object(Bucket=deployment.stage_1_bucket, Key=key)
    assert frame["ETag"].strip('"') == text["Metadata"]["frame-etag"]


def test_every_sample_video_gets_the_right_name(stack: Stack, videos: Path, s3: Any) -> None:
    for bucket in stack.deployment.buckets:
        empty_bucket(s3, bucket)
    found = find_videos(videos)
    expected = folder_expected(videos, found) or {}

    _, rows = run_videos(stack, found, expected, limit=120)

    assert {row.video: row.answer for row in rows} == expected
    # THEN the buckets hold one frame and one text per video, and nothing else
    for bucket, made in (
        (stack.deployment.stage_1_bucket, frame_key),
        (stack.deployment.output_bucket, output_key),
    ):
        wanted = sorted(map(made, expected))
        assert holds_only(s3, bucket, wanted)
    # THEN the grader counts the same
    aws = client_side(stack.aws)
    held, policy = holdings(aws, stack.deployment), read_policy(aws, stack.deployment)
    assert (policy.frames, policy.with_json) == (1, False)
    checks = object_checks(held, policy.frames, {}, policy.with_json)
    checks.append(name_check(held, expected, read_answers(aws, held, expected)))
    assert [check for check in checks if check.status != PASS] == []


@pytest.mark.parametrize(
    ("key", "output"),
    [
        (
            "a folder/with spaces+plus & 100%,\na line.mp4",
            "a folder/with spaces+plus & 100%,\na line.txt",
        ),
        ("ünïcode/名前.mp4", "ünïcode/名前.txt"),
        ("clip.mov", "clip.mov.txt"),
        ("名" * 200 + ".mp4", "名" * 200 + ".txt"),
    ],
)
def test_unusual_keys_are_handled(
    stack: Stack, videos: Path, s3: Any, answer: Answer, key: str, output: str
) -> None:
    s3.upload_file(str(videos / "test_00.mp4"), stack.deployment.input_bucket, key)

    assert answer(stack.deployment.output_bucket, output)[0] == "Barack Obama"


def test_a_video_from_the_aws_cli_is_answered(stack: Stack, videos: Path, answer: Answer) -> None:
    aws = Path(sys.executable).parent / "aws"
    target = f"s3://{stack.deployment.input_bucket}/from-cli.mp4"

    subprocess.run(
        [aws, "s3", "cp", videos / "test_02.mp4", target],
        env={**os.environ, **stack.aws.environ},
        check=True,
        capture_output=True,
    )

    assert answer(stack.deployment.output_bucket, "from-cli.txt")[0] == "Joe Biden"


def test_the_output_metadata_name_the_source(
    stack: Stack, videos: Path, s3: Any, answer: Answer
) -> None:
    bucket = stack.deployment.input_bucket
    s3.upload_file(str(videos / "test_03.mp4"), bucket, "source.mp4")

    text, metadata = answer(stack.deployment.output_bucket, "source.txt")

    etag = s3.head_object(Bucket=bucket, Key="source.mp4")["ETag"].strip('"')
    assert text == "Eileen Collins"
    assert metadata["source-key"] == "source.mp4"
    assert metadata["source-etag"] == etag
    assert metadata["model"] == stack.model
    assert 0 <= float(metadata["distance"]) < 1
    assert len(json.loads(metadata["box"])) == 4


def test_a_second_look_finds_who_comes_after_a_black_start(
    stack: Stack, videos: Path, s3: Any, answer: Answer
) -> None:
    names = stack.deployment
    s3.upload_file(str(videos / "test_14.mp4"), names.input_bucket, "later/black.mp4")

    text, metadata = answer(names.output_bucket, "later/black.txt")

    assert text == "Barack Obama"
    assert int(metadata["frames"]) == 5
    ((name, frames, first, last, distance),) = json.loads(metadata["people"])
    assert (unquote(name), frames) == ("Barack Obama", int(metadata["votes"]))
    assert 0.52 <= first < last < 2
    assert distance == pytest.approx(float(metadata["distance"]), abs=0.005)
    # THEN the frame that the answer comes from is the video's only one
    check_frame(s3, names, "later/black.mp4")
    frame = s3.head_object(Bucket=names.stage_1_bucket, Key="later/black.jpg")
    assert first <= float(frame["Metadata"]["frame-time"]) <= last
    assert frame["ETag"].strip('"') == metadata["frame-etag"]


def test_an_unknown_face_has_a_nearest_person(
    stack: Stack, videos: Path, s3: Any, answer: Answer
) -> None:
    names = stack.deployment
    s3.upload_file(str(videos / "test_05.mp4"), names.input_bucket, "stranger.mp4")

    text, metadata = answer(names.output_bucket, "stranger.txt")

    assert text == "Unknown"
    assert unquote(metadata["nearest"]) in PEOPLE
    assert float(metadata["distance"]) >= float(metadata["threshold"])
    assert "people" not in metadata or json.loads(metadata["people"]) == []


def test_texts_of_an_older_deployments_frames_are_removed(
    stack: Stack, videos: Path, s3: Any, answer: Answer
) -> None:
    names = stack.deployment
    origin = {"source-bucket": names.input_bucket, "source-key": "upgraded.mp4"}
    for index in range(5):
        key = f"upgraded/output-{index:02d}.txt"
        s3.put_object(Bucket=names.output_bucket, Key=key, Body=b"Joe Biden", Metadata=origin)
    # a client's own object in the same folder
    s3.put_object(Bucket=names.output_bucket, Key="upgraded/notes.txt", Body=b"mine")

    s3.upload_file(str(videos / "test_00.mp4"), names.input_bucket, "upgraded.mp4")

    answer(names.output_bucket, "upgraded.txt")

    left = ["upgraded.txt", "upgraded/notes.txt"]
    assert holds_only(s3, names.output_bucket, left, "upgraded")


@pytest.mark.parametrize("sample", ["test_00.mp4", "test_05.mp4", "test_14.mp4"])
def test_a_repeated_event_does_no_work_twice(
    stack: Stack,
    videos: Path,
    s3: Any,
    client: Callable[[str], Any],
    answer: Answer,
    sample: str,
) -> None:
    deployment, key = stack.deployment, f"twice-{sample}"
    s3.upload_file(str(videos / sample), deployment.input_bucket, key)
    answer(deployment.output_bucket, output_key(key))
    text, frame = output_key(key), frame_key(key)
    places = ((deployment.stage_1_bucket, frame), (deployment.output_bucket, text))
    check_frame(s3, stack.deployment, key)
    before = [s3.head_object(Bucket=b, Key=k)["LastModified"] for b, k in places]
    etag = s3.head_object(Bucket=deployment.input_bucket, Key=key)["ETag"].strip('"')
    event = {
        "Records": [
            {
                "eventSource": "aws:s3",
                "eventName": "ObjectCreated:Put",
                "s3": {
                    "bucket": {"name": deployment.input_bucket},
                    "object": {"key": key, "eTag": etag},
                },
            }
        ]
    }

    again = client("lambda").invoke(
        FunctionName=deployment.splitter.name, Payload=json.dumps(event)
    )

    assert "FunctionError" not in again
    assert [s3.head_object(Bucket=b, Key=k)["LastModified"] for b, k in places] == before


def test_the_pipeline_fails_without_the_right_to_invoke_and_recovers_with_it(
    stack: Stack,
    videos: Path,
    s3: Any,
    client: Callable[[str], Any],
    answer: Answer,
    failure: Callable[[str], dict[str, Any]],
) -> None:
    iam, role = client("iam"), stack.deployment.splitter.role
    policy = iam.get_role_policy(RoleName=role, PolicyName=POLICY_NAME)["PolicyDocument"]
    reduced = {
        **policy,
        "Statement": [s for s in policy["Statement"] if s["Sid"] != "CallRecognizer"],
    }
    assert reduced != policy
    bucket = stack.deployment.input_bucket

    # WHEN the splitter's role loses lambda:InvokeFunction
    iam.put_role_policy(RoleName=role, PolicyName=POLICY_NAME, PolicyDocument=json.dumps(reduced))
    try:
        s3.upload_file(str(videos / "test_02.mp4"), bucket, "denied.mp4")
        report = failure("denied.mp4")
    finally:
        iam.put_role_policy(
            RoleName=role, PolicyName=POLICY_NAME, PolicyDocument=json.dumps(policy)
        )

    # THEN the pipeline fails and says why, and recovers once the role has it again
    assert "AccessDenied" in report["responsePayload"]["errorMessage"]
    s3.upload_file(str(videos / "test_02.mp4"), bucket, "recovered.mp4")
    assert answer(stack.deployment.output_bucket, "recovered.txt")[0] == "Joe Biden"


def test_invocations_are_logged_and_measured(
    stack: Stack, videos: Path, s3: Any, client: Callable[[str], Any], answer: Answer
) -> None:
    s3.upload_file(str(videos / "test_00.mp4"), stack.deployment.input_bucket, "logged.mp4")
    answer(stack.deployment.output_bucket, "logged.txt")
    logs, metrics = client("logs"), client("cloudwatch")
    now = datetime.now(timezone.utc)
    for function in stack.deployment.functions:
        events = logs.filter_log_events(logGroupName=function.log_group)["events"]
        text = "\n".join(event["message"] for event in events)
        for line in ("START RequestId", "END RequestId", "REPORT RequestId", "Max Memory Used"):
            assert line in text
        for metric in ("Invocations", "Errors", "Duration", "Throttles", "ConcurrentExecutions"):
            points = metrics.get_metric_statistics(
                Namespace="AWS/Lambda",
                MetricName=metric,
                Dimensions=[{"Name": "FunctionName", "Value": function.name}],
                StartTime=now - timedelta(hours=1),
                EndTime=now + timedelta(minutes=5),
                Period=60,
                Statistics=["Sum", "Maximum"],
            )["Datapoints"]
            assert points, metric
            if metric == "Invocations":
                assert sum(point["Sum"] for point in points) >= 1


@pytest.mark.slow
def test_a_hundred_videos_of_one_to_four_megabytes_are_all_answered(
    stack: Stack, videos: Path, s3: Any, answer: Answer
) -> None:
    clip = (videos / "test_00.mp4").read_bytes()
    pid = stack.aws.pid
    before = resident_bytes(pid)
    for index in range(100):
        # a `free` box at the end makes a valid MP4 of any size
        filler = (1 + index % 4) * 1_000_000 - len(clip)
        body = clip + filler.to_bytes(4, "big") + b"free" + os.urandom(filler - 8)
        key = f"load/test_{index:02d}.mp4"
        s3.put_object(Bucket=stack.deployment.input_bucket, Key=key, Body=body)

    for index in range(100):
        name, _ = answer(stack.deployment.output_bucket, f"load/test_{index:02d}.txt", 150)
        assert name == "Barack Obama"
    # THEN the 250 MB uploaded have not stayed in the memory of the server or its threads
    assert resident_bytes(pid) - before < 75_000_000


def resident_bytes(pid: int) -> int:
    """Resident memory of one process (Linux)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
