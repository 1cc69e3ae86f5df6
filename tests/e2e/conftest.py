"""A deployed pipeline for the end-to-end tests: everything but the cloud is real."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import pytest
from click.testing import CliRunner, Result

from deploy.failures import main as failures
from pipeline.settings import Deployment, Function
from samples.clips import make_people, make_videos
from samples.stack import BUILD, Stack, client_side, running


@pytest.fixture(scope="session")
def people(sample_photos: Path) -> Path:
    """The sample people, one folder each."""
    return make_people(sample_photos, BUILD / "samples" / "people")


@pytest.fixture(scope="session")
def videos(sample_photos: Path, ffmpeg: str) -> Path:
    """The sample videos and their expected.csv."""
    return make_videos(sample_photos, BUILD / "samples" / "videos", ffmpeg)


# Two environments per function keep this machine busy, and each further one takes seconds to start.
AWS_SETTINGS = {"async_retry_delays": "0.1,0.1", "max_concurrency": 2}


@pytest.fixture(scope="session")
def stack(people: Path, ffmpeg_zip: Path) -> Iterator[Stack]:
    """The pipeline, deployed by the deploy scripts. Failed events are retried almost at once."""
    with running(Deployment("e2e"), people, aws_settings=AWS_SETTINGS) as s:
        yield s


@pytest.fixture(scope="session")
def client(stack: Stack) -> Callable[[str], Any]:
    """Makes boto3 clients with the user's credentials."""
    return cast("Callable[[str], Any]", client_side(stack.aws).client)


@pytest.fixture(scope="session")
def s3(client: Callable[[str], Any]) -> Any:
    """The user's S3 client."""
    return client("s3")


def eventually(look: Callable[[], Any], seconds: float = 60) -> Any:
    """Call `look` until it returns something true, and return that; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.2)
    pytest.fail(f"nothing came within {seconds} s")


@pytest.fixture(scope="session")
def answer(s3: Any) -> Callable[..., Any]:
    """Waits for an output object and returns its text and metadata."""

    def wait(bucket: str, key: str, seconds: float = 60) -> tuple[str, dict[str, str]]:
        def look() -> Any:
            try:
                return s3.get_object(Bucket=bucket, Key=key)
            except s3.exceptions.NoSuchKey:
                return None

        found = eventually(look, seconds)
        return found["Body"].read().decode(), found["Metadata"]

    return wait


@pytest.fixture
def failure(stack: Stack) -> Callable[[str], dict[str, Any]]:
    """Waits for the message about a key in the failure queue and returns its body."""

    def wait(key: str) -> dict[str, Any]:
        found: dict[str, Any] = eventually(partial(find_failure, stack, key))
        return found

    return wait


def find_failure(stack: Stack, key: str) -> dict[str, Any] | None:
    """The body of the failure queue's message about a key, if it is there; removes the message."""
    sqs = client_side(stack.aws).client("sqs")
    url = sqs.get_queue_url(QueueName=stack.deployment.failure_queue)["QueueUrl"]
    received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=1)
    for message in received.get("Messages", []):
        body: dict[str, Any] = json.loads(message["Body"])
        if body["requestPayload"]["Records"][0]["s3"]["object"]["key"] == key:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            return body
    return None


def metric_sum(cloudwatch: Any, function: Function, metric: str) -> float:
    """The sum of a function's metric since it was made."""
    points = cloudwatch.get_metric_statistics(
        Namespace="AWS/Lambda",
        MetricName=metric,
        Dimensions=[{"Name": "FunctionName", "Value": function.name}],
        StartTime="2026-01-01T00:00:00Z",
        EndTime="2100-01-01T00:00:00Z",
        Period=3600,
        Statistics=["Sum"],
    )["Datapoints"]
    return sum(float(point["Sum"]) for point in points)


def run_failures(stack: Stack, *words: str) -> Result:
    """Run deploy/failures.py in this process, which saves the time to import boto3.

    It does not wait for messages: the local AWS has one server of SQS.
    """
    words = (*words, "--config", str(stack.config))
    with patch("deploy.parts.failed_events.WAIT_S", 0):
        done = CliRunner().invoke(failures, words, env=dict(stack.aws.environ))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done
