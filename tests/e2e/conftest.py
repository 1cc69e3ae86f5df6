"""One deployed pipeline for the end-to-end tests: everything in it is real but the cloud."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from pipeline.settings import Deployment
from samples.clips import make_people, make_videos
from samples.stack import Stack, running

BUILD = Path(__file__).resolve().parents[2] / "build"


@pytest.fixture(scope="session")
def people(sample_photos: Path) -> Path:
    """The sample people, a folder each."""
    return make_people(sample_photos, BUILD / "samples" / "people")


@pytest.fixture(scope="session")
def videos(sample_photos: Path, ffmpeg: str) -> Path:
    """The sample videos and their expected.csv."""
    return make_videos(sample_photos, BUILD / "samples" / "videos", ffmpeg)


@pytest.fixture(scope="session")
def stack(people: Path, ffmpeg_zip: Path) -> Iterator[Stack]:
    """The pipeline, deployed by the deploy scripts; failed events are retried without waiting."""
    with running(Deployment("e2e"), people, aws_settings={"async_retry_delays": "0.2,0.2"}) as s:
        yield s


@pytest.fixture(scope="session")
def client(stack: Stack) -> Callable[[str], Any]:
    """Makes boto3 clients with the user's credentials."""
    session = boto3.Session(
        aws_access_key_id=stack.aws.environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=stack.aws.environ["AWS_SECRET_ACCESS_KEY"],
        region_name=stack.aws.region,
    )
    return lambda service: session.client(service, endpoint_url=stack.aws.endpoint)


@pytest.fixture(scope="session")
def s3(client: Callable[[str], Any]) -> Any:
    """The user's S3 client."""
    return client("s3")


def eventually(look: Callable[[], Any], seconds: float = 60) -> Any:
    """What `look` returns once it is true; fails when it is not within `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.2)
    pytest.fail(f"nothing within {seconds} s")


@pytest.fixture(scope="session")
def answer(s3: Any) -> Callable[..., Any]:
    """Waits for an output object and returns it as (text, metadata)."""

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
def failure(client: Callable[[str], Any], stack: Stack) -> Callable[[str], dict[str, Any]]:
    """Waits for the failure queue's message about a key and returns it, removed."""

    sqs = client("sqs")
    url = sqs.get_queue_url(QueueName=stack.deployment.failure_queue)["QueueUrl"]

    def wait(key: str) -> dict[str, Any]:
        def look() -> Any:
            for message in sqs.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=1
            ).get("Messages", []):
                body = json.loads(message["Body"])
                if body["requestPayload"]["Records"][0]["s3"]["object"]["key"] == key:
                    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                    return body
            return None

        found: dict[str, Any] = eventually(look)
        return found

    return wait
