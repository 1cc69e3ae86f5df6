"""Fixtures that run the generator and the grader as a user does, on a local AWS."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner

from local_aws.process import LocalAWS
from pipeline.aws import Aws
from pipeline.bucket_admin import empty_bucket
from pipeline.settings import ROOT, Deployment
from samples.clips import make_people, make_videos
from samples.stack import running

BUILD = ROOT / "build"
# The environment that a script needs to run, without credentials or a region.
PLAIN = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "AWS_EC2_METADATA_DISABLED": "true",
    "PIPELINE_CONFIG": os.devnull,
}

Done = subprocess.CompletedProcess[str]


@dataclass
class Place:
    """A local AWS and a deployment on it."""

    aws: LocalAWS
    deployment: Deployment
    python: str = sys.executable

    def client(self, service: str) -> Any:
        """A boto3 client with administrator keys."""
        session: Any = boto3.Session(
            aws_access_key_id=self.aws.environ["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.aws.environ["AWS_SECRET_ACCESS_KEY"],
            region_name=self.aws.region,
        )
        return session.client(service, endpoint_url=self.aws.endpoint)

    def argv(self, script: str, *options: object, prefix: str = "") -> list[str]:
        """The command line of a script in this checkout."""
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
        """Run a script in this process, which saves the time it takes to import boto3.

        `answers` is what the user types. `start` runs it as users do. An unexpected error is raised
        here.
        """
        words = self.argv(script, *options, prefix=prefix)[2:]
        module = importlib.import_module(script.removesuffix(".py").replace("/", "."))
        others = dict.fromkeys(os.environ)  # None removes a variable
        env = {**others, **PLAIN, **self.aws.environ, **(environ or {})}
        with contextlib.chdir(cwd):
            done = CliRunner().invoke(module.main, words, input=answers, env=env)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return subprocess.CompletedProcess(
            [script, *words], done.exit_code, done.stdout, done.stderr
        )

    def start(
        self,
        script: str,
        *options: object,
        cwd: Path = ROOT,
        environ: dict[str, str] | None = None,
    ) -> Done:
        """Run a script as a separate program, as users do, until it ends."""
        done = subprocess.run(
            self.argv(script, *options),
            env={**PLAIN, **self.aws.environ, **(environ or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
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
        """All keys in a bucket."""
        pages = self.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]


def aws_of(place: Place) -> Aws:
    """The scripts' client for a place, with administrator keys."""
    environ = place.aws.environ
    keys = (environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"])
    return Aws(region=place.aws.region, endpoint_url=place.aws.endpoint, keys=keys)


@pytest.fixture(scope="session")
def videos(sample_photos: Path, ffmpeg: str) -> Path:
    """The sample videos and their expected.csv."""
    return make_videos(sample_photos, BUILD / "samples" / "videos", ffmpeg)


@pytest.fixture(scope="session")
def few_videos(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four sample videos and their expected.csv, where more would show nothing else."""
    folder = tmp_path_factory.mktemp("few")
    for path in sorted(videos.glob("test_*"))[:4]:
        shutil.copy(path, folder)
    lines = (videos / "expected.csv").read_text().splitlines()
    (folder / "expected.csv").write_text("\n".join(lines[:5]) + "\n")
    return folder


@pytest.fixture(scope="session")
def pipeline(sample_photos: Path, ffmpeg_zip: Path) -> Iterator[Place]:
    """The whole pipeline; failed events are retried almost immediately."""
    people = make_people(sample_photos, BUILD / "samples" / "people")
    settings = {"async_retry_delays": "0.2,0.2", "max_concurrency": 3}  # what the grader asks for
    with running(Deployment("load"), people, aws_settings=settings) as stack:
        yield Place(stack.aws, stack.deployment)


@pytest.fixture
def emptied(pipeline: Place) -> Place:
    """The whole pipeline with empty buckets and an empty failure queue, as if just deployed."""
    return empty(pipeline)


def empty(pipeline: Place) -> Place:
    """Empty a pipeline's buckets and failure queue."""
    for bucket in pipeline.deployment.buckets:
        empty_bucket(pipeline.client("s3"), bucket)
    sqs = pipeline.client("sqs")
    url = sqs.get_queue_url(QueueName=pipeline.deployment.failure_queue)["QueueUrl"]
    # Not purge_queue: SQS allows it once a minute.
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return pipeline


@pytest.fixture(scope="session")
def bare_server() -> Iterator[LocalAWS]:
    """A local AWS with nothing deployed."""
    with LocalAWS() as aws:
        yield aws


@pytest.fixture
def bare(bare_server: LocalAWS, request: pytest.FixtureRequest) -> Place:
    """Three empty buckets and a queue but no functions, so nothing happens to uploads."""
    number = abs(hash(request.node.name)) % 10**8
    place = Place(bare_server, Deployment(f"bare-{number}"))
    s3 = place.client("s3")
    for bucket in place.deployment.buckets:
        s3.create_bucket(Bucket=bucket)
    place.client("sqs").create_queue(QueueName=place.deployment.failure_queue)
    return place


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two files named like videos."""
    made = tmp_path / "videos"
    made.mkdir()
    for name in ("a.mp4", "b.mov"):
        (made / name).write_bytes(f"This is {name}".encode())
    return made


def failure(key: str, bucket: str = "p-input", **more: object) -> str:
    """The body of a failure message about `key`, as Lambda sends it."""
    s3 = {"bucket": {"name": bucket}, "object": {"key": key}}
    record = {"eventTime": "2026-11-24T02:30:25.500Z", "s3": s3}
    return json.dumps(
        {
            "requestContext": {"condition": "RetriesExhausted"},
            "requestPayload": {"Records": [record]},
            **more,
        }
    )


def fill_queue(place: Place, keys: list[str]) -> None:
    """Put one message per key into the failure queue, all about uploads long ago."""
    sqs = place.client("sqs")
    url = sqs.get_queue_url(QueueName=place.deployment.failure_queue)["QueueUrl"]
    for start in range(0, len(keys), 10):
        bodies = [failure(key, place.deployment.input_bucket) for key in keys[start : start + 10]]
        entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies)]
        sqs.send_message_batch(QueueUrl=url, Entries=entries)


def failed(done: Done) -> list[str]:
    """The objects at fault in the grader's JSON, without the details."""
    checks = json.loads(done.stdout)["checks"]
    return [thing.split(": ")[0] for c in checks if c["status"] == "FAIL" for thing in c["objects"]]


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until `condition()` is true; fails the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.2)
