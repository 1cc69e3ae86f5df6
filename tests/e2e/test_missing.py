"""A video that ended in neither an answer nor a message is found and answered."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from deploy.parts.rights import POLICY_NAME
from pipeline.keys import frame_key, output_key
from samples.stack import Stack
from tests.e2e.conftest import eventually, metric_sum, run_failures

Answer = Callable[..., tuple[str, dict[str, str]]]
Client = Callable[[str], Any]
AT_ONCE = ("--older-than", "0")


def total(client: Client, stack: Stack, metric: str) -> float:
    """The sum of a metric of the splitter."""
    return metric_sum(client("cloudwatch"), stack.deployment.splitter, metric)


def missing(stack: Stack, folder: str) -> list[str]:
    """The keys in a folder that `missing` lists."""
    lines = run_failures(stack, "missing", "--json", *AT_ONCE).stdout.splitlines()
    keys = [json.loads(line)["key"] for line in lines]
    return [key for key in keys if key.startswith(folder)]


@contextmanager
def without_policy(client: Client, role: str) -> Iterator[None]:
    """Take the role's policy away while the context lasts."""
    iam, name = client("iam"), {"RoleName": role, "PolicyName": POLICY_NAME}
    policy = iam.get_role_policy(**name)["PolicyDocument"]
    iam.delete_role_policy(**name)
    try:
        yield
    finally:
        iam.put_role_policy(**name, PolicyDocument=json.dumps(policy))


def test_a_video_of_a_splitter_without_its_policy_is_found_and_sent_again(
    stack: Stack, videos: Path, s3: Any, client: Client, answer: Answer
) -> None:
    deployment, key = stack.deployment, "lost/ü b+c.mp4"
    # GIVEN an answer of an earlier version, and a new one whose splitter cannot even report
    s3.upload_file(str(videos / "test_00.mp4"), deployment.input_bucket, key)
    assert answer(deployment.output_bucket, output_key(key))[0] == "Barack Obama"
    assert missing(stack, "lost/") == []
    errors = total(client, stack, "Errors")
    with without_policy(client, deployment.splitter.role):
        s3.upload_file(str(videos / "test_02.mp4"), deployment.input_bucket, key)
        eventually(lambda: total(client, stack, "Errors") >= errors + 3)
    # THEN no message names it; it is under way for as long as it might be, and then missing
    assert "c.mp4" not in run_failures(stack, "list").stdout
    assert "Still under way: " in run_failures(stack, "missing").stderr
    assert missing(stack, "lost/") == [key]

    # WHEN it is sent again, THEN it is answered right
    sent = run_failures(stack, "redrive", "--missing", "--yes", *AT_ONCE)
    assert f"redrive s3://{deployment.input_bucket}/{key}" in sent.stderr
    text = partial(s3.get_object, Bucket=deployment.output_bucket, Key=output_key(key))
    eventually(lambda: text()["Body"].read() == b"Joe Biden")
    assert missing(stack, "lost/") == []


def test_to_redrive_twice_does_no_harm(
    stack: Stack, videos: Path, s3: Any, client: Client, answer: Answer
) -> None:
    deployment, key = stack.deployment, "twice/a.mp4"
    # GIVEN an answered video, and three messages of its event, as SQS may deliver one twice
    s3.upload_file(str(videos / "test_02.mp4"), deployment.input_bucket, key)
    answer(deployment.output_bucket, output_key(key))
    names = (
        (deployment.output_bucket, output_key(key)),
        (deployment.stage_1_bucket, frame_key(key)),
    )
    sqs, ended = client("sqs"), total(client, stack, "Invocations")
    failed = {"name": deployment.input_bucket}, {"key": key, "eTag": "that of the event"}
    record = {"s3": dict(zip(("bucket", "object"), failed, strict=True))}
    url = sqs.get_queue_url(QueueName=deployment.failure_queue)["QueueUrl"]

    def state() -> list[Any]:
        heads = [s3.head_object(Bucket=bucket, Key=name) for bucket, name in names]
        return [(head["LastModified"], head["ETag"], head["Metadata"]) for head in heads]

    before = state()
    for _ in range(2):
        for number in range(2):
            event = {"Records": [{**record, "eventName": str(number)}]}
            sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"requestPayload": event}))
        assert run_failures(stack, "redrive").stderr.count(key) == 2
    eventually(lambda: total(client, stack, "Invocations") >= ended + 4)

    assert state() == before
    found = s3.list_objects_v2(Bucket=deployment.output_bucket, Prefix="twice/")["Contents"]
    assert [item["Key"] for item in found] == ["twice/a.txt"]
    assert key not in run_failures(stack, "list").stdout
    assert missing(stack, "twice/") == []
