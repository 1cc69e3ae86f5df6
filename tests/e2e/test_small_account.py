"""Uploads to an account that may run ten functions at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.small_account import LIMIT, measure, targets
from pipeline.bucket_admin import empty_bucket
from pipeline.settings import Deployment
from samples.stack import Stack, client_side, running
from tests.e2e.conftest import eventually, find_failure, run_failures
from workload.report import main as report
from workload.running.videos import find_videos

# Its quick siblings: deploy/test_trigger.py and local_aws/test_queue_poller.py.
pytestmark = pytest.mark.slow
LIMITS = {"account_concurrency": LIMIT, "max_concurrency": LIMIT}


@pytest.fixture(scope="module")
def small(people: Path, ffmpeg_zip: Path) -> Iterator[Stack]:
    """A pipeline in such an account."""
    with running(Deployment("small"), people, aws_settings=LIMITS) as stack:
        yield stack


def test_five_splitters_take_turns_and_none_waits_for_a_slot(
    small: Stack, videos: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run.json"
    found = measure(small, find_videos(videos), 12, 10, run)

    assert found["answered"] == 12
    assert found["failed"] == 0
    # THEN recognizers always had a slot, and uploads waited in the queue instead
    assert found["splitters_at_once"] <= LIMIT // 2
    assert found["slots_waited_s"] == 0
    assert found["queued_p50_s"] > 0
    throttled = client_side(small.aws).client("cloudwatch").get_metric_statistics
    assert not throttles(throttled, small)
    # AND the report says so
    page = tmp_path / "report.html"
    words = ["--run", str(run), "--output", str(page), "--endpoint-url", small.aws.endpoint]
    done = CliRunner().invoke(report, words, env=dict(small.aws.environ))
    assert done.exit_code == 0, done.output
    text = page.read_text()
    assert "so 12 uploads waited in a queue" in text
    assert "wait for a slot" in text


def throttles(statistics: Any, stack: Stack) -> float:
    """How many calls of both functions were throttled."""
    total = 0.0
    for function in stack.deployment.functions:
        points = statistics(
            Namespace="AWS/Lambda",
            MetricName="Throttles",
            Dimensions=[{"Name": "FunctionName", "Value": function.name}],
            StartTime="2026-01-01T00:00:00Z",
            EndTime="2100-01-01T00:00:00Z",
            Period=60,
            Statistics=["Sum"],
        )["Datapoints"]
        total += sum(point["Sum"] for point in points)
    return total


def test_what_no_retry_can_mend_is_reported_and_leaves_the_queue(small: Stack) -> None:
    client, deployment = client_side(small.aws).client, small.deployment
    client("s3").put_object(Bucket=deployment.input_bucket, Key="bad.mp4", Body=b"x" * 999)

    record = eventually(partial(find_failure, small, "bad.mp4"))

    assert record["requestContext"]["condition"] == "PermanentFailure"
    assert record["responsePayload"]["errorType"] == "UnreadableVideo"
    sqs = client("sqs")
    url = sqs.get_queue_url(QueueName=deployment.upload_queue)["QueueUrl"]
    names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]

    def is_empty() -> bool:
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return not any(map(int, found.values()))

    assert eventually(is_empty, 10)


def test_without_the_right_to_take_uploads_none_is_taken(small: Stack, videos: Path) -> None:
    client, deployment = client_side(small.aws).client, small.deployment
    iam, role = client("iam"), deployment.splitter.role
    policy: Any = iam.get_role_policy(RoleName=role, PolicyName="permissions")["PolicyDocument"]
    less = {**policy, "Statement": [s for s in policy["Statement"] if s["Sid"] != "TakeUploads"]}
    put = partial(iam.put_role_policy, RoleName=role, PolicyName="permissions")
    put(PolicyDocument=json.dumps(less))
    s3 = client("s3")

    s3.upload_file(str(videos / "test_02.mp4"), deployment.input_bucket, "later.mp4")

    def texts() -> list[str]:
        found = s3.list_objects_v2(Bucket=deployment.output_bucket, Prefix="later")
        return [item["Key"] for item in found.get("Contents", [])]

    with pytest.raises(pytest.fail.Exception, match="nothing came"):
        eventually(texts, 2)
    # THEN it was not lost: it waits until the right is back
    waiting = rf"still under way: .* as '{deployment.upload_queue}' has \d upload"
    assert re.search(waiting, run_failures(small, "missing").stderr)
    put(PolicyDocument=json.dumps(policy))
    assert eventually(texts, 30) == ["later.txt"]
    # WHEN somebody empties the queue, THEN what is lost is found, and sent through the queue again
    put(PolicyDocument=json.dumps(less))
    s3.upload_file(str(videos / "test_02.mp4"), deployment.input_bucket, "later-lost.mp4")
    sqs = client("sqs")
    url = sqs.get_queue_url(QueueName=deployment.upload_queue)["QueueUrl"]
    names: Any = ["ApproximateNumberOfMessages"]
    wait = partial(sqs.get_queue_attributes, QueueUrl=url, AttributeNames=names)
    eventually(lambda: int(wait()["Attributes"][names[0]]))
    sqs.purge_queue(QueueUrl=url)
    put(PolicyDocument=json.dumps(policy))
    lost = run_failures(small, "missing", "--older-than", "0").stdout
    assert f"s3://{deployment.input_bucket}/later-lost.mp4" in lost
    assert f"s3://{deployment.input_bucket}/later.mp4" not in lost
    run_failures(small, "redrive", "--missing", "--older-than", "0", "--yes")
    assert eventually(lambda: len(texts()) == 2 and texts(), 30) == ["later-lost.txt", "later.txt"]


def test_the_run_takes_little_longer_than_five_pairs_need(small: Stack, videos: Path) -> None:
    s3 = client_side(small.aws).client("s3")
    for bucket in small.deployment.buckets:  # what is answered already is not worked on
        empty_bucket(s3, bucket)

    found = measure(small, find_videos(videos), 100, 10)  # so many that cold starts count little

    assert [target.line() for target in targets(found) if not target.is_met] == []
    assert found["splitters_at_once"] == LIMIT // 2
