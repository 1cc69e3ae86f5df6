"""Log lines: one JSON object per step of a video.

Fields that AWS Lambda Powertools' logger has as well have its names, so that queries made for it
work. `face-recognition/log_line.py` writes the same ones.
https://docs.aws.amazon.com/powertools/python/latest/core/logger/
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

SERVICE = "video-splitting"
# What a line says when a step has ended well; of a step that is not listed, its name.
MESSAGES = {
    "start": "Video received",
    "queued": "Upload waited in the queue",
    "skipped": "Object is not a video",
    "frames": "Frames are in stage-1",
    "ffmpeg": "ffmpeg took frames",
    "upload": "Frames uploaded",
    "tidy": "Leftovers removed",
    "invoke": "Recognizer answered",
    "agree": "Answer agreed",
    "video": "Video answered",
}


class _Invocation:
    """What all lines of the running invocation have in common; an environment runs one at a time.

    `fields` are empty outside Lambda.
    """

    count = 0
    fields: dict[str, Any] = {}  # noqa: RUF012 - replaced, never changed


def begin(context: Any) -> None:
    """Give the lines from now on the IDs of the invocation that `context` belongs to."""
    request_id = str(getattr(context, "aws_request_id", ""))
    _Invocation.count += 1
    _Invocation.fields = {
        "function_name": str(getattr(context, "function_name", "")),
        "function_request_id": request_id,
        "cold_start": _Invocation.count == 1,
        "correlation_id": request_id,
    }


def correlation_id() -> str:
    """The ID that the lines of both functions about this event share; "" outside Lambda."""
    return str(_Invocation.fields.get("correlation_id", ""))


@contextmanager
def logged(step: str, source: object) -> Iterator[dict[str, Any]]:
    """Print one JSON line when a step ends: the step, video, duration, notes and any error.

    The line of an error that no retry can mend says so.
    """
    notes: dict[str, Any] = {}
    started = time.perf_counter()
    try:
        yield notes
    except Exception as error:
        notes["error"] = f"{type(error).__name__}: {error}"
        notes["exception_name"] = type(error).__name__
        if not getattr(error, "retry", True):
            notes["retry"] = False
        raise
    finally:
        elapsed = round((time.perf_counter() - started) * 1000, 1)
        log(step, source, ms=elapsed, **notes)


def log(step: str, source: object, **notes: Any) -> None:
    """Print one JSON line about a video, a store.Source."""
    note(step, video=str(source), **notes)


def note(step: str, **notes: Any) -> None:
    """Print one JSON line, of level ERROR if the notes have an error."""
    has_failed = "error" in notes
    trace = os.environ.get("_X_AMZN_TRACE_ID", "").partition("Root=")[2].partition(";")[0]
    line = {
        "level": "ERROR" if has_failed else "INFO",
        "location": _location(),
        "message": f"Failed: {step}" if has_failed else MESSAGES.get(step, step),
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "service": SERVICE,
        **_Invocation.fields,
        "xray_trace_id": trace,
        "step": step,
        **notes,
    }
    print(json.dumps({name: value for name, value in line.items() if value != ""}), flush=True)


def _location() -> str:
    """The function and line that the running log line comes from."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename in (__file__, contextlib.__file__):
        frame = frame.f_back
    return f"{frame.f_code.co_name}:{frame.f_lineno}"
