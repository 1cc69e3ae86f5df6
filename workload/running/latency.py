"""Figures of a run: percentiles, throughput, a table. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

PERCENTILES = (50, 95, 99)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of `values` that at least `percent` % of them do not exceed (nearest rank).

    It is always one of the values. Raises ValueError without values.
    """
    if not values:
        raise ValueError("percentile of no values")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent * len(ordered) / 100) - 1)]


@dataclass(frozen=True)
class Summary:
    """Latencies in seconds: minimum, average, percentiles, maximum."""

    count: int
    minimum: float
    average: float
    p50: float
    p95: float
    p99: float
    maximum: float


def summarize(values: Sequence[float]) -> Summary | None:
    """The figures of `values`, None if there are none."""
    if not values:
        return None
    p50, p95, p99 = (percentile(values, percent) for percent in PERCENTILES)
    average = math.fsum(values) / len(values)
    return Summary(len(values), min(values), average, p50, p95, p99, max(values))


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """`rows` below `head` in columns of text."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
        for line in [head, rule, *rows]
    )
