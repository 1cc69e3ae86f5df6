"""Reads the functions' metrics for a run from CloudWatch: durations and concurrency."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from pipeline.aws import Aws
from pipeline.log_events import read_events
from pipeline.settings import Deployment, Function
from workload.reporting.invocations import WAITING_STEP, Step, parse_step

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_cloudwatch.literals import StatisticType
    from mypy_boto3_cloudwatch.type_defs import DatapointTypeDef

MAX_DATAPOINTS = 1440  # in one CloudWatch response
DAY_S = 86400


@dataclass(frozen=True)
class Usage:
    """One function's invocations, their total seconds, and the most that ran at once.

    `waited_s`: how many of the seconds it waited for the other function; None if unknown.
    """

    invocations: int
    seconds: float
    peak: int
    waited_s: float | None = None

    @property
    def average_s(self) -> float:
        """Average seconds per invocation; 0 if there were none."""
        return self.seconds / self.invocations if self.invocations else 0.0


def period(start: float, end: float, now: float) -> int:
    """The seconds per datapoint: as few as CloudWatch still stores and can return at once.

    CloudWatch keeps 1-minute datapoints for 15 days and 5-minute ones for 63 days.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html
    """
    age = now - start
    step = 60 if age < 15 * DAY_S else 300 if age < 63 * DAY_S else 3600
    return step * math.ceil(max(1.0, (end - start) / step / (MAX_DATAPOINTS - 2)))


def whole_periods(start: float, end: float, now: float) -> tuple[float, float, int]:
    """The start and end of the datapoints that cover `start` to `end`, and their period."""
    step = period(start, end, now)
    return start // step * step, (end // step + 1) * step, step


@dataclass(frozen=True)
class Waited:
    """How long the splitter waited for the recognizer, and over how many frames per video."""

    seconds: float
    frames_per_video: float


def read_waits(aws: Aws, splitter: Function, start: float, end: float) -> Waited | None:
    """What the splitter's log says about its calls of the recognizer; None without entries.

    The recognizer's own durations add up to less, as they leave out its cold starts.
    """
    first, last, _ = whole_periods(start, end, time.time())
    events = read_events(aws, splitter, first, last, f'"{WAITING_STEP}"')
    steps = [parse_step(event["message"].strip(), event["timestamp"] / 1000) for event in events]
    return waits_in([step for step in steps if step is not None])


def waits_in(steps: Iterable[Step]) -> Waited | None:
    """The calls among the splitter's steps. A second look adds frames to the same video."""
    waits = [step for step in steps if step.name == WAITING_STEP]
    if not waits:
        return None
    frames = sum(int(step.notes.get("frames", 1)) for step in waits)
    videos = sum(step.notes.get("look", 1) == 1 for step in waits)
    return Waited(math.fsum(step.seconds for step in waits), frames / max(videos, 1))


def usage(aws: Aws, function: Function, start: float, end: float) -> Usage:
    """The usage of `function` between `start` and `end`, in seconds since the epoch."""
    cloudwatch: CloudWatchClient = aws.client("cloudwatch")
    first, last, step = whole_periods(start, end, time.time())

    def points(metric: str, statistics: list[StatisticType]) -> list[DatapointTypeDef]:
        return cloudwatch.get_metric_statistics(
            Namespace="AWS/Lambda",
            MetricName=metric,
            Dimensions=[{"Name": "FunctionName", "Value": function.name}],
            StartTime=datetime.fromtimestamp(first, timezone.utc),
            EndTime=datetime.fromtimestamp(last, timezone.utc),
            Period=step,
            Statistics=statistics,
        )["Datapoints"]

    durations = points("Duration", ["Sum", "SampleCount"])
    peaks = points("ConcurrentExecutions", ["Maximum"])
    return Usage(
        invocations=round(sum(point["SampleCount"] for point in durations)),
        seconds=sum(point["Sum"] for point in durations) / 1000,
        peak=round(max((point["Maximum"] for point in peaks), default=0)),
    )


def usage_by_function(
    aws: Aws, deployment: Deployment, start: float, end: float
) -> dict[str, Usage]:
    """The usage of both functions, by name."""
    return {function.name: usage(aws, function, start, end) for function in deployment.functions}


def settled_usage(
    read: Callable[[], dict[str, Usage]],
    wanted: int,
    seconds: float,
    note: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Usage]:
    """`read()` until every function has `wanted` invocations, for up to `seconds`.

    Metrics appear in CloudWatch some minutes after an invocation.
    """
    deadline = clock() + seconds
    found = read()
    said = False
    while any(u.invocations < wanted for u in found.values()) and clock() < deadline:
        if not said:
            note(f"Waiting up to {seconds:.0f} s for CloudWatch to show {wanted} invocations ...")
            said = True
        sleep(min(5.0, max(0.0, deadline - clock())))
        found = read()
    return found
