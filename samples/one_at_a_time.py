"""A lock on build/, so that only one run of a checkout writes there at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from pipeline.settings import ROOT

LOCK = ROOT / "build" / "lock"


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold the lock on build/. It is reentrant, and can be used as a decorator.

    Two demos may run side by side, and neither may read a clip, a gallery or an ffmpeg that the
    other is still writing. The system releases the lock when its process ends, however it ends.
    """
    LOCK.parent.mkdir(exist_ok=True)
    lock = FileLock(LOCK, is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"Waiting for another run to finish preparing {LOCK.parent} ...", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
