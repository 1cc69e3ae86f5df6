"""Every statement of the roles' policies is needed: something fails when it is taken away."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from deploy.parts.rights import POLICY_NAME
from pipeline.policies import recognizer_permissions, splitter_permissions
from pipeline.setting_table import merged
from pipeline.settings import Deployment, Function
from samples.one_at_a_time import one_at_a_time
from samples.stack import Stack, client_side, deploy, enroll, running
from tests.e2e.conftest import AWS_SETTINGS, eventually, find_failure

DEPLOYMENT = Deployment("permitted", "permitted")
PLACE = ("us-east-1", "123456789012", "aws")
GALLERY_URI = "s3://permitted-gallery/data.pt"

# What goes wrong without each statement: the error of the event, or what stays empty.
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


# What only a second look does: the splitter writes the text and removes the further frames.
SECOND_LOOK = ("WriteSummaries", "RemoveFramesNoMoreThere")


def test_every_statement_is_listed() -> None:
    policies = {
        "video-splitting": splitter_permissions(DEPLOYMENT, *PLACE),
        "face-recognition": recognizer_permissions(DEPLOYMENT, *PLACE, GALLERY_URI),
    }

    assert list(STOPS) == [(f, s["Sid"]) for f, p in policies.items() for s in p["Statement"]]


@pytest.fixture(scope="module")
def permitted(people: Path, ffmpeg_zip: Path) -> Iterator[Stack]:
    """A pipeline that looks twice at a video whose first frame gives no name."""
    settings = {"GALLERY_URI": GALLERY_URI, "GALLERY_REFRESH_S": "0"}
    with running(DEPLOYMENT, people, aws_settings=AWS_SETTINGS) as stack:
        s3 = client_side(stack.aws).client("s3")
        s3.create_bucket(Bucket="permitted-gallery")
        with one_at_a_time():  # another run may enroll other people
            gallery = enroll(people, stack.model)
            s3.upload_file(str(gallery), "permitted-gallery", "data.pt")
        changed = merged(stack.deployment.settings, {"face-recognition": settings})
        deploy(stack.aws, replace(stack.deployment, settings=changed), stack.config)
        yield stack


@contextmanager
def without(stack: Stack, role: str, sid: str) -> Iterator[None]:
    """Take one statement away from the role while the context lasts."""
    iam = client_side(stack.aws).client("iam")
    policy: Any = iam.get_role_policy(RoleName=role, PolicyName=POLICY_NAME)["PolicyDocument"]
    less = {**policy, "Statement": [s for s in policy["Statement"] if s["Sid"] != sid]}
    assert len(less["Statement"]) == len(policy["Statement"]) - 1

    put = partial(iam.put_role_policy, RoleName=role, PolicyName=POLICY_NAME)

    put(PolicyDocument=json.dumps(less))
    try:
        yield
    finally:
        put(PolicyDocument=json.dumps(policy))


def start_anew(stack: Stack, function: Function) -> None:
    """Have the function's next invocation start an environment."""
    client = client_side(stack.aws).client("lambda")
    variables = client.get_function_configuration(FunctionName=function.name)["Environment"]
    changed = {**variables["Variables"], "ANEW": str(time.time())}
    client.update_function_configuration(
        FunctionName=function.name, Environment={"Variables": changed}
    )


def has_output(stack: Stack, key: str) -> bool:
    """Whether the output bucket has an object that begins with `key`."""
    s3 = client_side(stack.aws).client("s3")
    return bool(s3.list_objects_v2(Bucket=stack.deployment.output_bucket, Prefix=key)["KeyCount"])


def leave_behind(stack: Stack, video: str, key: str) -> None:
    """Put the output of a frame that the video no longer has."""
    client_side(stack.aws).client("s3").put_object(
        Bucket=stack.deployment.output_bucket,
        Key=key,
        Body=b"Joe Biden",
        Metadata={"source-bucket": stack.deployment.input_bucket, "source-key": video},
    )


def log_of(stack: Stack, function: Function, since_ms: int) -> list[str]:
    """The lines that the function has logged since then."""
    logs = client_side(stack.aws).client("logs")
    found = logs.filter_log_events(logGroupName=function.log_group, startTime=since_ms)
    return [event["message"] for event in found["events"]]


def has_tried(stack: Stack, function: Function, since_ms: int) -> bool:
    """Whether all three attempts at an event are over."""
    lines = log_of(stack, function, since_ms)
    return sum("END RequestId" in line for line in lines) >= 3


@pytest.mark.slow
@pytest.mark.parametrize(("function_key", "sid"), list(STOPS))
def test_the_pipeline_fails_without_the_statement_and_recovers_with_it(
    permitted: Stack, videos: Path, function_key: str, sid: str
) -> None:
    deployment, s3 = permitted.deployment, client_side(permitted.aws).client("s3")
    function = deployment.splitter if function_key == "video-splitting" else deployment.recognizer
    stops, name = STOPS[function_key, sid], f"{function_key}-{sid}"
    since = int(time.time() * 1000)
    sample = "test_14.mp4" if sid in SECOND_LOOK else "test_02.mp4"  # it starts black
    body = (videos / sample).read_bytes() if stops != "the queue" else b"no video"

    # left behind by a longer video under the same key
    leave_behind(permitted, f"{name}.mp4", f"{name}/output-07.txt")
    with without(permitted, function.role, sid):
        if sid == "ReadGallery":  # an environment that has a gallery keeps it
            start_anew(permitted, function)
        s3.put_object(Bucket=deployment.input_bucket, Key=f"{name}.mp4", Body=body)
        if stops == "the log":
            eventually(partial(has_output, permitted, f"{name}.txt"))
            time.sleep(1)  # a log line would follow the output
            assert log_of(permitted, function, since) == []
        elif stops == "the queue":
            eventually(partial(has_tried, permitted, function, since))
            time.sleep(1)  # the message would follow the last attempt
            assert find_failure(permitted, f"{name}.mp4") is None
        else:
            message = eventually(partial(find_failure, permitted, f"{name}.mp4"))
            answer = message["responsePayload"]
            assert stops in answer["errorMessage"], answer
            assert not has_output(permitted, f"{name}.txt")

    # WHEN the statement is back, THEN everything works again
    since = int(time.time() * 1000)
    s3.put_object(Bucket=deployment.input_bucket, Key=f"{name}-again.mp4", Body=body)
    if stops == "the queue":
        eventually(partial(find_failure, permitted, f"{name}-again.mp4"))
    else:
        eventually(partial(has_output, permitted, f"{name}-again.txt"))
        eventually(partial(log_of, permitted, function, since))
