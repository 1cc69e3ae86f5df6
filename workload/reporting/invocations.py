"""Parses Lambda's log lines into invocations. Pure functions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

WAITING_STEP = "invoke"  # the step in which the splitter waits for the recognizer
QUEUED_STEP = "queued"  # how long an upload has waited in the queue of a small account
SKIPPED_STEP = "skipped"  # an object that is plainly not a video
# Fields that lines have in common and no report needs.
COMMON = (
    *("level", "location", "message", "timestamp", "service", "function_name"),
    *("function_request_id", "cold_start", "correlation_id", "xray_trace_id"),
)


@dataclass(frozen=True)
class Report:
    """A REPORT line: what Lambda measured and bills. `init_ms` is set after a cold start.

    `billed_ms` is Lambda's own figure and includes the billed part of INIT or a restore.
    """

    request_id: str
    duration_ms: float
    billed_ms: float
    memory_mb: int
    max_memory_mb: int
    init_ms: float | None = None
    restore_ms: float | None = None
    status: str = ""

    @property
    def gb_seconds(self) -> float:
        """The billed GB-seconds (1 GB is 1024 MB)."""
        return self.billed_ms / 1000 * self.memory_mb / 1024

    @property
    def start_s(self) -> float:
        """Seconds the environment took to start; 0 if it was warm."""
        return ((self.init_ms or 0) + (self.restore_ms or 0)) / 1000


@dataclass(frozen=True)
class Step:
    """A JSON log line of a handler: a step that ended at `ended` (epoch seconds)."""

    name: str
    ended: float
    seconds: float
    notes: dict[str, Any]

    @property
    def started(self) -> float:
        """When the step began, in epoch seconds."""
        return self.ended - self.seconds


@dataclass
class Invocation:
    """One invocation of a function. `started` is in epoch seconds and comes after INIT.

    `lost_init_s`: how long an INIT took that ran out of time. Lambda repeats it inside the
    invocation, and its REPORT has no Init Duration.
    """

    request_id: str
    started: float
    steps: list[Step] = field(default_factory=list)
    report: Report | None = None
    has_failed: bool = False
    lost_init_s: float = 0.0

    @property
    def ended(self) -> float:
        """When it ended, as far as its log lines tell, in epoch seconds."""
        if self.report is not None:
            return self.started + self.report.duration_ms / 1000
        return max([self.started, *(step.ended for step in self.steps)])

    @property
    def is_cold(self) -> bool:
        """Whether its environment was started for it."""
        return self.report is not None and self.start_s > 0

    @property
    def start_s(self) -> float:
        """Seconds that its environment took to start before it; 0 if it was warm."""
        return self.lost_init_s or (self.report.start_s if self.report else 0.0)

    def objects(self) -> list[str]:
        """The `bucket/key` of each video or frame in its log lines, without duplicates."""
        named = [
            str(step.notes.get("video") or step.notes.get("frame") or "") for step in self.steps
        ]
        found = [name[5:] if name.startswith("s3://") else name for name in named]
        return [name for name in dict.fromkeys(found) if name]


def parse_report(message: str) -> Report | None:
    """The figures in a REPORT line; None for any other line, or if a figure is missing."""
    if not message.startswith("REPORT RequestId:"):
        return None
    cells = [cell.partition(":") for cell in message.strip().split("\t")]
    figures = {name.strip(): value.strip() for name, _, value in cells}

    def number(name: str) -> float | None:
        try:
            return float(figures[name].split()[0]) if name in figures else None
        except (ValueError, IndexError):
            return None

    duration, billed = number("Duration"), number("Billed Duration")
    memory = number("Memory Size")
    if duration is None or billed is None or memory is None:
        return None
    return Report(
        request_id=figures["REPORT RequestId"],
        duration_ms=duration,
        billed_ms=billed,
        memory_mb=int(memory),
        max_memory_mb=int(number("Max Memory Used") or 0),
        init_ms=number("Init Duration"),
        restore_ms=number("Restore Duration"),
        status=figures.get("Status", ""),
    )


def lost_init(message: str) -> float | None:
    """The seconds of an INIT that ran out of time, from its INIT_REPORT line; else None."""
    found = re.match(
        r"INIT_REPORT Init Duration: ([\d.]+) ms\tPhase: init\tStatus: timeout", message
    )
    return float(found[1]) / 1000 if found else None


def parse_step(message: str, ended: float) -> Step | None:
    """A handler's JSON line with `ms` or `seconds`, or about a skipped object; None for others."""
    if not message.startswith("{"):
        return None
    try:
        notes = json.loads(message)
        name = notes.pop("step")
        for field_name in COMMON:
            notes.pop(field_name, None)
        if name == SKIPPED_STEP:
            notes.setdefault("seconds", 0)
        seconds = float(notes["ms"]) / 1000 if "ms" in notes else float(notes["seconds"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return Step(str(name), ended, seconds, notes)


def read_invocations(events: Iterable[Mapping[str, Any]]) -> list[Invocation]:
    """Invocations, sorted by start, from the events of one log group.

    Each environment has its own stream and runs one invocation at a time, so a line belongs to the
    last START in its stream. Request IDs cannot tell retries apart: they repeat.
    """
    done: list[Invocation] = []
    current: dict[str, Invocation] = {}
    lost: dict[str, float] = {}  # by stream
    for event in events:
        stream, when = str(event.get("logStreamName", "")), event["timestamp"] / 1000
        message = str(event["message"]).strip()
        if message.startswith("START RequestId: "):
            found = Invocation(message.split()[2], when, lost_init_s=lost.pop(stream, 0.0))
            current[stream] = found
            done.append(found)
        elif (seconds := lost_init(message)) is not None:
            lost[stream] = seconds
        elif stream in current:
            _add(current[stream], message, when)
    return sorted(done, key=lambda invocation: invocation.started)


def _add(invocation: Invocation, message: str, when: float) -> None:
    report = parse_report(message)
    step = parse_step(message, when)
    if report is not None and report.request_id == invocation.request_id:
        invocation.report = report
        invocation.has_failed |= bool(report.status)
    elif step is not None:
        invocation.steps.append(step)
        invocation.has_failed |= "error" in step.notes
    elif message.startswith("[ERROR]") or "Task timed out after" in message:
        invocation.has_failed = True
