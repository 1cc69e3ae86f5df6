"""Times that users give: so long ago, or in ISO 8601."""

from __future__ import annotations

import re
import time
from datetime import datetime, timezone
from typing import Any

import click

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Moment(click.ParamType):
    """A time in epoch seconds, given as `90s`, `10m`, `2h`, `1d` (ago) or as ISO 8601 (UTC)."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Return the time; raises BadParameter."""
        text = str(value)
        if ago := re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text):
            return time.time() - float(ago[1]) * UNITS[ago[2]]
        try:
            when = datetime.fromisoformat(text.replace("Z", "+00:00"))
        except ValueError:
            self.fail(
                f"{text!r} is not a time: use 90s, 10m, 2h, 1d or 2026-11-27T09:30:00Z (UTC).",
                param,
                ctx,
            )
        return (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp()
