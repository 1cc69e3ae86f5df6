"""Reads from AWS what the grader judges: functions, buckets, objects, answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import botocore.exceptions

from pipeline.aws import NOT_FOUND, Aws, error_code, read_or_none
from pipeline.buckets import bucket_exists
from pipeline.cli import script_command
from pipeline.keys import output_key
from pipeline.settings import Deployment
from workload.grading.checks import Check, Holdings, Item, verdict
from workload.running.buckets import head, objects
from workload.running.failure_queue import EVENT_TIME_MARGIN_S, PEEK_S, peek_or_note

ANSWER_LIMIT = 1024  # bytes: a name is shorter
READERS = 16


def function_check(aws: Aws, deployment: Deployment) -> Check:
    """Whether both functions exist and are ready for events."""
    client = aws.client("lambda")
    faults = []
    for function in deployment.functions:
        config = read_or_none(
            partial(client.get_function_configuration, FunctionName=function.name), NOT_FOUND
        )
        if config is None:
            faults.append(f"{function.name}: does not exist")
        elif config.get("State", "Active") != "Active":
            faults.append(f"{function.name}: {config['State']}: {config.get('StateReason', '')}")
        elif config.get("LastUpdateStatus") == "Failed":
            faults.append(f"{function.name}: {config.get('LastUpdateStatusReason', 'not updated')}")
    names = " and ".join(function.name for function in deployment.functions)
    hint = f"{script_command(aws, deployment, 'deploy/deploy.py')} deploys them"
    return verdict("both functions are active", 10, faults, "not active", names, hint)


def bucket_check(aws: Aws, deployment: Deployment, missing: list[str], is_initial: bool) -> Check:
    """Whether the buckets exist, and are empty if `is_initial`; `missing` are those that do not."""
    faults = [f"s3://{bucket}/: does not exist" for bucket in missing]
    if is_initial:
        for bucket in deployment.buckets:
            if bucket not in missing:
                faults += [
                    f"s3://{bucket}/{item['Key']}" for item in objects(aws.client("s3"), bucket)
                ]
    name = "the three buckets exist" + (", and are empty" if is_initial else "")
    hint = f"{script_command(aws, deployment, 'createS3.py')} makes buckets"
    if is_initial and not missing:
        hint = "workload/generate.py --clear empties them"
    fault = "missing or not empty" if is_initial else "missing"
    return verdict(name, 5, faults, fault, ", ".join(deployment.buckets), hint)


def missing_buckets(aws: Aws, deployment: Deployment) -> list[str]:
    """The buckets of the deployment that do not exist."""
    return [bucket for bucket in deployment.buckets if not bucket_exists(aws, bucket)]


def frames_setting(aws: Aws, deployment: Deployment) -> int:
    """How many frames a video the deployed splitter takes; without one, as in config.json."""
    function = deployment.splitter
    config = read_or_none(
        lambda: aws.client("lambda").get_function_configuration(FunctionName=function.name),
        NOT_FOUND,
    )
    deployed = config.get("Environment", {}).get("Variables", {}) if config else {}
    return int(deployed.get("FRAMES") or function.environment.get("FRAMES", "1"))


def holdings(aws: Aws, deployment: Deployment) -> Holdings:
    """All objects of the three buckets, and which outputs are of an earlier upload."""
    s3 = aws.client("s3")
    inputs, frames, outputs = (
        {
            item["Key"]: Item(item["LastModified"].timestamp(), item["ETag"].strip('"'))
            for item in objects(s3, bucket)
        }
        for bucket in deployment.buckets
    )
    held = Holdings(deployment.buckets, inputs, frames, outputs)
    older = [
        video
        for video in held.videos
        if output_key(video) in outputs
        and outputs[output_key(video)].modified < inputs[video].modified
    ]

    # An output is left as it is when the same video comes again, so age alone says nothing.
    ours = of_their_uploads(aws, held, older)
    return replace(held, stale=frozenset(output_key(v) for v in older if v not in ours))


def of_their_uploads(aws: Aws, held: Holdings, videos: Iterable[str]) -> set[str]:
    """Those of `videos` whose output says that it was made of what the input bucket has now."""
    s3, asked = aws.client("s3"), list(videos)

    def is_ours(video: str) -> bool:
        answer = head(s3, held.deployment_buckets[2], output_key(video))
        etag = held.inputs[video].etag
        return answer is not None and answer["Metadata"].get("source-etag") == etag

    with ThreadPoolExecutor(max_workers=READERS) as pool:
        return {video for video, is_it in zip(asked, pool.map(is_ours, asked)) if is_it}


def read_answers(aws: Aws, held: Holdings, videos: Iterable[str]) -> dict[str, str]:
    """The text of each of the videos' outputs, of those that are there."""
    s3 = aws.client("s3")
    there = [v for v in videos if output_key(v) in held.outputs and output_key(v) not in held.stale]

    def read(video: str) -> str | None:
        try:
            answer = s3.get_object(Bucket=held.deployment_buckets[2], Key=output_key(video))
        except botocore.exceptions.ClientError as error:
            if error_code(error) == "NoSuchKey":  # deleted since it was listed
                return None
            raise
        with answer["Body"] as body:
            text: bytes = body.read(ANSWER_LIMIT)
        return text.decode(errors="replace").strip()

    with ThreadPoolExecutor(max_workers=READERS) as pool:
        return {v: text for v, text in zip(there, pool.map(read, there)) if text is not None}


def failure_reasons(
    aws: Aws, deployment: Deployment, held: Holdings, note: Callable[[str], None]
) -> dict[str, str]:
    """What the failure queue says of the videos as they now are in the input bucket.

    It is not asked when every video has an output. The generator may just have read it.
    """
    if all(output_key(video) in held.outputs for video in held.videos):
        return {}
    return {
        failure.key: failure.reason
        for failure in peek_or_note(aws, deployment.failure_queue, note, PEEK_S + 1) or []
        if failure.bucket == deployment.input_bucket
        and failure.key in held.inputs
        and failure.uploaded >= held.inputs[failure.key].modified - EVENT_TIME_MARGIN_S
    }
