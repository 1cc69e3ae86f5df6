"""Two runs side by side: what became better or worse, and which answers changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workload.reporting.receipt import Receipt
from workload.reporting.timeline import Row
from workload.running.latency import PERCENTILES, percentile
from workload.running.run import VideoRun, WorkloadRun
from workload.running.score import Outcome

ORDER = {"worse": 0, "better": 1, "other": 2, "only one": 3}  # of the changes on the page


@dataclass(frozen=True)
class Side:
    """One of the two runs, with its timeline and costs."""

    run: WorkloadRun
    rows: Sequence[Row]
    receipt: Receipt


@dataclass(frozen=True)
class Figure:
    """A figure of both runs; None where a run does not have it. `unit` says how to write it.

    `is_less_better`: None if neither less nor more is better.
    """

    label: str
    before: float | None
    after: float | None
    unit: str = "seconds"
    is_less_better: bool | None = True

    @property
    def trend(self) -> str:
        """What became of it: better, worse, or nothing if it is about the same (2 %)."""
        if self.before is None or self.after is None or self.is_less_better is None:
            return ""
        if abs(self.after - self.before) <= 0.02 * max(abs(self.before), abs(self.after)):
            return ""
        return "better" if (self.after < self.before) is self.is_less_better else "worse"

    @property
    def percent(self) -> float | None:
        """By how many percent it changed; None if that cannot be said."""
        if not self.before or self.after is None:
            return None
        return 100 * (self.after - self.before) / self.before


@dataclass(frozen=True)
class Change:
    """A video whose answer differs; `before` or `after` is None if that run lacks the video."""

    key: str
    kind: str
    before: VideoRun | None
    after: VideoRun | None


@dataclass(frozen=True)
class Comparison:
    """An earlier run and this one. `shared` counts the videos that both have."""

    before: WorkloadRun
    figures: tuple[Figure, ...]
    changes: tuple[Change, ...]
    shared: int


def compare(before: Side, after: Side) -> Comparison:
    """Compare two runs; videos are the same if their keys are."""
    olds = {video.key: video for video in before.run.videos}
    news = {video.key: video for video in after.run.videos}
    changes = [
        Change(key, kind, olds.get(key), news.get(key))
        for key in dict.fromkeys([*news, *olds])
        if (kind := _kind(olds.get(key), news.get(key)))
    ]
    return Comparison(
        before.run,
        tuple(_figures(before, after)),
        tuple(sorted(changes, key=lambda change: ORDER[change.kind])),
        len(olds.keys() & news.keys()),
    )


def _kind(before: VideoRun | None, after: VideoRun | None) -> str:
    """One of ORDER; empty if nothing changed."""
    if before is None or after is None:
        return "only one"
    outcomes = [before.outcome, after.outcome]
    good = [outcome in (Outcome.RIGHT, Outcome.UNCHECKED) for outcome in outcomes]
    can_compare = set(outcomes) != {Outcome.WRONG, Outcome.UNCHECKED}  # nobody said what is right
    if can_compare and good[0] != good[1]:
        return "better" if good[1] else "worse"
    return "other" if before.answer != after.answer else ""


def _figures(before: Side, after: Side) -> list[Figure]:
    sides = (before, after)
    scores = [side.run.score for side in sides]
    latencies = [_latencies(side.run) for side in sides]
    answered = [_percent(score.answered, score.videos) for score in scores]
    right = [_percent(score.right, score.expected) for score in scores]
    figures = [
        Figure("videos", scores[0].videos, scores[1].videos, "count", None),
        Figure("answered", answered[0], answered[1], "percent", False),
        Figure("right, where a name is expected", right[0], right[1], "percent", False),
    ]
    for rank in PERCENTILES:
        label = "median" if rank == 50 else f"{rank}th percentile"
        values = [percentile(some, rank) if some else None for some in latencies]
        figures.append(Figure(label, values[0], values[1]))
    for label, kind in (("mean wait for a slot", "slot"), ("mean cold start", "cold")):
        figures.append(Figure(label, _mean(before.rows, kind), _mean(after.rows, kind)))
    costs = [side.receipt.usd_per_thousand_videos for side in sides]
    waits = [100 * side.receipt.waiting_share for side in sides]
    return [
        *figures,
        Figure("1,000 such videos", costs[0], costs[1], "usd"),
        Figure("of Lambda's price for waiting", waits[0], waits[1], "percent"),
    ]


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None


def _latencies(run: WorkloadRun) -> list[float]:
    return [video.latency_s for video in run.videos if video.latency_s is not None]


def _mean(rows: Sequence[Row], kind: str) -> float | None:
    return sum(row.total(kind) for row in rows) / len(rows) if rows else None
