"""A process and its descendants: their IDs, memory, CPU time and connections."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from pathlib import Path

import psutil

# Linux lists the children of each thread if the kernel was built with that option (most are).
# https://man7.org/linux/man-pages/man5/proc_tid_children.5.html
_CHILDREN_ARE_LISTED = Path("/proc/thread-self/children").exists()
# Errors from a process that ends while it is being read, or that cannot be read at this moment
# because too many files are open.
_GONE = (OSError, psutil.Error)
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST = 4, 20, 1
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


def resident_bytes(pid: int, but: int = 0) -> int:
    """The resident memory of the process and its descendants, but the first `but` of them."""
    total = 0
    for member in members(pid)[but:]:
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


def is_connected(pid: int, client: tuple[str, int], server: tuple[str, int]) -> bool:
    """Whether the process or a descendant holds the client's end of this TCP connection."""
    try:
        inode = _inode(client, server)
    except OSError:  # not Linux, or a kernel without this option
        return any(_has_connection(member, client, server) for member in members(pid))
    link = f"socket:[{inode}]"
    for member in reversed(members(pid)):
        with contextlib.suppress(*_GONE):
            for name in os.listdir(f"/proc/{member}/fd"):  # noqa: PTH208 - faster
                with contextlib.suppress(*_GONE):
                    if os.readlink(f"/proc/{member}/fd/{name}") == link:  # noqa: PTH115
                        return True
    return False


def _inode(client: tuple[str, int], server: tuple[str, int]) -> int:
    """The inode of the client's socket of a connection; raise OSError if the kernel has none.

    https://man7.org/linux/man-pages/man7/sock_diag.7.html. Searching /proc/net/tcp takes 10 ms.
    """
    ends = struct.pack("!HH", client[1], server[1])
    ends += b"".join(socket.inet_aton(host).ljust(16, b"\0") for host, _ in (client, server))
    ends += struct.pack("=Iq", 0, -1)  # any interface, no cookie
    request = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, -1 & 0xFFFFFFFF) + ends
    header = struct.pack("=IHHII", 16 + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as kernel:
        kernel.send(header + request)
        answer = kernel.recv(4096)
    if struct.unpack_from("=H", answer, 4)[0] != _SOCK_DIAG_BY_FAMILY:
        raise OSError(-struct.unpack_from("=i", answer, 16)[0], "no such connection")
    # After the header: family, state, timer, retries, the ends, and five numbers of four bytes.
    return int(struct.unpack_from("=I", answer, 16 + 4 + len(ends) + 16)[0])


def _has_connection(pid: int, client: tuple[str, int], server: tuple[str, int]) -> bool:
    with contextlib.suppress(psutil.Error):
        found = psutil.Process(pid).net_connections("tcp4")
        return (client, server) in [(one.laddr, one.raddr) for one in found]
    return False


def _read(path: str) -> bytes:
    """A short file of /proc. psutil and pathlib take several times as long."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, 65_536)
    finally:
        os.close(file)
