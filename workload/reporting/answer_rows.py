"""Answers as cells of a table, lines of a CSV and JSON. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from workload.reporting.recognized import Recognized, Seen

COLUMNS = ("video", "answer", "distance", "people", "answered")
FIELDS = (
    *("video", "answer", "distance", "threshold", "nearest", "frames", "people", "answered"),
    "output",
)


def as_fields(found: Recognized, people: Sequence[Seen]) -> dict[str, Any]:
    """What JSON says: FIELDS. Times are in seconds of the video, `answered` is UTC."""
    values = (
        *(found.video, found.answer, found.distance, found.threshold, found.nearest or None),
        *(found.frames, [asdict(person) for person in people], utc(found.output.modified)),
        found.output.key,
    )
    return dict(zip(FIELDS, values))


def as_csv(found: Recognized, people: Sequence[Seen]) -> list[str]:
    """The cells of a CSV, in the order of FIELDS."""
    fields = as_fields(found, people)
    fields["people"] = "; ".join(map(str, people))
    return ["" if value is None else str(value) for value in fields.values()]


def as_cells(found: Recognized, people: Sequence[Seen]) -> tuple[str, ...]:
    """The cells of COLUMNS."""
    told = ", ".join(map(str, people))
    return (found.video, found.said, near(found), told, utc(found.output.modified))


def near(found: Recognized) -> str:
    """The distance of the answer's face, and the threshold: "0.241 / 0.637"."""
    if found.distance is None:
        return ""
    limit = "" if found.threshold is None else f" / {found.threshold:.3f}"
    return f"{found.distance:.3f}{limit}"


def utc(epoch: float) -> str:
    """A time to the second: 2026-11-27T09:30:00Z."""
    moment = datetime.fromtimestamp(epoch, timezone.utc).replace(tzinfo=None, microsecond=0)
    return f"{moment.isoformat()}Z"
