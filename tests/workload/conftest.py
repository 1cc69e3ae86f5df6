"""The generator and the grader, run as a user runs them, on a local AWS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from local_aws.process import LocalAWS
from pipeline.buckets import empty_bucket
from pipeline.settings import ROOT, Deployment
from samples.clips import make_people, make_videos
from samples.stack import running

BUILD = ROOT / "build"
# Of the environment, what a script needs to run; no credentials and no region.
PLAIN = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true"}

Done = subprocess.CompletedProcess[str]


@dataclass
class Place:
    """A local AWS and the names of a deployment on it."""

    aws: LocalAWS
    deployment: Deployment
    python: str = sys.executable

    def client(self, service: str) -> Any:
        """A boto3 client with the administrator's keys."""
        return boto3.Session(
            aws_access_key_id=self.aws.environ["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.aws.environ["AWS_SECRET_ACCESS_KEY"],
            region_name=self.aws.region,
        ).client(service, endpoint_url=self.aws.endpoint)

    def argv(self, script: str, *options: object, prefix: str = "") -> list[str]:
        """The command of a script of the checkout."""
        words = ["--prefix", prefix or self.deployment.prefix, *map(str, options)]
        return [self.python, str(ROOT / script), *words]

    def run(
        self,
        script: str,
        *options: object,
        cwd: Path = ROOT,
        answers: str = "",
        environ: dict[str, str] | None = None,
        prefix: str = "",
    ) -> Done:
        """Run a script to its end; `answers` are what the user types."""
        done = subprocess.run(
            self.argv(script, *options, prefix=prefix),
            env={**PLAIN, **self.aws.environ, **(environ or {})},
            cwd=cwd,
            input=answers,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def generate(self, *options: object, **more: Any) -> Done:
        """Run the generator."""
        return self.run("workload/generate.py", *options, **more)

    def grade(self, *options: object, **more: Any) -> Done:
        """Run the grader."""
        return self.run("workload/grade.py", *options, **more)

    def keys(self, bucket: str) -> list[str]:
        """All keys of a bucket."""
        pages = self.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]


@pytest.fixture(scope="session")
def videos(sample_photos: Path, ffmpeg: str) -> Path:
    """The sample videos and their expected.csv."""
    return make_videos(sample_photos, BUILD / "samples" / "videos", ffmpeg)


@pytest.fixture(scope="session")
def pipeline(sample_photos: Path, ffmpeg_zip: Path) -> Iterator[Place]:
    """The whole pipeline; failed events are retried without waiting."""
    people = make_people(sample_photos, BUILD / "samples" / "people")
    settings = {"async_retry_delays": "0.2,0.2", "max_concurrency": 4}
    with running(Deployment("load"), people, aws_settings=settings) as stack:
        yield Place(stack.aws, stack.deployment)


@pytest.fixture
def emptied(pipeline: Place) -> Place:
    """The whole pipeline with empty buckets and an empty failure queue, as on its first day."""
    for bucket in pipeline.deployment.buckets:
        empty_bucket(pipeline.client("s3"), bucket)
    sqs = pipeline.client("sqs")
    url = sqs.get_queue_url(QueueName=pipeline.deployment.failure_queue)["QueueUrl"]
    # Not purge_queue: SQS allows one a minute.
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return pipeline


@pytest.fixture(scope="session")
def bare_server() -> Iterator[LocalAWS]:
    """A local AWS on which nothing is deployed."""
    with LocalAWS() as aws:
        yield aws


@pytest.fixture
def bare(bare_server: LocalAWS, request: pytest.FixtureRequest) -> Place:
    """Three empty buckets and a queue, no function: nothing happens to what is uploaded."""
    number = abs(hash(request.node.name)) % 10**8
    place = Place(bare_server, Deployment(f"bare-{number}"))
    s3 = place.client("s3")
    for bucket in place.deployment.buckets:
        s3.create_bucket(Bucket=bucket)
    place.client("sqs").create_queue(QueueName=place.deployment.failure_queue)
    return place


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two files that are called videos."""
    made = tmp_path / "videos"
    made.mkdir()
    for name in ("a.mp4", "b.mov"):
        (made / name).write_bytes(f"This is {name}".encode())
    return made


def failure(key: str, bucket: str = "p-input", **more: object) -> str:
    """The body of a message about `key`, as Lambda sends it."""
    s3 = {"bucket": {"name": bucket}, "object": {"key": key}}
    record = {"eventTime": "2026-11-24T02:30:25.500Z", "s3": s3}
    return json.dumps(
        {
            "requestContext": {"condition": "RetriesExhausted"},
            "requestPayload": {"Records": [record]},
            **more,
        }
    )
