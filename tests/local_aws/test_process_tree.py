"""Process trees include descendants in other sessions."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from local_aws import process_tree

MEGABYTES = 60
# The parent's second thread starts a child that holds memory, in a new session.
PARENT = f"""
import subprocess, sys, threading
child = "held = bytearray({MEGABYTES} * 2**20); print('up', flush=True); input()"
def start():
    argv = [sys.executable, "-c", child]
    subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True).wait()
threading.Thread(target=start).start()
"""


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    yield process
    for pid in reversed(process_tree.members(process.pid)):
        psutil.Process(pid).kill()
    process.communicate()


@pytest.mark.parametrize("listed", [True, False])
def test_descendants_are_members_and_their_memory_counts(
    parent: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch, listed: bool
) -> None:
    # GIVEN a kernel that lists children, or one where psutil must search for them
    if listed and not process_tree._CHILDREN_ARE_LISTED:
        pytest.skip("this kernel does not list a thread's children")
    monkeypatch.setattr(process_tree, "_CHILDREN_ARE_LISTED", listed)

    pids = process_tree.members(parent.pid)

    (child,) = psutil.Process(parent.pid).children(recursive=True)
    assert pids == [parent.pid, child.pid]
    assert process_tree.resident_bytes(parent.pid) > MEGABYTES * 2**20


def test_an_ended_process_has_no_memory() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()

    assert process_tree.members(process.pid) == [process.pid]
    assert process_tree.resident_bytes(process.pid) == 0


@pytest.mark.parametrize("asks_kernel", [True, False])
def test_a_connection_is_its_clients(
    parent: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch, asks_kernel: bool
) -> None:
    # GIVEN a kernel that says whose a connection is, or one whose list must be searched
    def refuse(*ends: tuple[str, int]) -> int:
        raise OSError

    if not asks_kernel:
        monkeypatch.setattr(process_tree, "_inode", refuse)
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as client,
        listening.accept()[0],
    ):
        ends = client.getsockname(), client.getpeername()

        assert process_tree.is_connected(os.getpid(), *ends)
        assert not process_tree.is_connected(parent.pid, *ends)
