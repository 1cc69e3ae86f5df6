"""No statement of the roles' policies is missing, and none is unneeded: each is taken away once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest

from deploy.roles import POLICY_NAME
from pipeline.policies import recognizer_permissions, splitter_permissions
from pipeline.settings import Deployment, Function
from samples.stack import Stack, deploy, running
from tests.e2e.conftest import eventually

DEPLOYMENT = Deployment("permitted", "permitted")
PLACE = ("us-east-1", "123456789012", "aws")
GALLERY_URI = "s3://permitted-gallery/data.pt"

# What stops without each statement: the error that the event ends with, or what is silent.
STOPS = {
    ("video-splitting", "ReadVideos"): "access denied",
    ("video-splitting", "TellMissingFromForbidden"): "Forbidden",
    ("video-splitting", "WriteFrames"): "(403)",
    ("video-splitting", "WriteSummaries"): "AccessDenied",
    ("video-splitting", "SeeWhatIsWritten"): "Forbidden",
    ("video-splitting", "RemoveFramesNoMoreThere"): "AccessDenied",
    ("video-splitting", "CallRecognizer"): "AccessDenied",
    ("video-splitting", "ReportFailures"): "the queue",
    ("video-splitting", "WriteOwnLogs"): "the log",
    ("face-recognition", "ReadFrames"): "AccessDenied",
    ("face-recognition", "TellMissingFromForbidden"): "Forbidden",
    ("face-recognition", "WriteNames"): "Forbidden",
    ("face-recognition", "ReadGallery"): "AccessDenied",
    ("face-recognition", "WriteOwnLogs"): "the log",
}


def test_every_statement_is_listed_here() -> None:
    policies = {
        "video-splitting": splitter_permissions(DEPLOYMENT, *PLACE),
        "face-recognition": recognizer_permissions(DEPLOYMENT, *PLACE, GALLERY_URI),
    }

    assert list(STOPS) == [(f, s["Sid"]) for f, p in policies.items() for s in p["Statement"]]


@pytest.fixture(scope="module")
def permitted(people: Path, ffmpeg_zip: Path) -> Iterator[Stack]:
    """A pipeline that takes two frames a video, so that it writes summaries, too."""
    settings = {
        "video-splitting.FRAMES": "2",
        "face-recognition.GALLERY_URI": GALLERY_URI,
        "face-recognition.GALLERY_REFRESH_S": "0",
    }
    aws_settings = {"async_retry_delays": "0.1,0.1"}
    with running(DEPLOYMENT, people, aws_settings=aws_settings) as stack:
        s3 = client_of(stack, "s3")
        s3.create_bucket(Bucket="permitted-gallery")
        gallery = Path(__file__).resolve().parents[2] / "build" / f"gallery-{stack.model}.pt"
        s3.upload_file(str(gallery), "permitted-gallery", "data.pt")
        deploy(stack.aws, DEPLOYMENT, {"face-recognition.MODEL": stack.model, **settings})
        yield stack


def client_of(stack: Stack, service: str) -> Any:
    return boto3.Session(
        aws_access_key_id=stack.aws.environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=stack.aws.environ["AWS_SECRET_ACCESS_KEY"],
        region_name=stack.aws.region,
    ).client(service, endpoint_url=stack.aws.endpoint)


@contextmanager
def without(stack: Stack, role: str, sid: str) -> Iterator[None]:
    """The role without one statement; it gets it back."""
    iam = client_of(stack, "iam")
    policy = iam.get_role_policy(RoleName=role, PolicyName=POLICY_NAME)["PolicyDocument"]
    less = {**policy, "Statement": [s for s in policy["Statement"] if s["Sid"] != sid]}
    assert len(less["Statement"]) == len(policy["Statement"]) - 1

    def put(document: Any) -> None:
        iam.put_role_policy(
            RoleName=role, PolicyName=POLICY_NAME, PolicyDocument=json.dumps(document)
        )

    put(less)
    try:
        yield
    finally:
        put(policy)


def failures(stack: Stack, key: str) -> Callable[[], Any]:
    """A look for the failure queue's message about a key."""
    sqs = client_of(stack, "sqs")
    url = sqs.get_queue_url(QueueName=stack.deployment.failure_queue)["QueueUrl"]

    def look() -> Any:
        for message in sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=1
        ).get("Messages", []):
            body = json.loads(message["Body"])
            if body["requestPayload"]["Records"][0]["s3"]["object"]["key"] == key:
                return body["responsePayload"]
        return None

    return look


def has_output(stack: Stack, key: str) -> Callable[[], bool]:
    s3 = client_of(stack, "s3")

    def look() -> bool:
        found = s3.list_objects_v2(Bucket=stack.deployment.output_bucket, Prefix=key)
        return bool(found.get("KeyCount"))

    return look


def leave_behind(stack: Stack, video: str, key: str) -> None:
    """The name of a frame that the video has no more."""
    client_of(stack, "s3").put_object(
        Bucket=stack.deployment.output_bucket,
        Key=key,
        Body=b"Joe Biden",
        Metadata={"source-bucket": stack.deployment.input_bucket, "source-key": video},
    )


def log_of(stack: Stack, function: Function, since_ms: int) -> list[str]:
    events = client_of(stack, "logs").filter_log_events(
        logGroupName=function.log_group, startTime=since_ms
    )["events"]
    return [event["message"] for event in events]


@pytest.mark.parametrize(("function_key", "sid"), list(STOPS))
def test_without_it_something_stops_and_with_it_all_is_well(
    permitted: Stack, videos: Path, function_key: str, sid: str
) -> None:
    deployment, s3 = permitted.deployment, client_of(permitted, "s3")
    function = deployment.splitter if function_key == "video-splitting" else deployment.recognizer
    stops, name = STOPS[function_key, sid], f"{function_key}-{sid}"
    since = int(time.time() * 1000)
    body = (videos / "test_02.mp4").read_bytes() if stops != "the queue" else b"no video"

    # what a longer video under this key would have left
    leave_behind(permitted, f"{name}.mp4", f"{name}/output-07.txt")
    with without(permitted, function.role, sid):
        s3.put_object(Bucket=deployment.input_bucket, Key=f"{name}.mp4", Body=body)
        if stops == "the log":
            eventually(has_output(permitted, f"{name}.txt"))
            time.sleep(1)
            assert log_of(permitted, function, since) == []
        elif stops == "the queue":
            # three tries are over when the last error's line is there
            def tried() -> bool:
                lines = log_of(permitted, function, since)
                return sum("END RequestId" in line for line in lines) >= 3

            eventually(tried)
            time.sleep(1)
            assert failures(permitted, f"{name}.mp4")() is None
        else:
            answer = eventually(failures(permitted, f"{name}.mp4"))
            assert stops in answer["errorMessage"], answer
            assert not has_output(permitted, f"{name}.txt")()

    # WHEN the statement is back, THEN so is what stopped
    since = int(time.time() * 1000)
    s3.put_object(Bucket=deployment.input_bucket, Key=f"{name}-again.mp4", Body=body)
    if stops == "the queue":
        assert eventually(failures(permitted, f"{name}-again.mp4"))
    else:
        eventually(has_output(permitted, f"{name}-again.txt"))
        eventually(lambda: log_of(permitted, function, since))
