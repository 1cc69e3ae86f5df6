"""A process and its descendants: their IDs and their memory."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

# Linux lists the children of each thread if the kernel was built with that option (most are).
# https://man7.org/linux/man-pages/man5/proc_tid_children.5.html
_CHILDREN_ARE_LISTED = Path("/proc/thread-self/children").exists()
# Errors from a process that ends while it is being read.
_GONE = (FileNotFoundError, ProcessLookupError, psutil.Error)


def members(pid: int) -> list[int]:
    """`pid` and its descendants, parents first; only `pid` if it has ended.

    psutil reads the parent of every process on the machine, which is too slow ten times a second
    per environment.
    """
    if not _CHILDREN_ARE_LISTED:
        with contextlib.suppress(psutil.Error):
            return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
        return [pid]
    found = [pid]
    for member in found:  # grows during the loop
        with contextlib.suppress(*_GONE):
            for thread in Path(f"/proc/{member}/task").iterdir():
                with contextlib.suppress(*_GONE):
                    found += map(int, (thread / "children").read_text().split())
    return found


def resident_bytes(pid: int) -> int:
    """The resident memory of the process and its descendants; 0 if it has ended."""
    total = 0
    for member in members(pid):
        with contextlib.suppress(psutil.Error):
            total += psutil.Process(member).memory_info().rss
    return total
