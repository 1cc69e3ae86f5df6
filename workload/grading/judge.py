"""Runs the checks in order, reading from AWS what each one needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from pipeline.aws import Aws, AwsError
from pipeline.cli import counted
from pipeline.names import printable
from pipeline.settings import Deployment, Function
from workload.grading import objects
from workload.grading.checks import FAIL, Check, Holdings, name_check, object_checks, time_check
from workload.grading.limits import Limits, Uploads, usage_checks
from workload.grading.metrics import Waited, read_waits, settled_usage, usage_by_function
from workload.grading.timing import timing
from workload.running.buckets import count
from workload.running.expected import first_few, match_videos
from workload.running.failure_queue import peek_or_note
from workload.running.input_errors import InputError
from workload.running.run import WorkloadRun

Note = Callable[[str], None]  # reports something on stderr

METRICS_MARGIN_S = 60  # an invocation ends, and is counted, only after writing its output
NOT_CHECKED = (  # the checks that fail without looking when a bucket is missing, with their points
    ("objects of every video", 45),
    ("the names are right", 20),
    ("speed", 20),
)


@dataclass(frozen=True)
class Wanted:
    """What the user wants the run to be checked against."""

    expected: dict[str, str] | None
    run: WorkloadRun | None
    frames: int | None
    limits: Limits
    metrics_wait_s: float


def initial_checks(aws: Aws, deployment: Deployment) -> list[Check]:
    """The checks before a run: functions are active, buckets exist and are empty."""
    missing = objects.missing_buckets(aws, deployment)
    return [
        objects.function_check(aws, deployment),
        objects.bucket_check(aws, deployment, missing, True),
    ]


def run_checks(aws: Aws, deployment: Deployment, wanted: Wanted, note: Note) -> list[Check]:
    """All checks after a run. Raises InputError if `wanted` names videos that were not uploaded."""
    missing = objects.missing_buckets(aws, deployment)
    checks = [
        objects.function_check(aws, deployment),
        objects.bucket_check(aws, deployment, missing, False),
    ]
    if missing:
        reason = f"not checked without {first_few(missing)}: check --prefix"
        return checks + [Check(name, FAIL, points, reason) for name, points in NOT_CHECKED]
    held = objects.holdings(aws, deployment)
    if wanted.expected is not None:
        wanted = replace(wanted, expected=match_videos(wanted.expected, held.inputs))
    require_uploaded(held, wanted)
    policy = objects.read_policy(aws, deployment, wanted.frames)
    frames = policy.frames
    reasons = objects.failure_reasons(aws, deployment, held, note)
    checks += object_checks(held, frames, reasons, policy.with_json)
    answers = objects.read_answers(aws, held, wanted.expected or {})
    checks.append(name_check(held, wanted.expected, answers))
    return checks + _speed_checks(aws, deployment, held, wanted, frames, note)


def require_uploaded(held: Holdings, wanted: Wanted) -> None:
    """Raise InputError if the CSV or run file names videos that are not in the input bucket."""
    bucket = held.buckets[0]
    named = {
        "The CSV of expected names": list(wanted.expected or {}),
        "The run": [video.key for video in wanted.run.videos] if wanted.run else [],
    }
    for source, videos in named.items():
        unknown = sorted(set(videos) - set(held.inputs))
        if unknown:
            raise InputError(
                f"{source} names videos that are not in s3://{bucket}: {first_few(unknown)}. "
                "Upload them first (workload/generate.py), or pass the file for this run."
            )


def _speed_checks(
    aws: Aws, deployment: Deployment, held: Holdings, wanted: Wanted, frames: float, note: Note
) -> list[Check]:
    when = timing(aws, deployment, held, wanted.run)
    end = when.end + METRICS_MARGIN_S
    splitter = deployment.splitter
    read = partial(usage_by_function, aws, deployment, when.start, end)
    used = settled_usage(read, when.calls, wanted.metrics_wait_s, note)
    waited = _waited(aws, splitter, when.start, end, note)
    if waited is not None:
        used[splitter.name] = replace(used[splitter.name], waited_s=waited.seconds)
        # A second look takes more frames than it leaves in stage-1.
        frames = max(frames, waited.frames_per_video)
    uploads = Uploads(when.uploads, when.precision_s)
    checks = usage_checks(splitter, deployment.recognizer, used, wanted.limits, frames, uploads)
    return [
        *checks,
        time_check(when.seconds, wanted.limits.end_to_end_s, when.source, when.untimed),
    ]


def _waited(aws: Aws, splitter: Function, start: float, end: float, note: Note) -> Waited | None:
    """`read_waits`, or None with a note if these credentials may not read the log."""
    try:
        return read_waits(aws, splitter, start, end)
    except AwsError as error:
        note(f"{error} Using the recognizer's own durations as the time the splitter waited.")
        return None


def show(aws: Aws, deployment: Deployment, note: Note) -> str:
    """How many objects each bucket holds, and what is in the failure queue."""
    missing = objects.missing_buckets(aws, deployment)
    lines = []
    for bucket in deployment.buckets:
        is_there = bucket not in missing
        held = counted(count(aws.client("s3"), bucket), "object") if is_there else "missing"
        lines.append(f"s3://{bucket}: {held}")
    failures = peek_or_note(aws, deployment.failure_queue, note, wait_s=1)
    held = "not read" if failures is None else counted(len(failures), "failure")
    lines.append(f"{deployment.failure_queue}: {held}")
    return "\n".join([*lines, *(printable(f"  {f.key}: {f.reason}") for f in failures or [])])
