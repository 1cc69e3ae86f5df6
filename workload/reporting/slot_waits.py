"""What waiting for one of the account's slots took and cost. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from workload.reporting.invocations import QUEUED_STEP, WAITING_STEP, Invocation, Step
from workload.reporting.prices import Prices

REQUESTS = 3  # of SQS for each upload: send, receive, delete


@dataclass(frozen=True)
class SlotWaits:
    """Uploads that waited in the queue, and paid waiting for a refused call (429)."""

    uploads: int
    mean_s: float
    longest_s: float
    requests: int
    usd: float
    gb_seconds: float
    waiting_usd: float


def slot_s(invocation: Invocation) -> float:
    """Seconds that a splitter waited because Lambda refused its calls of the recognizer."""
    return math.fsum(refused_s(step) for step in invocation.steps if step.name == WAITING_STEP)


def refused_s(step: Step) -> float:
    """Seconds of a WAITING_STEP in which Lambda refused the call."""
    return float(step.notes.get("slot_ms", 0)) / 1000


def slot_waits(splitter: Sequence[Invocation], prices: Prices) -> SlotWaits:
    """The waits of a run. An upload's wait ends with its first attempt."""
    first: dict[str, float] = {}
    attempts = 0
    for invocation in splitter:
        for step in invocation.steps:
            if step.name == QUEUED_STEP:
                attempts += 1
                first.setdefault(str(step.notes["video"]), step.seconds)
    gb_seconds = math.fsum(
        slot_s(invocation) * invocation.report.memory_mb / 1024
        for invocation in splitter
        if invocation.report is not None
    )
    # Each further attempt is one more receive and a change of visibility.
    requests = REQUESTS * len(first) + 2 * (attempts - len(first))
    return SlotWaits(
        uploads=len(first),
        mean_s=math.fsum(first.values()) / len(first) if first else 0.0,
        longest_s=max(first.values(), default=0.0),
        requests=requests,
        usd=requests * prices.sqs_million_requests / 1_000_000,
        gb_seconds=gb_seconds,
        waiting_usd=gb_seconds * prices.lambda_gb_second,
    )
