"""Second looks: what they took and cost. With FRAMES=auto, a video whose first frame gives no name
gets up to four more frames. Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from workload.reporting.invocations import WAITING_STEP, Invocation, Step
from workload.reporting.prices import Prices


@dataclass(frozen=True)
class SecondLooks:
    """How many videos were looked at again, in how many more frames, and what that cost.

    `seconds`: for all of them together, from the answer to the first look to that of the second.
    """

    videos: tuple[str, ...] = ()
    frames: int = 0
    seconds: float = 0.0
    usd: float = 0.0


def second_looks(
    splitter: Sequence[Invocation], recognizer: Sequence[Invocation], prices: Prices
) -> SecondLooks:
    """The second looks among a run's invocations, at the receipt's prices.

    The cost is the splitter's time, the invocations of the recognizer for the further frames, and
    two GETs and one PUT per frame. Only these frames are called `output-NN.jpg` while FRAMES=auto.
    """
    looks = [
        (invocation, step) for invocation in splitter for step in _looks(invocation) if _is(step, 2)
    ]
    if not looks:
        return SecondLooks()
    videos = tuple(dict.fromkeys(str(step.notes.get("video")) for _, step in looks))
    frames = sum(int(step.notes.get("frames", 0)) for _, step in looks)
    spent = [_since_first_look(invocation, step) for invocation, step in looks]
    gb_seconds = [
        seconds * invocation.report.memory_mb / 1024
        for (invocation, _), seconds in zip(looks, spent)
        if invocation.report is not None
    ]
    calls = [i for i in recognizer if any("/output-" in name for name in i.objects())]
    gb_seconds += [call.report.gb_seconds for call in calls if call.report is not None]
    requests = len(calls) * prices.lambda_million_requests / 1_000_000
    objects = frames * (prices.s3_thousand_puts + 2 * prices.s3_thousand_gets) / 1000
    return SecondLooks(
        videos,
        frames,
        math.fsum(spent),
        math.fsum(gb_seconds) * prices.lambda_gb_second + requests + objects,
    )


def _looks(invocation: Invocation) -> Iterator[Step]:
    return (step for step in invocation.steps if step.name == WAITING_STEP)


def _is(step: Step, look: int) -> bool:
    return bool(step.notes.get("look", 1) == look)


def _since_first_look(invocation: Invocation, second: Step) -> float:
    """Seconds from the end of the same video's first look; the call alone if there was none."""
    video = second.notes.get("video")
    firsts = [s.ended for s in _looks(invocation) if _is(s, 1) and s.notes.get("video") == video]
    return second.ended - min(max(firsts, default=second.started), second.started)
