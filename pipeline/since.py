"""Times that users give (so long ago, or in ISO 8601), and read."""

from __future__ import annotations

import re
import time
from datetime import datetime, timezone

import click

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def utc(when: float) -> str:
    """Return a time in epoch seconds as UTC in ISO 8601, to the millisecond."""
    text = datetime.fromtimestamp(when, timezone.utc).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def moment(_context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    """Return an option's time in epoch seconds; raises BadParameter.

    `value` is `90s`, `10m`, `2h` or `1d` (ago), or an ISO 8601 time (UTC); None stays None.
    """
    if value is None:
        return None
    if ago := re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", value):
        return time.time() - float(ago[1]) * UNITS[ago[2]]
    try:
        when = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError as error:
        raise click.BadParameter(
            f"{value!r} is not a time: use 90s, 10m, 2h, 1d or 2026-11-27T09:30:00Z (UTC).",
            param=option,
        ) from error
    return (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp()
