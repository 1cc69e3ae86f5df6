"""Log lines: one JSON object per step of a video."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import store


@contextmanager
def logged(step: str, source: store.Source) -> Iterator[dict[str, Any]]:
    """Print one JSON line when a step ends: the step, video, duration, notes and any error.

    The line of an error that no retry can mend says so.
    """
    notes: dict[str, Any] = {}
    started = time.perf_counter()
    try:
        yield notes
    except Exception as error:
        notes["error"] = f"{type(error).__name__}: {error}"
        if not getattr(error, "retry", True):
            notes["retry"] = False
        raise
    finally:
        elapsed = round((time.perf_counter() - started) * 1000, 1)
        log(step, source, ms=elapsed, **notes)


def log(step: str, source: store.Source, **notes: Any) -> None:
    """Print one JSON line about a video."""
    note(step, video=str(source), **notes)


def note(step: str, **notes: Any) -> None:
    """Print one JSON line."""
    print(json.dumps({"step": step, **notes}), flush=True)
