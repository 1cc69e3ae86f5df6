"""What the runs of one checkout share in build/ is made by one of them at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from pipeline.settings import ROOT

LOCK = ROOT / "build" / "lock"


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold the lock on build/; a process that holds it may take it again. Also a decorator.

    Two demos may run side by side: neither may read a clip, a gallery or an ffmpeg that the other
    is just writing. The system gives the lock back when a process ends, however it ends.
    """
    LOCK.parent.mkdir(exist_ok=True)
    lock = FileLock(LOCK, is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"Waiting for another run that prepares {LOCK.parent} ...", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
