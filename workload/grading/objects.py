"""Reads what the grader checks: functions, buckets, objects and answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from pipeline.aws import NOT_FOUND, Aws, read_or_none
from pipeline.bucket_admin import bucket_exists
from pipeline.cli import script_command
from pipeline.keys import EMBEDDINGS_ENDING, output_key
from pipeline.settings import Deployment
from workload.grading.checks import Check, Holdings, Item, verdict
from workload.running.buckets import head, objects
from workload.running.failure_queue import EVENT_TIME_MARGIN_S, PEEK_S, peek_or_note
from workload.running.function_settings import environment_of
from workload.running.input_errors import InputError
from workload.running.outputs import read_outputs

READERS = 16


def function_check(aws: Aws, deployment: Deployment) -> Check:
    """Checks that both functions exist and are ready for events."""
    client = aws.client("lambda")
    faults = []
    for function in deployment.functions:
        config = read_or_none(
            partial(client.get_function_configuration, FunctionName=function.name),
            NOT_FOUND,
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
    """Checks that no bucket is `missing` and, if `is_initial`, that all are empty."""
    faults = [f"s3://{bucket}/: does not exist" for bucket in missing]
    if is_initial:
        for bucket in deployment.buckets:
            if bucket not in missing:
                faults += [
                    f"s3://{bucket}/{item['Key']}" for item in objects(aws.client("s3"), bucket)
                ]
    name = "the three buckets exist" + (" and are empty" if is_initial else "")
    hint = f"{script_command(aws, deployment, 'createS3.py')} creates them"
    if is_initial and not missing:
        hint = "workload/generate.py --clear empties them"
    fault = "missing or not empty" if is_initial else "missing"
    return verdict(name, 5, faults, fault, ", ".join(deployment.buckets), hint)


def missing_buckets(aws: Aws, deployment: Deployment) -> list[str]:
    """The deployment's buckets that do not exist."""
    return [bucket for bucket in deployment.buckets if not bucket_exists(aws, bucket)]


@dataclass(frozen=True)
class Policy:
    """How many frames of a video stay in stage-1, and whether a JSON object is beside each text."""

    frames: int
    with_json: bool


def kept_frames(setting: str) -> int:
    """How many frames of a video stay in stage-1 with this FRAMES: one with `auto`.

    Raises InputError for a value that the splitter refuses.
    """
    if setting == "auto":
        return 1
    if not setting.isdecimal() or not 1 <= int(setting) <= 100:
        raise InputError(f"{setting!r} is neither auto nor a number of frames from 1 to 100")
    return int(setting)


def read_policy(aws: Aws, deployment: Deployment, frames: int | None = None) -> Policy:
    """The settings of the deployed splitter; the defaults where it has none.

    `frames` replaces its FRAMES. Raises InputError if that is invalid.
    """
    function = deployment.splitter
    settings = environment_of(aws, function)
    try:
        frames = frames or kept_frames(settings.get("FRAMES") or "1")
    except InputError as error:
        raise InputError(
            f"The FRAMES of function '{function.name}' cannot be used: {error}. Deploy a valid one "
            f"({script_command(aws, deployment, 'deploy/deploy.py')} restores the settings), or "
            "pass --frames."
        ) from error
    return Policy(frames, with_json=settings.get("ANSWERS") == "txt+json")


def holdings(aws: Aws, deployment: Deployment) -> Holdings:
    """All objects but kept embeddings, and which outputs belong to an earlier upload."""
    s3 = aws.client("s3")
    inputs, frames, outputs = (
        {
            item["Key"]: Item(item["LastModified"].timestamp(), item["ETag"].strip('"'))
            for item in objects(s3, bucket)
            if bucket != deployment.stage_1_bucket or not item["Key"].endswith(EMBEDDINGS_ENDING)
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

    # The recognizer keeps the output when the same video is uploaded again, so an output that is
    # older than its video need not be stale.
    ours = of_their_uploads(aws, held, older)
    return replace(held, stale=frozenset(output_key(v) for v in older if v not in ours))


def of_their_uploads(aws: Aws, held: Holdings, videos: Iterable[str]) -> set[str]:
    """The `videos` whose output was made from what the input bucket now holds."""
    s3, asked = aws.client("s3"), list(videos)

    def is_ours(video: str) -> bool:
        answer = head(s3, held.buckets[2], output_key(video))
        etag = held.inputs[video].etag
        return answer is not None and answer["Metadata"].get("source-etag") == etag

    with ThreadPoolExecutor(max_workers=READERS) as pool:
        return {video for video, is_it in zip(asked, pool.map(is_ours, asked)) if is_it}


def read_answers(aws: Aws, held: Holdings, videos: Iterable[str]) -> dict[str, str]:
    """The text of each output that exists, by video; stale ones are left out."""
    there = [v for v in videos if output_key(v) in held.outputs and output_key(v) not in held.stale]
    outputs = read_outputs(aws.client("s3"), held.buckets[2], map(output_key, there))
    return {video: output.text for video, output in zip(there, outputs) if output is not None}


def failure_reasons(
    aws: Aws, deployment: Deployment, held: Holdings, note: Callable[[str], None]
) -> dict[str, str]:
    """Why videos failed, from the failure queue; only for the versions now in the input bucket.

    The queue is not read if every video has an output.
    """
    if all(output_key(video) in held.outputs for video in held.videos):
        return {}
    # The generator may just have read the queue, which hides messages for PEEK_S.
    failures = peek_or_note(aws, deployment.failure_queue, note, PEEK_S + 1)
    return {
        failure.key: failure.reason
        for failure in failures or []
        if failure.bucket == deployment.input_bucket
        and failure.key in held.inputs
        and failure.uploaded >= held.inputs[failure.key].modified - EVENT_TIME_MARGIN_S
    }
