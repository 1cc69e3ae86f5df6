"""Percentiles and other figures of latencies. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.names import printable

PERCENTILES = (50, 95, 99)


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: the smallest value that at least `percent` % do not exceed.

    Raises ValueError if there are no values.
    """
    if not values:
        raise ValueError("no values to take a percentile of")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent * len(ordered) / 100) - 1)]


@dataclass(frozen=True)
class Summary:
    """Latencies in seconds: minimum, average, percentiles, maximum."""

    minimum: float
    average: float
    p50: float
    p95: float
    p99: float
    maximum: float


def summarize(values: Sequence[float]) -> Summary | None:
    """The summary of `values`, or None if there are none."""
    if not values:
        return None
    p50, p95, p99 = (percentile(values, percent) for percent in PERCENTILES)
    average = math.fsum(values) / len(values)
    return Summary(min(values), average, p50, p95, p99, max(values))


class TextTable:
    """A plain-text table with aligned columns and one line per row, whatever is in the cells."""

    def __init__(self, head: Sequence[str]) -> None:
        """`head` names the columns."""
        self._head = head
        self._widths = [len(cell) for cell in head]
        self._is_begun = False

    def lines(self, rows: Sequence[Sequence[str]]) -> str:
        """The next rows, as lines; the first ones come with the head. Columns only get wider."""
        rows = [[printable(cell) for cell in row] for row in rows]
        for row in rows:
            self._widths = [max(width, len(cell)) for width, cell in zip(self._widths, row)]
        above = [] if self._is_begun else [self._head, ["-" * width for width in self._widths]]
        self._is_begun = True
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, self._widths)).rstrip()
            for line in [*above, *rows]
        )


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A whole table at once."""
    return TextTable(head).lines(rows)


def without_empty(
    head: Sequence[str], rows: Sequence[Sequence[str]]
) -> tuple[list[str], list[list[str]]]:
    """A table without the columns in which no row has anything."""
    kept = [n for n in range(len(head)) if any(row[n] for row in rows)]
    return [head[n] for n in kept], [[row[n] for n in kept] for row in rows]
