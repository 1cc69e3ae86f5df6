"""What CloudWatch says of the functions during a run: durations and how many ran at once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from pipeline.aws import Aws
from pipeline.settings import Function
from workload.reporting.invocations import WAITING_STEP, parse_step
from workload.reporting.logs import read_events

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch.literals import StatisticType
    from mypy_boto3_cloudwatch.type_defs import DatapointTypeDef

MAX_DATAPOINTS = 1440  # of one answer of CloudWatch
DAY_S = 86400


@dataclass(frozen=True)
class Usage:
    """Invocations of one function, their seconds in sum, and the most that ran at once.

    `waited_s`: how many of the seconds were spent waiting for the other; None if nothing tells.
    """

    invocations: int
    seconds: float
    peak: int
    waited_s: float | None = None

    @property
    def average_s(self) -> float:
        """Seconds an invocation took on average, 0 if there was none."""
        return self.seconds / self.invocations if self.invocations else 0.0


def period(start: float, end: float, now: float) -> int:
    """The seconds of a datapoint that CloudWatch still has, and that do not become too many.

    It keeps minutes for 15 days and 5 minutes for 63.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html
    """
    age = now - start
    step = 60 if age < 15 * DAY_S else 300 if age < 63 * DAY_S else 3600
    return step * math.ceil(max(1.0, (end - start) / step / (MAX_DATAPOINTS - 2)))


def whole_periods(start: float, end: float, now: float) -> tuple[float, float, int]:
    """Start and end of the datapoints that hold `start` to `end`, and their seconds."""
    step = period(start, end, now)
    return start // step * step, (end // step + 1) * step, step


def waited(aws: Aws, splitter: Function, start: float, end: float) -> float | None:
    """Seconds the splitter waited for the recognizer, by its log; None if that tells of none.

    The recognizer's own durations are less: they leave out the start of its environments.
    """
    first, last, _ = whole_periods(start, end, time.time())
    events = read_events(aws, splitter, first, last, f'"{WAITING_STEP}"')
    steps = [parse_step(event["message"].strip(), event["timestamp"] / 1000) for event in events]
    waits = [step.seconds for step in steps if step is not None and step.name == WAITING_STEP]
    return math.fsum(waits) if waits else None


def usage(aws: Aws, function: Function, start: float, end: float) -> Usage:
    """What `function` did between `start` and `end`, in seconds since the epoch."""
    cloudwatch = aws.client("cloudwatch")
    first, last, step = whole_periods(start, end, time.time())

    def points(metric: str, *statistics: StatisticType) -> list[DatapointTypeDef]:
        answer = cloudwatch.get_metric_statistics(
            Namespace="AWS/Lambda",
            MetricName=metric,
            Dimensions=[{"Name": "FunctionName", "Value": function.name}],
            StartTime=datetime.fromtimestamp(first, timezone.utc),
            EndTime=datetime.fromtimestamp(last, timezone.utc),
            Period=step,
            Statistics=list(statistics),
        )
        return answer["Datapoints"]

    durations = points("Duration", "Sum", "SampleCount")
    peaks = points("ConcurrentExecutions", "Maximum")
    return Usage(
        invocations=round(sum(point["SampleCount"] for point in durations)),
        seconds=sum(point["Sum"] for point in durations) / 1000,
        peak=round(max((point["Maximum"] for point in peaks), default=0)),
    )


def settled_usage(
    read: Callable[[], dict[str, Usage]],
    wanted: int,
    seconds: float,
    note: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Usage]:
    """`read()` once every function has `wanted` invocations, or the last one after `seconds`.

    CloudWatch shows what a function did some minutes later.
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
