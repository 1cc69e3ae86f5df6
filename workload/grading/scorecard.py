"""The grader's result as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.names import printable
from workload.grading.checks import FAIL, SKIP, Check

SHOWN = 20  # objects per check; --json has all of them


def points(checks: Sequence[Check]) -> tuple[int, int]:
    """Points earned and points possible, not counting skipped checks."""
    counted = [check for check in checks if check.status != SKIP]
    return sum(check.earned for check in counted), sum(check.points for check in counted)


def has_passed(checks: Sequence[Check]) -> bool:
    """Whether no check failed."""
    return all(check.status != FAIL for check in checks)


def as_text(checks: Sequence[Check]) -> str:
    """One line per check, followed by the objects at fault; the points at the end."""
    lines = []
    for check in checks:
        score = "" if check.status == SKIP else f"{check.earned}/{check.points}"
        reason = f": {check.reason}" if check.reason else ""
        lines.append(printable(f"{check.status}  {score:>5}  {check.name}{reason}"))
        lines += [f"               {printable(thing)}" for thing in check.objects[:SHOWN]]
        if len(check.objects) > SHOWN:
            lines.append(f"               and {len(check.objects) - SHOWN} more (--json shows all)")
    earned, there = points(checks)
    return "\n".join([*lines, f"{earned}/{there} points"])


def as_json(prefix: str, namespace: str, checks: Sequence[Check]) -> dict[str, Any]:
    """The result with all objects, for --json."""
    earned, there = points(checks)
    return {
        "prefix": prefix,
        "namespace": namespace,
        "passed": has_passed(checks),
        "points": earned,
        "of": there,
        "checks": [check.as_json() for check in checks],
    }
