"""The report's plots: the timeline of the run, and how long answers took."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from workload.reporting.charts import PAINT, SETTINGS, bare, figure, printable, svg
from workload.reporting.timeline import KINDS, WAITS, Row
from workload.running.latency import PERCENTILES, percentile

HATCHES = {"cold": "////", "failed": "xxxx", "wait": "...."}  # so that color is not the only cue


@dataclass(frozen=True)
class Size:
    """One of the two widths in pixels that every plot is drawn for."""

    name: str
    width: int

    @property
    def is_narrow(self) -> bool:
        """Whether it is the width for phones."""
        return self.name == "narrow"


SIZES = (Size("wide", 1040), Size("narrow", 350))
PART_PX = 940  # the tallest wide plot that fits on a printed page with its heading


def timeline_svgs(rows: Sequence[Row]) -> list[str]:
    """The timeline, with one row of bars per video, in both widths. Empty without rows.

    The wide one is split into parts that fit on a printed page.
    """
    if not rows:
        return []
    pitch = 26 if len(rows) <= 40 else 13 if len(rows) <= 150 else 5
    stretches = [segment for row in rows for segment in row.segments]
    ends = [s.end for s in stretches] + [row.answered for row in rows if row.answered is not None]
    span = min([0.0, *(s.start for s in stretches)]), 1.02 * max([0.1, *ends])
    wide, narrow = SIZES
    parts = math.ceil(pitch * len(rows) / PART_PX)
    length = math.ceil(len(rows) / parts)
    with mpl.rc_context(SETTINGS):
        drawn = [
            _timeline(rows[first : first + length], wide, pitch, span, f"-{first}")
            for first in range(0, len(rows), length)
        ]
        return [*drawn, _timeline(rows, narrow, pitch, span)]


def latency_svgs(latencies: Sequence[tuple[float, bool]]) -> list[str]:
    """Histogram and cumulative share of (seconds, met a cold start), in both widths."""
    if not latencies:
        return []
    with mpl.rc_context(SETTINGS):
        return [_latency(latencies, size) for size in SIZES]


def _timeline(
    rows: Sequence[Row], size: Size, pitch: int, span: tuple[float, float], part: str = ""
) -> str:
    labels_above = size.is_narrow and pitch == 26
    pitch += 14 if labels_above else 0
    made = figure(size.width, pitch * len(rows) + 40)
    axes: Any = made.add_subplot()
    bare(axes, "x")
    half = 0.26 if labels_above else 0.4
    for kind in KINDS:
        for lane in (0, 1):
            spans = [
                (row, s.start, s.end - s.start)
                for row, line in enumerate(rows)
                for s in line.segments
                if s.kind == kind and s.lane == lane
            ]
            _bars(axes, kind, spans, half, lane, 0.2 if labels_above else 0)
    for row, line in enumerate(rows):
        middle = row + (0.2 if labels_above else 0)
        failed = [s.end for s in line.segments if s.kind == "failed"]
        axes.plot(
            failed, [middle - half / 2] * len(failed), "x", color=PAINT["failed"], ms=7, mew=2
        )
        if labels_above:
            at = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 11}
            axes.annotate(printable(line.key, 44), (0, row - 0.27), **at)
    middles = [row + (0.2 if labels_above else 0) for row in range(len(rows))]
    answers = [
        [(line.answered, middle - half), (line.answered, middle + half)]
        for line, middle in zip(rows, middles)
        if line.answered is not None
    ]
    _outlines(axes, answers, fill=False, edgecolor=PAINT["ink"], linewidth=2)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(span)
    names = [printable(line.key, 30) for line in rows] if pitch > 5 and not size.is_narrow else []
    axes.set_yticks(range(len(names)), names, fontsize=12 if pitch == 26 else 10)
    axes.tick_params(axis="y", labelcolor=PAINT["ink"])
    axes.set_xlabel("seconds since the run began")
    return svg(made, f"timeline-{size.name}{part}", "When each video was where", size.name)


def _bars(
    axes: Any, kind: str, spans: list[tuple[int, float, float]], half: float, lane: int, down: float
) -> None:
    """Draw bars (row, start, length) of one kind in the upper (0) or lower (1) half of a row."""
    if not spans:
        return
    height = (0.16 if kind in WAITS else 0.92) * half  # waiting is a line, working a bar
    top = down + (0.5 * half if lane else -0.5 * half) - height / 2
    bars = [
        [(x, y), (x + length, y), (x + length, y + height), (x, y + height)]
        for row, x, length in spans
        for y in (row + top,)
    ]
    _outlines(
        axes,
        bars,
        facecolor=PAINT[kind],
        edgecolor=PAINT["paper"] if kind in HATCHES else "none",
        hatch=HATCHES.get(kind),
        linewidth=0,
    )


def _outlines(axes: Any, outlines: Sequence[Sequence[tuple[float, float]]], **look: Any) -> None:
    """Draw all outlines as one path: an element for each would take 3 MB for 1,000 videos."""
    corners = [corner for outline in outlines for corner in outline]
    codes = [
        code for outline in outlines for code in (Path.MOVETO, *[Path.LINETO] * (len(outline) - 1))
    ]
    if corners:
        axes.add_patch(PathPatch(Path(corners, codes), **look))


def _latency(latencies: Sequence[tuple[float, bool]], size: Size) -> str:
    seconds = sorted(value for value, _ in latencies)
    made = figure(size.width, 420)
    above, below = made.subplots(2, 1, sharex=True, height_ratios=(1, 1))
    bare(above, "y")
    groups = [[value for value, cold in latencies if cold is is_cold] for is_cold in (False, True)]
    bins = max(16, min(40, math.ceil(2 * math.sqrt(len(seconds)))))
    low, high = min(0.0, seconds[0]), max(seconds[-1] * 1.02, 0.1)
    _, _, bars = above.hist(
        groups,
        bins=bins,
        range=(low, high),
        stacked=True,
        color=[PAINT["recognize"], PAINT["cold"]],
        edgecolor=PAINT["paper"],
        linewidth=0.5,
        label=["all warm", "met a cold start"],
    )
    for bar in bars[1]:
        bar.set_hatch(HATCHES["cold"])
    above.set_ylabel("videos")
    above.yaxis.get_major_locator().set_params(integer=True)
    above.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0, handlelength=1.2
    )
    bare(below, "both")
    shares = [(index + 1) / len(seconds) for index in range(len(seconds))]
    below.step([low, *seconds, high], [0, *shares, 1], where="post", color=PAINT["ink"], lw=2)
    for percent in PERCENTILES:
        value = percentile(seconds, percent)
        below.plot([value], [percent / 100], "o", color=PAINT["split"], ms=7)
    below.set_yticks([0, 0.5, 0.95], ["0 %", "50 %", "95 %"])
    below.set_ylim(0, 1.04)
    below.set_ylabel("answered")
    below.set_xlabel("seconds from the upload's start to the answer")
    below.set_xlim(low, high)
    return svg(made, f"latency-{size.name}", "How long answers took", size.name)
