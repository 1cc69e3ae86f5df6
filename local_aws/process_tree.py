"""A process and its descendants: who they are, and how much memory they hold."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

# Linux tells the children of each thread, where its kernel was built to (most are).
# https://man7.org/linux/man-pages/man5/proc_tid_children.5.html
_CHILDREN_ARE_TOLD = Path("/proc/thread-self/children").exists()
# What a process that ends while it is looked at may raise.
_GONE = (FileNotFoundError, ProcessLookupError, psutil.Error)


def members(pid: int) -> list[int]:
    """`pid` and its descendants, parents first; it alone when it has ended.

    psutil asks every process of the machine for its parent, which is too much to do ten
    times a second for each environment.
    """
    if not _CHILDREN_ARE_TOLD:
        with contextlib.suppress(psutil.Error):
            return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
        return [pid]
    found = [pid]
    for member in found:  # it grows meanwhile
        with contextlib.suppress(*_GONE):
            for thread in Path(f"/proc/{member}/task").iterdir():
                with contextlib.suppress(*_GONE):
                    found += map(int, (thread / "children").read_text().split())
    return found


def resident_bytes(pid: int) -> int:
    """Resident memory of the process and its descendants; 0 when it has ended."""
    total = 0
    for member in members(pid):
        with contextlib.suppress(psutil.Error):
            total += psutil.Process(member).memory_info().rss
    return total
