"""A real run through a deployed pipeline, timed as the workload generator times it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

from pipeline.aws import Aws
from pipeline.keys import output_key
from pipeline.settings import Deployment
from workload.run import VideoRun, WorkloadRun


def upload_and_wait(
    aws: Aws, deployment: Deployment, bodies: dict[str, bytes], limit: float = 60
) -> WorkloadRun:
    """Upload `bodies` by key, wait for an answer or a failure of each, and return the run."""
    s3, started = aws.client("s3"), time.time()
    sent, answered, failures = {}, {}, {}
    for key, body in bodies.items():
        begun = time.time()
        s3.put_object(Bucket=deployment.input_bucket, Key=key, Body=body)
        sent[key] = (begun, time.time())
    while len(answered) + len(failures) < len(bodies) and time.time() < started + limit:
        there = {
            item["Key"]
            for page in s3.get_paginator("list_objects_v2").paginate(
                Bucket=deployment.output_bucket
            )
            for item in page.get("Contents", [])
        }
        for key in bodies:
            if output_key(key) in there:
                answered.setdefault(key, time.time())
        failures.update(_failures(aws.client("sqs"), deployment))
        time.sleep(0.05)
    videos = tuple(
        VideoRun(key, len(body), *sent[key], answered.get(key), failures.get(key, ""))
        for key, body in bodies.items()
    )
    return WorkloadRun(
        deployment.prefix, deployment.namespace, aws.region, started, time.time(), 0.0, videos
    )


def _failures(sqs: Any, deployment: Deployment) -> dict[str, str]:
    url = sqs.get_queue_url(QueueName=deployment.failure_queue)["QueueUrl"]
    found = {}
    for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
        body = json.loads(message["Body"])
        key = unquote_plus(body["requestPayload"]["Records"][0]["s3"]["object"]["key"])
        found[key] = str(body["responsePayload"]["errorMessage"])
    return found


def bodies_in(folder: Path) -> dict[str, bytes]:
    """The sample videos by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.mp4"))}
