"""Requests to stop a tuner that has something to put back."""

from __future__ import annotations

import signal

import pytest

from workload.tuning.stop_requests import SIGNALS, StopRequests


@pytest.mark.parametrize("number", SIGNALS)
def test_only_the_first_request_interrupts_so_that_what_was_is_put_back(
    number: signal.Signals,
) -> None:
    done, before = [], signal.getsignal(number)

    def tune() -> None:
        with StopRequests() as requests:
            try:
                with requests.interruptible():
                    signal.raise_signal(number)
                    done.append("went on")
            finally:
                signal.raise_signal(number)
                done.append("put back")

    with pytest.raises(KeyboardInterrupt):
        tune()
    assert done == ["put back"]
    assert signal.getsignal(number) == before


def test_a_request_while_something_is_put_back_stops_what_would_follow() -> None:
    done = []
    with StopRequests() as requests:
        with requests.interruptible():
            done.append("tried")
        requests.check()
        signal.raise_signal(signal.SIGTERM)
        done.append("put back")
        with pytest.raises(KeyboardInterrupt):
            requests.check()
        with pytest.raises(KeyboardInterrupt), requests.interruptible():
            done.append("tried the next")
    assert done == ["tried", "put back"]
