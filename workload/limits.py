"""Checks of the functions' speed against limits, from what CloudWatch says."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.settings import Function
from workload.checks import FAIL, PASS, Check
from workload.metrics import Usage

AT_ONCE = 3


@dataclass(frozen=True)
class Limits:
    """Seconds a frame for the splitter, seconds an invocation for the recogniser, how many of each
    must have run at once, and seconds from a video to its answer.

    `at_once` None: AT_ONCE, or as many as the uploads called for where that is less.
    """

    split_s: float
    recognition_s: float
    at_once: int | None
    end_to_end_s: float


def split_seconds(splitter: Usage, recognizer: Usage) -> float:
    """Seconds an invocation of the splitter took by itself, without waiting for the recogniser.

    Where the time it waited is not known, the time the recogniser ran is taken: it is less by the
    start of environments.
    """
    if not splitter.invocations:
        return 0.0
    waited = recognizer.seconds if splitter.waited_s is None else splitter.waited_s
    return max(0.0, splitter.seconds - waited) / splitter.invocations


def called_for(used: Usage, upload_s: float) -> int:
    """How many invocations had to run at once, on average, for uploads that took `upload_s`.

    By Little's law: their seconds in sum over the seconds in which they came and were worked off.
    A fast function that is called now and then never runs twice at once, however far it scales.
    """
    span = upload_s + used.average_s
    return max(1, math.floor(used.seconds / span)) if span > 0 else 1


def usage_checks(
    splitter: Function,
    recognizer: Function,
    used: dict[str, Usage],
    limits: Limits,
    frames: int,
    upload_s: float,
) -> list[Check]:
    """Average durations and peak concurrency of both functions.

    `used` is by function name; `frames` are asked for of each video; `upload_s`: seconds from the
    first upload to the last.
    """
    split, recognition = used[splitter.name], used[recognizer.name]
    own = split_seconds(split, recognition)
    waiting = f"it waited for {recognizer.name}"
    if split.waited_s is None:
        waiting = f"{recognizer.name} ran (the log does not tell how long it was waited for)"
    by_frames = f", by {frames} frames" if frames > 1 else ""
    return [
        _within(
            f"{splitter.name} takes at most {limits.split_s:g} s a frame on average",
            splitter,
            split,
            own / frames,
            limits.split_s,
            f"{own / frames:.2f} s: {split.average_s:.2f} s less {split.average_s - own:.2f} s "
            f"that {waiting}{by_frames}",
        ),
        _within(
            f"{recognizer.name} takes at most {limits.recognition_s:g} s on average",
            recognizer,
            recognition,
            recognition.average_s,
            limits.recognition_s,
            f"{recognition.average_s:.2f} s",
        ),
        *(
            _at_once(function, used[function.name], limits.at_once, upload_s)
            for function in (splitter, recognizer)
        ),
    ]


def _at_once(function: Function, used: Usage, asked: int | None, upload_s: float) -> Check:
    wanted, figures = asked or AT_ONCE, f"{used.peak} at once"
    if asked is None and used.peak < AT_ONCE:
        wanted = min(AT_ONCE, called_for(used, upload_s))
        if wanted < AT_ONCE:
            figures += f" (the uploads called for {wanted}, not for {AT_ONCE})"
    name = f"{function.name} runs at least {wanted} at once"
    return _within(name, function, used, -used.peak, -wanted, figures)


def _within(
    name: str, function: Function, used: Usage, value: float, limit: float, figures: str
) -> Check:
    """A check of `value` against `limit`; at fault is the function as a whole."""
    points = 4
    if not used.invocations:
        reason = "CloudWatch shows no invocation; --metrics-wait waits longer"
        return Check(name, FAIL, points, reason, (function.name,))
    if value > limit:
        return Check(name, FAIL, points, figures, (function.name,))
    return Check(name, PASS, points, f"{figures}, {used.invocations} invocations")
