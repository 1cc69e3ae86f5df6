"""Checks of the functions' speed against limits, from what CloudWatch says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.settings import Function
from workload.grading.checks import FAIL, PASS, Check
from workload.grading.metrics import Usage

AT_ONCE = 3
BURST_S = 1.0


@dataclass(frozen=True)
class Limits:
    """Seconds a frame for the splitter, seconds an invocation for the recognizer, how many of each
    must have run at once, and seconds from a video to its answer.

    `at_once` None: AT_ONCE, or as many as the uploads called for where that is less.
    """

    split_s: float
    recognition_s: float
    at_once: int | None
    end_to_end_s: float


@dataclass(frozen=True)
class Uploads:
    """When each video was uploaded, in seconds since the epoch, exact to `precision_s`."""

    times: Sequence[float]
    precision_s: float = 0.0


def split_seconds(splitter: Usage, recognizer: Usage) -> float:
    """Seconds an invocation of the splitter took by itself, without waiting for the recognizer.

    Where the time it waited is not known, the time the recognizer ran is taken: it is less by the
    start of environments.
    """
    if not splitter.invocations:
        return 0.0
    waited = recognizer.seconds if splitter.waited_s is None else splitter.waited_s
    return max(0.0, splitter.seconds - waited) / splitter.invocations


def called_for(used: Usage, uploads: Uploads) -> int:
    """How many invocations had to run at once, on average, in the busiest stretch of the uploads.

    By Little's law: their seconds in sum over the seconds in which they came and were worked off.
    A fast function that is called now and then never runs twice at once, however far it scales.
    The whole is such a stretch, and so is any of 1, 2, 4 ... seconds in it: a video of yesterday
    does not make today's crowd a smaller one. In less than a second S3's events are not even.
    """
    times = sorted(uploads.times)
    if not times:
        return 1
    total_s = times[-1] - times[0] + uploads.precision_s
    most, length = _at_once_in(used.seconds, total_s + used.average_s), BURST_S
    while length < total_s:
        seconds = _most_within(times, length) * used.average_s
        most = max(most, _at_once_in(seconds, length + used.average_s))
        length *= 2
    return max(1, math.floor(most))


def _at_once_in(seconds: float, span_s: float) -> float:
    return seconds / span_s if span_s > 0 else 0.0


def _most_within(times: Sequence[float], length: float) -> int:
    """How many of `times`, which are sorted, lie within less than `length` at the most."""
    most = first = 0
    for last, when in enumerate(times):
        while when - times[first] >= length:
            first += 1
        most = max(most, last - first + 1)
    return most


def usage_checks(
    splitter: Function,
    recognizer: Function,
    used: dict[str, Usage],
    limits: Limits,
    frames: int,
    uploads: Uploads,
) -> list[Check]:
    """Average durations and peak concurrency of both functions.

    `used` is by function name; `frames` are asked for of each video.
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
            _at_once(function, used[function.name], limits.at_once, uploads)
            for function in (splitter, recognizer)
        ),
    ]


def _at_once(function: Function, used: Usage, asked: int | None, uploads: Uploads) -> Check:
    wanted, figures = asked or AT_ONCE, f"{used.peak} at once"
    if asked is None and used.peak < AT_ONCE:
        wanted = min(AT_ONCE, called_for(used, uploads))
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
