"""What trials say about time and price at each memory setting. Pure functions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, median

from workload.reporting.invocations import Invocation
from workload.reporting.prices import Prices
from workload.reporting.receipt import bill

# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
MB_PER_VCPU, MAX_VCPU = 1769, 6
# The fastest sensible setting costs at most this much more than the cheapest, and a dearer one
# counts as faster only if it saves more than noise.
SENSIBLE = 1.5
NOISE = 0.05


@dataclass(frozen=True)
class Sample:
    """One video's way through both functions.

    `billed_ms` and `own_usd` are of the function that is tuned, `usd` is Lambda's price for both.
    `seconds`: how long the splitter ran, which waits for the recognizer. `is_cold`: the tuned
    function was started for it. `is_warm`: neither function was.
    """

    video: str
    billed_ms: float
    seconds: float
    own_usd: float
    usd: float
    is_cold: bool
    is_warm: bool


def sample(
    video: str,
    tuned: Sequence[Invocation],
    splitter: Sequence[Invocation],
    recognizer: Sequence[Invocation],
    prices: Prices,
) -> Sample | None:
    """The sample of one video; None if an invocation has failed or has no REPORT line."""
    both = [*splitter, *recognizer]
    reports = [i.report for i in both if i.report is not None and not i.has_failed]
    if not splitter or not tuned or len(reports) < len(both):
        return None
    return Sample(
        video=video,
        billed_ms=sum(i.report.billed_ms for i in tuned if i.report),
        seconds=sum(i.report.duration_ms for i in splitter if i.report) / 1000,
        own_usd=bill("", tuned, prices).usd,
        usd=bill("", both, prices).usd,
        is_cold=any(i.is_cold for i in tuned),
        is_warm=not any(i.is_cold for i in both),
    )


@dataclass(frozen=True)
class Row:
    """One memory setting. Times and prices are medians per video, averaged over the videos.

    `own_usd` and `usd` are for 1,000 warm videos. None: there was no such sample. `failed` names a
    video that had no answer, and why.
    """

    memory_mb: int
    warm_ms: float | None
    cold_ms: float | None
    seconds: float | None
    own_usd: float | None
    usd: float | None
    warm: int
    cold: int
    failed: str = ""

    @property
    def vcpu(self) -> float:
        """How many vCPUs the memory buys."""
        return min(self.memory_mb / MB_PER_VCPU, MAX_VCPU)


def row(memory_mb: int, samples: Sequence[Sample], failed: str = "") -> Row:
    """What the samples of one memory setting say."""
    warm = [one for one in samples if one.is_warm]
    cold = [one for one in samples if one.is_cold]
    own, usd = _typical(warm, lambda one: one.own_usd), _typical(warm, lambda one: one.usd)
    return Row(
        memory_mb=memory_mb,
        warm_ms=_typical(warm, lambda one: one.billed_ms),
        cold_ms=_typical(cold, lambda one: one.billed_ms),
        seconds=_typical(warm, lambda one: one.seconds),
        own_usd=None if own is None else 1000 * own,
        usd=None if usd is None else 1000 * usd,
        warm=len(warm),
        cold=len(cold),
        failed=failed,
    )


def _typical(samples: Iterable[Sample], figure: Callable[[Sample], float]) -> float | None:
    """The mean of the videos' medians, so that one slow trial does not count."""
    by_video: dict[str, list[float]] = defaultdict(list)
    for one in samples:
        by_video[one.video].append(figure(one))
    return mean(median(figures) for figures in by_video.values()) if by_video else None


def cheapest(rows: Sequence[Row]) -> Row | None:
    """The row with the lowest price of both functions; None if no setting answered all videos."""
    return min(_answering(rows), key=lambda one: (one.usd or 0, one.memory_mb), default=None)


def fastest_sensible(rows: Sequence[Row]) -> Row | None:
    """The fastest row of those that cost at most SENSIBLE times the cheapest; None without any.

    Of rows whose times differ by less than NOISE, it is the cheapest.
    """
    best = cheapest(rows)
    if best is None:
        return None
    within = [one for one in _answering(rows) if (one.usd or 0) <= SENSIBLE * (best.usd or 0)]
    least = min(one.seconds or 0 for one in within)
    return cheapest([one for one in within if (one.seconds or 0) <= least * (1 + NOISE)])


def _answering(rows: Sequence[Row]) -> list[Row]:
    return [one for one in rows if one.usd is not None and not one.failed]


HEADINGS = ("memory", "vCPU", "warm ms", "cold ms", "s per video", "own $", "both $", "")


def as_text(function: str, before_mb: int, rows: Sequence[Row]) -> str:
    """The table of one function, as text. `before_mb`: what the function has outside the trials."""
    lines = [HEADINGS]
    for one in rows:
        marks = {
            "cheapest": one is cheapest(rows),
            "fastest sensible": one is fastest_sensible(rows),
            "deployed": one.memory_mb == before_mb,
        }
        lines.append(
            (
                f"{one.memory_mb} MB",
                f"{one.vcpu:.2f}",
                _cell(one.warm_ms, ".0f"),
                _cell(one.cold_ms, ".0f"),
                _cell(one.seconds, ".2f"),
                _cell(one.own_usd, ".4f"),
                _cell(one.usd, ".4f"),
                one.failed or ", ".join(mark for mark, is_true in marks.items() if is_true),
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines)]
    shown = [
        "  ".join(
            cell.ljust(width) if number in (0, 7) else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([function, *shown])


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def as_json(function: str, before_mb: int, rows: Sequence[Row]) -> dict[str, object]:
    """The table of one function as JSON."""
    best, fast = cheapest(rows), fastest_sensible(rows)
    return {
        "function": function,
        "memory_mb": before_mb,
        "cheapest_mb": best and best.memory_mb,
        "fastest_sensible_mb": fast and fast.memory_mb,
        "settings": [
            {
                "memory_mb": one.memory_mb,
                "vcpu": round(one.vcpu, 3),
                "warm_ms": one.warm_ms,
                "cold_ms": one.cold_ms,
                "seconds_per_video": one.seconds,
                "usd_per_1000_videos": one.own_usd,
                "usd_per_1000_videos_of_both": one.usd,
                "warm": one.warm,
                "cold": one.cold,
                "failed": one.failed,
            }
            for one in rows
        ],
    }
