"""Large blocks are returned to the system. Each case needs a process, which the setting affects."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Frees a block so large that glibc raises its threshold to it. Then fills the heap with such
# blocks, each followed by a small one that stays, frees the large ones, and prints the bytes left.
PROGRAM = """
import resource
import sys
from pathlib import Path
from local_aws import malloc

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

if sys.argv[1] == "fixed":
    assert malloc.return_large_blocks()
del (first := [bytearray(4_000_000)])[:]
before = resident()
blocks, small = [], []
for _ in range(20):
    blocks.append(bytearray(b"x") * 2_000_000)
    small.append(bytearray(2_000))
blocks.clear()
print(resident() - before)
"""

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc has the setting"
)


def kept(setting: str) -> int:
    command = [sys.executable, "-c", PROGRAM, setting]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_large_blocks_are_given_back() -> None:
    assert kept("default") > 20_000_000
    assert kept("fixed") < 4_000_000
