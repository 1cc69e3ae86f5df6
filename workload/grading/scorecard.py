"""The grader's verdict as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workload.grading.checks import FAIL, SKIP, Check

SHOWN = 20  # objects a check; --json has all


def points(checks: Sequence[Check]) -> tuple[int, int]:
    """Points earned, and points there were to earn: skipped checks have none."""
    counted = [check for check in checks if check.status != SKIP]
    return sum(check.earned for check in counted), sum(check.points for check in counted)


def is_right(checks: Sequence[Check]) -> bool:
    """Whether no check failed."""
    return all(check.status != FAIL for check in checks)


def as_text(checks: Sequence[Check]) -> str:
    """A line a check, below a failed one the objects at fault, and the points."""
    lines = []
    for check in checks:
        score = "" if check.status == SKIP else f"{check.earned}/{check.points}"
        reason = f": {check.reason}" if check.reason else ""
        lines.append(f"{check.status}  {score:>5}  {check.name}{reason}")
        lines += [f"               {thing}" for thing in check.objects[:SHOWN]]
        if len(check.objects) > SHOWN:
            lines.append(f"               and {len(check.objects) - SHOWN} more (--json names all)")
    earned, there = points(checks)
    return "\n".join([*lines, f"{earned}/{there} points"])


def as_json(prefix: str, namespace: str, checks: Sequence[Check]) -> dict[str, Any]:
    """For programs: the same, with every object."""
    earned, there = points(checks)
    return {
        "prefix": prefix,
        "namespace": namespace,
        "passed": is_right(checks),
        "points": earned,
        "of": there,
        "checks": [check.as_json() for check in checks],
    }
