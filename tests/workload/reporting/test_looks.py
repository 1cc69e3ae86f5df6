"""What second looks took and cost, compared with figures worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from workload.reporting.invocations import Invocation, Report, Step
from workload.reporting.looks import SecondLooks, second_looks
from workload.reporting.prices import Prices
from workload.reporting.receipt import write_receipt

PRICES = Prices(
    lambda_gb_second=1.0,
    lambda_million_requests=1_000_000.0,
    s3_thousand_puts=100.0,
    s3_thousand_gets=10.0,
)


def call(ended: float, seconds: float, look: int, video: str = "s3://b/v.mp4") -> Step:
    notes: dict[str, Any] = {"video": video, "look": look, "frames": 4 if look == 2 else 1}
    return Step("invoke", ended, seconds, notes)


def split(*steps: Step) -> Invocation:
    """An invocation of a splitter with half a GB."""
    return Invocation("r1", 0.0, list(steps), Report("r1", 9000, 9000, 512, 90))


def recognize(*frames: str) -> Invocation:
    """An invocation of a recognizer with 2 GB, billed for one second."""
    steps = [Step("embed", 1.0, 0.5, {"frame": f"s/{frame}"}) for frame in frames]
    return Invocation("r2", 0.0, steps, Report("r2", 1000, 1000, 2048, 900))


FURTHER = recognize("v/output-01.jpg", "v/output-02.jpg", "v/output-03.jpg", "v/output-04.jpg")


def test_a_second_look_costs_what_follows_the_first() -> None:
    # GIVEN a first look that ends at 2 s and a second, after new frames were taken, at 6 s
    splitter = [split(call(2.0, 1.0, 1), call(6.0, 3.0, 2))]

    found = second_looks(splitter, [recognize("v.jpg"), FURTHER], PRICES)

    assert (found.videos, found.frames, found.seconds) == (("s3://b/v.mp4",), 4, 4.0)
    # 4 s of half a GB, 1 s of 2 GB, one request, and 4 frames put once and read twice
    assert found.usd == pytest.approx(2 + 2 + 1 + 4 * (0.1 + 2 * 0.01))


def test_a_run_without_second_looks_has_none() -> None:
    # FRAMES=5 has frames with these names, too, but looks once
    splitter = [split(call(2.0, 1.0, 1))]

    assert second_looks(splitter, [FURTHER], PRICES) == SecondLooks()
    assert second_looks([], [], PRICES) == SecondLooks()


def test_each_video_is_measured_from_its_own_first_look() -> None:
    other = "s3://b/w.mp4"
    splitter = [split(call(2.0, 1.0, 1, other), call(4.0, 1.0, 1), call(5.0, 1.0, 2, other))]

    found = second_looks(splitter, [], PRICES)

    assert (found.videos, found.seconds) == ((other,), 3.0)


def test_a_second_look_alone_counts_its_call() -> None:
    assert second_looks([split(call(6.0, 3.0, 2))], [], PRICES).seconds == 3.0


def test_a_retry_counts_its_time_but_not_its_video_again() -> None:
    once = split(call(2.0, 1.0, 1), call(6.0, 3.0, 2))

    found = second_looks([once, once], [], PRICES)

    assert (len(found.videos), found.seconds) == (1, 8.0)


def test_an_invocation_without_a_report_is_not_priced_yet() -> None:
    running = Invocation("r1", 0.0, [call(2.0, 1.0, 1), call(6.0, 3.0, 2)])

    assert second_looks([running], [], PRICES).usd == pytest.approx(4 * (0.1 + 2 * 0.01))


def test_the_receipt_has_one_text_and_one_chosen_frame_per_second_look() -> None:
    splitter = [split(call(2.0, 1.0, 1), call(6.0, 3.0, 2))]

    receipt = write_receipt(("s", "r"), splitter, [recognize("v.jpg"), FURTHER], 1, Prices())

    assert receipt.puts == 1 + 5 + 1 + 1  # the upload, the frames, the text, the chosen frame
    assert receipt.second.frames == 4
