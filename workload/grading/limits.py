"""Checks of the functions' speed and concurrency against limits. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.settings import Function
from workload.grading.checks import FAIL, PASS, Check
from workload.grading.metrics import Usage

AT_ONCE = 3
BURST_S = 1.0


@dataclass(frozen=True)
class Limits:
    """The limits that the user sets.

    `split_s`: seconds per frame for the splitter. `recognition_s`: seconds per invocation of the
    recognizer. `at_once`: how many of each function must have run at once; None means AT_ONCE, or
    fewer if the uploads did not need that many. `end_to_end_s`: seconds from a video to its answer.
    """

    split_s: float
    recognition_s: float
    at_once: int | None
    end_to_end_s: float


@dataclass(frozen=True)
class Uploads:
    """When each video was uploaded, in seconds since the epoch, accurate to `precision_s`."""

    times: Sequence[float]
    precision_s: float = 0.0


def split_seconds(splitter: Usage, recognizer: Usage) -> float:
    """Average seconds of the splitter's own work per invocation, without waiting.

    If the waiting time is unknown, the recognizer's running time is used instead, which leaves out
    its cold starts.
    """
    if not splitter.invocations:
        return 0.0
    waited = recognizer.seconds if splitter.waited_s is None else splitter.waited_s
    return max(0.0, splitter.seconds - waited) / splitter.invocations


def concurrency_needed(used: Usage, uploads: Uploads) -> int:
    """How many invocations had to run at once, on average, during the busiest stretch of uploads.

    By Little's law, that is their total seconds divided by the seconds in which they arrived and
    were processed. A fast function that is rarely called never runs twice at once, however well it
    scales. The stretches are the whole run and every window of 1, 2, 4 ... seconds in it, so that a
    video from yesterday does not dilute today's burst. Windows below a second are not used: S3's
    events do not arrive evenly enough.
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
    """The most of the sorted `times` that lie within a window shorter than `length`."""
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
    frames: float,
    uploads: Uploads,
) -> list[Check]:
    """Checks the average duration and peak concurrency of both functions.

    `used` is by function name; `frames` is how many the splitter takes per video, on average.
    """
    split, recognition = used[splitter.name], used[recognizer.name]
    own = split_seconds(split, recognition)
    # Metrics are of whole minutes and may count other runs. An upload invokes the splitter once.
    share = min(1.0, len(uploads.times) / max(1, split.invocations))
    waiting = f"waiting for {recognizer.name}"
    if split.waited_s is None:
        waiting = f"that {recognizer.name} ran (the log does not say how long the splitter waited)"
    by_frames = f", over {round(frames, 1):g} frames" if frames > 1 else ""
    return [
        _within(
            f"{splitter.name} takes at most {limits.split_s:g} s per frame on average",
            splitter,
            split,
            own / frames,
            limits.split_s,
            f"{own / frames:.2f} s: {split.average_s:.2f} s less {split.average_s - own:.2f} s "
            f"{waiting}{by_frames}",
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
            _at_once(function, used[function.name], limits.at_once, uploads, share)
            for function in (splitter, recognizer)
        ),
    ]


def _at_once(
    function: Function, used: Usage, asked: int | None, uploads: Uploads, share: float
) -> Check:
    """`share` is the part of the function's time that the uploads took."""
    wanted, figures = asked or AT_ONCE, f"{used.peak} at once"
    if asked is None and used.peak < AT_ONCE:
        wanted = min(AT_ONCE, concurrency_needed(_part(used, share), uploads))
        if wanted < AT_ONCE:
            figures += f" (the uploads needed {wanted}, not {AT_ONCE})"
    name = f"{function.name} runs at least {wanted} at once"
    return _within(name, function, used, -used.peak, -wanted, figures)


def _part(used: Usage, share: float) -> Usage:
    return replace(used, invocations=round(used.invocations * share), seconds=used.seconds * share)


def _within(
    name: str, function: Function, used: Usage, value: float, limit: float, figures: str
) -> Check:
    """Checks `value` against `limit`; the function itself is the object at fault."""
    points = 4
    if not used.invocations:
        reason = "CloudWatch shows no invocations; raise --metrics-wait to wait longer"
        return Check(name, FAIL, points, reason, (function.name,))
    if value > limit:
        return Check(name, FAIL, points, figures, (function.name,))
    return Check(name, PASS, points, f"{figures}, {used.invocations} invocations")
