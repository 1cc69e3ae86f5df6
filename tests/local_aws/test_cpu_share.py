"""The CPU that a function's memory buys, and an INIT that takes too long with it."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from local_aws import cpu_share
from local_aws.cpu_share import GroupShare, Share, StopShare
from local_aws.process import LocalAWS
from local_aws.process_tree import cpu_seconds
from tests.local_aws.conftest import Cloud
from workload.tune import HAS_CPU_SHARE, LOCAL_AWS

SHARE = 0.25
# Both the parent and a child in another session are busy.
BUSY = """
import subprocess, sys
if len(sys.argv) < 2:
    subprocess.Popen([sys.executable, __file__, "child"], start_new_session=True)
while True:
    pass
"""
BURNS = (
    "import time\ndef handler(event, context):\n"
    "    began, used = time.monotonic(), time.process_time()\n"
    "    while time.process_time() - used < 0.3: pass\n"
    "    return time.monotonic() - began\n"
)
LATE = "import time\ntime.sleep(1.5)\ndef handler(event, context):\n    return 'late'\n"


@pytest.mark.parametrize(
    ("memory_mb", "cores"), [(1769, 1), (512, 0.2894), (3538, 2), (10_240, 5.7886)]
)
def test_memory_buys_cores(memory_mb: int, cores: float) -> None:
    assert cpu_share.cores(memory_mb) == pytest.approx(cores, abs=1e-4)


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[psutil.Process]:
    """A process that uses all the CPU it gets."""
    program = tmp_path / "busy.py"
    program.write_text(BUSY)
    process = subprocess.Popen([sys.executable, program])
    parent = psutil.Process(process.pid)
    yield parent
    for each in [*parent.children(recursive=True), parent]:
        each.kill()
    process.wait()


def by_group(pid: int, share: float) -> Share:
    """A share by a control group, if this machine lets us make one."""
    for place in (cpu_share.version_2(), cpu_share.version_1()):
        if place is not None:
            try:
                return GroupShare(place, pid, share)
            except OSError:
                continue
    pytest.skip("this process may not make control groups")


@pytest.mark.parametrize("limit", [by_group, StopShare])
def test_a_process_and_its_descendants_get_their_share(
    busy: psutil.Process, limit: Callable[[int, float], Share]
) -> None:
    share = limit(busy.pid, SHARE)
    while not busy.children():
        time.sleep(0.01)
    time.sleep(0.3)
    began, before = time.monotonic(), cpu_seconds(busy.pid)

    time.sleep(1.5)

    used = (cpu_seconds(busy.pid) - before) / (time.monotonic() - began)
    for each in [*busy.children(recursive=True), busy]:
        each.kill()
    share.close()
    assert SHARE / 3 < used < SHARE * 1.25
    assert not list(Path("/sys/fs/cgroup").glob(f"**/local-aws-{busy.pid}"))


def test_the_groups_of_both_versions_are_found(tmp_path: Path) -> None:
    listed, root = tmp_path / "listed", tmp_path / "root"
    listed.write_text("4:memory:/m\n2:cpu,cpuacct:/one\n0::/two/x\n")
    (root / "cpu,cpuacct").mkdir(parents=True)
    assert cpu_share.version_1(root, listed) is None
    assert cpu_share.version_2(root, listed) is None
    (root / "cpu,cpuacct" / "cpu.cfs_quota_us").touch()
    (root / "cgroup.controllers").touch()

    first, second = cpu_share.version_1(root, listed), cpu_share.version_2(root, listed)

    assert first is not None
    assert second is not None
    assert first.folder == root / "cpu,cpuacct" / "one"
    assert first.settings(5000) == {"cpu.cfs_period_us": "20000", "cpu.cfs_quota_us": "5000"}
    assert second.folder == root / "two" / "x"
    assert second.settings(5000) == {"cpu.max": "5000 20000"}


@pytest.fixture(scope="module")
def slow() -> Iterator[Cloud]:
    """A server that gives functions their share, and little time for INIT."""
    with LocalAWS(cpu_share=True, init_limit=1) as aws:
        yield Cloud(aws)


def test_a_small_function_is_slow_and_a_large_one_is_not(slow: Cloud) -> None:
    # The small one needs more than a second for INIT, which it repeats.
    times = {mb: slow.invoke(slow.function(BURNS, MemorySize=mb))[0] for mb in (256, 1769)}

    assert times[256] > 0.3 * 1769 / 256 * 0.75
    assert times[1769] < times[256]


def test_an_init_that_takes_too_long_is_repeated_inside_the_invocation(slow: Cloud) -> None:
    name = slow.function(LATE, MemorySize=1769)

    answer, error, log = slow.invoke(name)

    assert (answer, error) == ("late", None)
    lines = log.splitlines()
    assert lines[0] == "INIT_REPORT Init Duration: 1000.00 ms\tPhase: init\tStatus: timeout"
    assert lines[1].startswith("START ")
    assert "Init Duration" not in lines[-1]
    assert float(lines[-1].split("Duration: ")[1].split()[0]) > 1500
    assert "INIT_REPORT" not in slow.invoke(name)[2]


@pytest.mark.slow
def test_a_repeated_init_counts_for_the_time_limit(slow: Cloud) -> None:
    payload, error, log = slow.invoke(slow.function(LATE, MemorySize=1769, Timeout=1))

    assert (error, payload["errorType"]) == ("Unhandled", "Sandbox.Timedout")
    assert "Task timed out after 1.00 seconds" in log


@pytest.mark.slow
def test_a_repeated_init_may_fail(slow: Cloud) -> None:
    code = "import time\ntime.sleep(1.2)\nraise ValueError('never')\n"

    answer = slow.client("lambda").invoke(FunctionName=slow.function(code, MemorySize=1769))

    assert answer["FunctionError"] == "Unhandled"
    assert b"never" in answer["Payload"].read()


def test_the_health_page_says_that_memory_buys_cpu(slow: Cloud) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{slow.aws.endpoint}{LOCAL_AWS}", timeout=5) as answer:
        assert HAS_CPU_SHARE in answer.read().decode()  # which workload/tune.py looks for
