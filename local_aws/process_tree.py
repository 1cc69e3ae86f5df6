"""A process and its descendants: their IDs, their memory and their CPU time."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psutil

# Linux lists the children of each thread if the kernel was built with that option (most are).
# https://man7.org/linux/man-pages/man5/proc_tid_children.5.html
_CHILDREN_ARE_LISTED = Path("/proc/thread-self/children").exists()
# Errors from a process that ends while it is being read.
_GONE = (FileNotFoundError, ProcessLookupError, psutil.Error)
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_HAS_STATM = Path("/proc/self/statm").exists()


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
            for thread in os.listdir(f"/proc/{member}/task"):  # noqa: PTH208 - faster
                with contextlib.suppress(*_GONE):
                    found += map(int, _read(f"/proc/{member}/task/{thread}/children").split())
    return found


def resident_bytes(pid: int) -> int:
    """The resident memory of the process and its descendants; 0 if it has ended."""
    total = 0
    for member in members(pid):
        with contextlib.suppress(*_GONE):
            if _HAS_STATM:
                # https://man7.org/linux/man-pages/man5/proc_pid_statm.5.html
                total += int(_read(f"/proc/{member}/statm").split()[1]) * _PAGE_BYTES
            else:
                total += psutil.Process(member).memory_info().rss
    return total


def cpu_seconds(pid: int) -> float:
    """The CPU time of the process and its descendants, ended ones included; 0 if it has ended."""
    ticks = 0
    for member in members(pid):
        with contextlib.suppress(*_GONE):
            # https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html: utime to cstime
            ticks += sum(map(int, _read(f"/proc/{member}/stat").rpartition(b")")[2].split()[11:15]))
    return ticks / _TICKS


def _read(path: str) -> bytes:
    """A short file of /proc. psutil and pathlib take several times as long."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, 65_536)
    finally:
        os.close(file)
