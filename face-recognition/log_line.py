"""Log lines: one JSON object each, with the same fields as those of the splitter.

`video-splitting/step_log.py` says where the names of the fields come from. The splitter's request
ID arrives in the payload as `correlation_id`, so that one ID finds the lines of both functions.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from typing import Any

SERVICE = "face-recognition"


class _Invocation:
    """What all lines of the running invocation have in common; an environment runs one at a time.

    `fields` are empty outside Lambda and during INIT.
    """

    count = 0
    fields: dict[str, Any] = {}  # noqa: RUF012 - replaced, never changed


def begin(context: Any, event: Any) -> None:
    """Give the lines from now on the IDs of the invocation that `context` belongs to.

    An event without a correlation ID that is a text gets the invocation's own request ID.
    """
    request_id = str(getattr(context, "aws_request_id", ""))
    shared = event.get("correlation_id") if isinstance(event, dict) else None
    _Invocation.count += 1
    _Invocation.fields = {
        "function_name": str(getattr(context, "function_name", "")),
        "function_request_id": request_id,
        "cold_start": _Invocation.count == 1,
        "correlation_id": shared if isinstance(shared, str) and shared else request_id,
    }


def log(step: str, message: str, level: str = "INFO", **notes: Any) -> None:
    """Print one JSON line."""
    caller = sys._getframe(1)
    trace = os.environ.get("_X_AMZN_TRACE_ID", "").partition("Root=")[2].partition(";")[0]
    line = {
        "level": level,
        "location": f"{caller.f_code.co_name}:{caller.f_lineno}",
        "message": message,
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "service": SERVICE,
        **_Invocation.fields,
        "xray_trace_id": trace,
        "step": step,
        **notes,
    }
    print(json.dumps({name: value for name, value in line.items() if value != ""}), flush=True)
