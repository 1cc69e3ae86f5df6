"""How the difference between S3's clock and ours is measured."""

from __future__ import annotations

from datetime import datetime, timezone
from email.utils import format_datetime

import pytest

from workload.running.buckets import measure_skew


class ServerClock:
    """A server whose clock is `ahead` of ours, with a network delay each way."""

    def __init__(self, ahead: float, delay: float, start: float = 1_000_000.3) -> None:
        self.ahead, self.delay, self.now = ahead, delay, start

    def date(self) -> str:
        self.now += self.delay
        seconds = int(self.now + self.ahead)
        self.now += self.delay
        return format_datetime(datetime.fromtimestamp(seconds, timezone.utc), usegmt=True)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def clock(self) -> float:
        return self.now


@pytest.mark.parametrize("ahead", [0.0, 0.4, -0.7, 12.25, -3600.0])
@pytest.mark.parametrize("delay", [0.001, 0.1, 0.7])
def test_the_clock_skew_is_accurate_to_one_request(ahead: float, delay: float) -> None:
    server = ServerClock(ahead, delay)

    skew = measure_skew(server.date, server.clock, server.sleep)

    # half the pause between requests, plus the round trip if the change of second is not seen
    assert abs(skew - ahead) <= 0.03 + 2 * delay


def test_without_a_date_header_no_skew_is_assumed() -> None:
    assert measure_skew(lambda: None) == 0
