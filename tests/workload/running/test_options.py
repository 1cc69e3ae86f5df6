"""What all commands of workload/ do with Ctrl-C."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from workload.running.options import CtrlC


@pytest.fixture(autouse=True)
def _handler() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, CtrlC())
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_that_comes_twice_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
    # WHEN it comes again and again, THEN somebody is impatient
    monkeypatch.setattr("workload.running.options.ECHO_S", 0.1)

    def hammer() -> None:
        for _ in range(50):
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.02)

    with pytest.raises(KeyboardInterrupt):
        hammer()
