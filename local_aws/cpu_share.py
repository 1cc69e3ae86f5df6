"""Gives the processes of an environment the CPU that the function's memory buys.

https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from local_aws.process_tree import cpu_seconds, members

MB_PER_CORE, MAX_CORES = 1769, 6
PERIOD_US = 20_000
CHECK_S = 0.02
BURST_S = 0.02  # CPU that may be used at once, before the first stop

log = logging.getLogger(__name__)


def cores(memory_mb: int) -> float:
    """The cores that this much memory buys."""
    return min(memory_mb / MB_PER_CORE, MAX_CORES)


class Share(Protocol):
    """A limit on processes, which lasts until `close`."""

    def close(self) -> None:
        """Remove the limit. The processes have ended."""


def limit(pid: int, share: float) -> Share:
    """Limit the process, which has just started, and its descendants to `share` cores.

    With a control group where this process may make one, else by stopping and continuing.
    """
    for place in (version_2(), version_1()):
        if place is not None:
            with contextlib.suppress(OSError):
                return GroupShare(place, pid, share)
    return StopShare(pid, share)


@dataclass(frozen=True)
class Place:
    """A control group that may have children, and how to set their limit in microseconds."""

    folder: Path
    settings: Callable[[int], dict[str, str]]


def version_2(
    root: Path = Path("/sys/fs/cgroup"), listed: Path = Path("/proc/self/cgroup")
) -> Place | None:
    """The own group of cgroup v2; None if there is none.

    https://docs.kernel.org/admin-guide/cgroup-v2.html
    """
    path = _own_group(listed, "")
    if path is None or not (root / "cgroup.controllers").is_file():
        return None
    return Place(root / path, lambda quota: {"cpu.max": f"{quota} {PERIOD_US}"})


def version_1(
    root: Path = Path("/sys/fs/cgroup"), listed: Path = Path("/proc/self/cgroup")
) -> Place | None:
    """The own group of cgroup v1's cpu controller; None if there is none."""
    path = _own_group(listed, "cpu")
    for name in ("cpu", "cpu,cpuacct"):
        if path is not None and (root / name / "cpu.cfs_quota_us").is_file():
            return Place(
                root / name / path,
                lambda quota: {"cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": str(quota)},
            )
    return None


def _own_group(listed: Path, controller: str) -> Path | None:
    """The group of this process for a controller, relative to the controller's root."""
    with contextlib.suppress(OSError):
        for line in listed.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controller in controllers.split(","):
                return Path(path.lstrip("/"))
    return None


class GroupShare:
    """A share that a separate control group enforces."""

    def __init__(self, place: Place, pid: int, share: float) -> None:
        """Make the group and put the process into it; raise OSError if that is not allowed."""
        self._folder = place.folder / f"local-aws-{pid}"
        self._folder.mkdir()
        try:
            for name, value in place.settings(round(share * PERIOD_US)).items():
                (self._folder / name).write_text(value)
            (self._folder / "cgroup.procs").write_text(str(pid))
            self._add_children(pid)
        except OSError:
            self._folder.rmdir()
            raise

    def _add_children(self, pid: int) -> None:
        """Put into the group what the process started before it was put there itself."""
        done = {pid}
        while new := [child for child in members(pid) if child not in done]:
            for child in new:
                with contextlib.suppress(ProcessLookupError):
                    (self._folder / "cgroup.procs").write_text(str(child))
            done.update(new)

    def close(self) -> None:
        """Remove the group."""
        for _ in range(50):
            try:
                self._folder.rmdir()
            except FileNotFoundError:
                return
            except OSError:  # a killed process is not gone yet
                time.sleep(0.02)
            else:
                return
        log.warning("%s cannot be removed", self._folder)


class StopShare:
    """A share by stopping the processes whenever they have used more than theirs."""

    def __init__(self, pid: int, share: float) -> None:
        """Start a thread that watches the process and its descendants."""
        self._pid = pid
        self._share = share
        self._closed = threading.Event()
        threading.Thread(target=self._work, daemon=True).start()

    def close(self) -> None:
        """Stop no more."""
        self._closed.set()

    def _work(self) -> None:
        at, used = time.monotonic(), 0.0
        left = BURST_S  # CPU seconds that may be used
        while not self._closed.wait(CHECK_S):
            now, now_used = time.monotonic(), cpu_seconds(self._pid)
            earned = (now - at) * self._share
            left = min(left + earned, BURST_S) - max(now_used - used, 0)
            at, used = now, now_used
            if left < 0:
                self._signal(signal.SIGSTOP)
                self._closed.wait(-left / self._share)
                self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to all, parents first: a stopped parent starts no more children."""
        done: set[int] = set()
        while new := [pid for pid in members(self._pid) if pid not in done]:
            for pid in new:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            done.update(new)
