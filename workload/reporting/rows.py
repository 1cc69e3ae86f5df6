"""The figures of every video as CSV and JSON, for the links in the page."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from workload.reporting.faces import Face
from workload.reporting.sightings import Sighting
from workload.reporting.timeline import KINDS, Row
from workload.running.expected import quoted
from workload.running.run import WorkloadRun

# Columns of the CSV. Times are in seconds; one column per kind of segment follows.
COLUMNS = (
    *("video", "expected", "answer", "outcome", "verdict", "nearest", "distance", "threshold"),
    *("frames", "votes", "latency_s", "failure"),
)


def rows_of(cards: Sequence[tuple[Sighting, Row]]) -> list[dict[str, Any]]:
    """Everything known about each video; what is unknown is null."""
    return [
        {
            "video": card.video.key,
            "expected": card.video.expected,
            "answer": card.answer or None,
            "outcome": card.outcome.name.lower(),
            "verdict": card.verdict.value,
            "nearest": card.nearest_person or None,
            "distance": card.distance,
            "threshold": card.threshold,
            "frames": card.frames,
            "votes": card.votes,
            "latency_s": _rounded(card.video.latency_s),
            "failure": card.video.failure or None,
            "seconds": {kind: _rounded(row.total(kind)) for kind in KINDS},
            "faces": [_face(face) for face in card.faces],
            "people": [vars(person) for person in card.people],
            "moments": [
                {"time": moment.time, "faces": [_face(face) for face in moment.faces]}
                for moment in card.moments
            ],
        }
        for card, row in cards
    ]


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as CSV, in which no cell is a formula."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([*COLUMNS, *(f"{kind}_s" for kind in KINDS)])
    for row in rows:
        cells = [row[name] for name in COLUMNS] + [row["seconds"][kind] for kind in KINDS]
        writer.writerow([quoted(cell) if isinstance(cell, str) else cell for cell in cells])
    return out.getvalue()


def as_json(run: WorkloadRun, rows: Sequence[dict[str, Any]]) -> str:
    """The run and its rows as JSON."""
    about: dict[str, Any] = {"prefix": run.prefix, "namespace": run.namespace, "region": run.region}
    about |= {"started": run.started, "ended": run.ended, "score": str(run.score)}
    return json.dumps({**about, "videos": rows}, separators=(",", ":"), ensure_ascii=False)


def data_uri(kind: str, text: str) -> str:
    """The text as a link that needs no server, such as `data:text/csv;...`."""
    return f"data:{kind};charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}"


def _face(face: Face) -> dict[str, Any]:
    return {
        "name": face.name,
        "distance": face.distance,
        "nearest": face.nearest or None,
        "box": face.box,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
