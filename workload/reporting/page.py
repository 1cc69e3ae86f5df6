"""Renders the page: the template's data, and how figures are formatted."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from workload.reporting.comparison import Comparison
from workload.reporting.evidence import Evidence
from workload.reporting.moments import label_of, presences
from workload.reporting.plots import latency_svgs, timeline_svgs
from workload.reporting.prices import Prices
from workload.reporting.receipt import SQS_REQUESTS_PER_FRAME, Receipt
from workload.reporting.rows import as_csv, as_json, data_uri, rows_of
from workload.reporting.sightings import Sighting
from workload.reporting.stranger_cards import Stranger
from workload.reporting.timeline import KINDS, Row
from workload.reporting.verdict import UNSURE_SHARE, Verdict
from workload.running.latency import PERCENTILES, percentile
from workload.running.run import WorkloadRun
from workload.running.score import Outcome

FIRST_CARDS = 60  # how many cards are shown until the reader asks for all
FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Findings:
    """Everything on the page. `is_local`: not the real AWS, so nothing was charged.

    `comparison`: with an earlier run, if there is one. `strangers`: those whose faces were kept,
    and `references`, where, as JSON. `command` adds one to a gallery, up to the number.
    """

    run: WorkloadRun
    sightings: Sequence[Sighting]
    rows: Sequence[Row]
    evidence: Evidence
    receipt: Receipt
    prices: Prices
    is_local: bool
    comparison: Comparison | None = None
    strangers: Sequence[Stranger] = ()
    references: str = ""
    command: str = ""


def render(findings: Findings) -> str:
    """The whole page. The template escapes every text that comes from outside."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(usd=usd, price=price, seconds=seconds, when=when)
    environment.filters.update(
        distance=distance, moment=moment, lines=lines, measure=measure, times=times
    )
    environment.globals.update(presences=presences, label_of=label_of)
    source = (FOLDER / "report.html.j2").read_text(encoding="utf-8")
    template = environment.from_string(re.sub(r"^ +", "", source, flags=re.MULTILINE))
    return template.render(**_content(findings))


def _content(findings: Findings) -> dict[str, Any]:
    run, rows = findings.run, {row.key: row for row in findings.rows}
    second = findings.receipt.second
    latencies = [
        (video.latency_s, rows[video.key].cold_starts > 0)
        for video in run.videos
        if video.latency_s is not None
    ]
    values = [value for value, _ in latencies]
    counts = Counter(sighting.verdict for sighting in findings.sightings)
    outcomes = Counter(sighting.outcome for sighting in findings.sightings)
    cards = [(_noted(sighting), rows[sighting.video.key]) for sighting in findings.sightings]
    slots = [row.total("slot") for row in findings.rows if row.answered is not None]
    data = rows_of(cards)
    script = (FOLDER / "report.js").read_text(encoding="utf-8")
    return {
        "run": run,
        "first_cards": FIRST_CARDS,
        "cards": cards,
        "csv": data_uri("text/csv", as_csv(data)),
        "json": data_uri("application/json", as_json(run, data)),
        "script": Markup(script),  # noqa: S704
        "script_hash": base64.b64encode(sha256(script.encode()).digest()).decode(),
        "outcomes": [
            (name, outcomes[outcome])
            for name, outcome in (("wrong", Outcome.WRONG), ("right", Outcome.RIGHT))
            if outcomes[outcome]
        ],
        "is_checked": run.score.expected > 0,
        "slot_median": percentile(slots, 50) if any(slots) else None,
        "comparison": findings.comparison,
        "strangers": findings.strangers,
        "anchors": {card.video.key: f"v{place}" for place, (card, _) in enumerate(cards, 1)},
        "references": Markup(findings.references),  # noqa: S704  it has no <
        "command": findings.command,
        "looked_again": {video.partition("://")[2].partition("/")[2] for video in second.videos},
        "verdicts": [(verdict, counts[verdict]) for verdict in Verdict if counts[verdict]],
        "models": sorted({s.model for s in findings.sightings if s.model}),
        "headline": str(run.score),
        "answered": run.score.answered,
        "percentiles": [(rank, percentile(values, rank)) for rank in PERCENTILES] if values else [],
        "extremes": (min(values), max(values)) if values else None,
        "met_cold": sum(cold for _, cold in latencies),
        # matplotlib has already escaped the texts in these
        "timeline": [Markup(text) for text in timeline_svgs(findings.rows)],  # noqa: S704
        "latency": [Markup(text) for text in latency_svgs(latencies)],  # noqa: S704
        "kinds": KINDS,
        "table_kinds": [kind for kind in KINDS if kind != "failed"],
        "evidence": findings.evidence,
        "receipt": findings.receipt,
        "prices": findings.prices,
        "is_local": findings.is_local,
        "unsure_percent": round(100 * UNSURE_SHARE),
        "sqs_requests": SQS_REQUESTS_PER_FRAME,
    }


def _noted(sighting: Sighting) -> Sighting:
    """The card, with a note if its answer has no latency because it came before the run."""
    if not sighting.video.repeated:
        return sighting
    notes = ("Answered before this run, same content.", sighting.note)
    return replace(sighting, note=" ".join(filter(None, notes)))


def measure(value: float | None, unit: str) -> str:
    """A figure of a comparison."""
    if value is None:
        return "unknown"
    if unit == "percent":
        return f"{value:.0f} %"
    return {"seconds": seconds, "usd": usd, "count": "{:,.0f}".format}[unit](value)


def usd(dollars: float) -> str:
    """Dollars, with enough digits for fractions of a cent."""
    return f"${dollars:,.6f}" if dollars < 100 else f"${dollars:,.2f}"


def price(dollars: float) -> str:
    """A list price with all its digits, at least two after the point."""
    whole, _, part = f"{dollars:.12f}".partition(".")
    return f"{whole}.{part.rstrip('0'):0<2}"


def seconds(value: float) -> str:
    """A duration, in milliseconds or seconds."""
    if value < 0.0995:
        return f"{max(value, 0) * 1000:.0f} ms"
    return f"{value:.2f} s" if value < 9.995 else f"{value:.1f} s"


def times(count: int) -> str:
    """How often: once, 3 times."""
    return "once" if count == 1 else f"{count:,} times"


def moment(value: float) -> str:
    """A time in a video, in seconds from its start: 0 s, 1.2 s."""
    return f"{round(value, 1):g} s"


def when(epoch: float) -> str:
    """A time in UTC, to the minute."""
    return datetime.fromtimestamp(epoch, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def lines(text: str | None) -> str:
    """A text of several lines in one: with FACES=all, an answer has one name per line."""
    return ", ".join((text or "").split("\n"))


def distance(value: float | None) -> str:
    """A distance in the model's own units."""
    return "" if value is None else f"{value:.3f}"
