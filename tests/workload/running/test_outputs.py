"""Reading side by side: in order, and only a little ahead of what is used."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from workload.running.outputs import side_by_side


def test_any_number_is_read_in_order_and_little_at_a_time() -> None:
    taken = 0
    ahead = []
    together = threading.Barrier(4, timeout=10)

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(1, 10_001):
            taken = number
            yield number

    def double(number: int) -> int:
        if number <= 4:
            together.wait()  # ends only if four run at the same time
        return 2 * number

    for used, (item, result) in enumerate(side_by_side(double, items(), readers=4), start=1):
        assert (item, result) == (used, 2 * used)
        ahead.append(taken - used)

    assert len(ahead) == 10_000
    assert max(ahead) < 10


def test_an_error_is_raised_and_the_rest_is_not_read() -> None:
    read = []

    def fail(number: int) -> int:
        read.append(number)
        if number == 3:
            raise ValueError(number)
        return number

    found: list[int] = []
    with pytest.raises(ValueError, match="3"):
        found.extend(item for item, _ in side_by_side(fail, range(1000), readers=2))

    assert len(read) < 20
