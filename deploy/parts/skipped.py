"""Counts the objects in the input bucket that the splitter skipped: they are plainly not videos."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import botocore.exceptions

from pipeline.aws import NOT_FOUND, error_code
from pipeline.cli import Run, counted
from pipeline.names import printable

PERIOD_S = 86400
LOOK_S = 10.0  # CloudWatch searches a busy log in many pages, most of them empty
SHOWN = 5
DENIED = ("AccessDenied", "AccessDeniedException")


@dataclass(frozen=True)
class Skipped:
    """What was skipped in the last day. `is_all` is false if the search was cut short."""

    count: int
    first: tuple[str, ...]
    is_all: bool = True

    def as_json(self) -> dict[str, Any]:
        """The figures for --json."""
        return {**asdict(self), "first": list(self.first)}

    def line(self) -> str:
        """One line for people; empty if nothing was skipped."""
        if not self.count:
            return ""
        more = self.count - len(self.first)
        least = "" if self.is_all else "at least "
        objects = counted(self.count, "object")
        return (
            f"SKIPPED  {least}{objects} in the last day, plainly not videos: "
            + ", ".join(map(printable, self.first))
            + (f" and {more} more" if more > 0 else "")
        )


def skipped_objects(
    run: Run,
    clock: Callable[[], float] = time.time,
    elapsed: Callable[[], float] = time.monotonic,
) -> Skipped:
    """The objects that the splitter's log of the last day says it skipped, oldest first.

    Searches for at most LOOK_S. A splitter that has never run has skipped nothing. Without the
    right to read the log, says so and counts none.
    """
    group, deadline = run.deployment.splitter.log_group, elapsed() + LOOK_S
    pages = (
        run.aws.client("logs")
        .get_paginator("filter_log_events")
        .paginate(
            logGroupName=group,
            startTime=int((clock() - PERIOD_S) * 1000),
            filterPattern='"skipped"',
        )
    )
    found: dict[str, str] = {}  # S3 may deliver an event more than once
    is_all = True
    try:
        for page in pages:
            found.update(filter(None, (_skipped(event["message"]) for event in page["events"])))
            if elapsed() >= deadline and page.get("nextToken"):
                is_all = False
                break
    except botocore.exceptions.ClientError as error:
        if error_code(error) in DENIED:
            run.note(
                f"Skipped objects are not counted: it takes logs:FilterLogEvents on '{group}'."
            )
            return Skipped(0, (), is_all=False)
        if error_code(error) != NOT_FOUND:
            raise
    return Skipped(len(found), tuple(list(found.values())[:SHOWN]), is_all)


def _skipped(message: str) -> tuple[str, str] | None:
    """The object that a log line is about, alone and with the reason; None for any other line."""
    try:
        line = json.loads(message)
        if line["step"] != "skipped":
            return None
        reason = line.get("reason")
        name = str(line["video"])
        return name, f"{name} ({reason})" if reason else name
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
