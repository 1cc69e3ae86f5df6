"""Process trees: everybody is in them, whatever session they made for themselves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from local_aws import process_tree

MEGABYTES = 60
# A parent, whose second thread starts a child in a session of its own, which holds memory.
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


@pytest.mark.parametrize("told", [True, False])
def test_descendants_are_members_and_their_memory_counts(
    parent: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    # GIVEN a kernel that tells children, or one where psutil must look for them
    if told and not process_tree._CHILDREN_ARE_LISTED:
        pytest.skip("this kernel does not tell a thread's children")
    monkeypatch.setattr(process_tree, "_CHILDREN_ARE_LISTED", told)

    pids = process_tree.members(parent.pid)

    (child,) = psutil.Process(parent.pid).children(recursive=True)
    assert pids == [parent.pid, child.pid]
    assert process_tree.resident_bytes(parent.pid) > MEGABYTES * 2**20


def test_a_process_that_has_ended_holds_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()

    assert process_tree.members(process.pid) == [process.pid]
    assert process_tree.resident_bytes(process.pid) == 0
