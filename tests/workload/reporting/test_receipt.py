"""The receipt's arithmetic, compared with figures worked out by hand."""

from __future__ import annotations

import pytest

from workload.reporting.invocations import Invocation, Report, Step, read_invocations
from workload.reporting.prices import Prices
from workload.reporting.receipt import write_receipt


def test_the_receipt_adds_up() -> None:
    # GIVEN a 512 MB splitter billed for 2 s, 1 s of it waiting, and a 2048 MB recognizer for 1 s
    wait = Step("invoke", 2.0, 1.0, {})
    splitter = Invocation("r1", 0.0, [wait], Report("r1", 2000, 2000, 512, 90, init_ms=100))
    named = Step("embed", 2.0, 0.5, {"frame": "b/f.jpg"})
    recognizer = Invocation("r2", 1.0, [named], Report("r2", 1000, 1000, 2048, 900))

    receipt = write_receipt(("split", "name"), [splitter], [recognizer], 1, Prices())

    caller, callee = receipt.bills
    assert caller.gb_seconds == pytest.approx(1.0)
    assert callee.gb_seconds == pytest.approx(2.0)
    assert caller.cold_starts == 1
    assert caller.usd == pytest.approx(1.0 * 0.0000166667 + 0.2e-6)
    assert receipt.frames == 1
    assert (receipt.puts, receipt.gets) == (3, 6)
    assert receipt.usd == pytest.approx(3 * 0.0000166667 + 2 * 0.2e-6 + 3 * 5e-6 + 6 * 0.4e-6)
    assert receipt.waiting_gb_seconds == pytest.approx(0.5)
    assert receipt.waiting_share == pytest.approx(0.5 * 0.0000166667 / receipt.lambda_usd)
    queue = 3 * 0.4e-6
    assert receipt.asynchronous_usd == pytest.approx(receipt.usd - 0.5 * 0.0000166667 + queue)
    assert receipt.rekognition_usd == 0.001


def test_objects_that_already_existed_are_not_counted_as_puts() -> None:
    # GIVEN a video whose frame and text exist, and one whose first attempt wrote both, then failed
    def split(video: str, reused: bool) -> Invocation:
        notes = {"video": video, "frames": 1, "reused": reused}
        return Invocation("r", 0.0, [Step("frames", 1.0, 0.1, notes)])

    def name(frame: str, new: bool) -> Invocation:
        return Invocation("r", 0.0, [Step("embed", 1.0, 0.1, {"frame": frame, "new": new})])

    splitter = [split("s3://b/a", True), split("s3://b/b", False), split("s3://b/b", True)]
    recognizer = [name("s/a.jpg", False), name("s/b.jpg", True), name("s/b.jpg", False)]

    receipt = write_receipt(("split", "name"), splitter, recognizer, 2, Prices())

    assert receipt.puts == 2 + 1 + 1


def test_an_init_that_was_repeated_inside_the_invocation_is_a_cold_start() -> None:
    # GIVEN a log in which INIT ran out of time, so that its REPORT has no Init Duration
    lines = (
        "INIT_REPORT Init Duration: 10000.00 ms\tPhase: init\tStatus: timeout",
        "START RequestId: r1 Version: $LATEST",
        "END RequestId: r1",
        "REPORT RequestId: r1\tDuration: 14000.00 ms\tBilled Duration: 14000 ms\t"
        "Memory Size: 512 MB\tMax Memory Used: 90 MB",
        "START RequestId: r2 Version: $LATEST",
        "END RequestId: r2",
        "REPORT RequestId: r2\tDuration: 300.00 ms\tBilled Duration: 300 ms\t"
        "Memory Size: 512 MB\tMax Memory Used: 90 MB",
    )
    events = [
        {"logStreamName": "one", "timestamp": number * 1000, "message": line}
        for number, line in enumerate(lines)
    ]

    receipt = write_receipt(("split", "name"), read_invocations(events), [], 2, Prices())

    caller, _ = receipt.bills
    assert (caller.requests, caller.cold_starts) == (2, 1)
    assert caller.gb_seconds == pytest.approx(14.3 / 2)  # what REPORT says is billed


def test_waiting_for_a_slot_is_shown_and_costs_what_sqs_and_the_splitter_cost() -> None:
    # GIVEN two uploads that waited in the queue, one of them tried twice, and a call that was
    # refused for half a second
    def split(video: str, queued: float, slot_ms: float) -> Invocation:
        steps = [
            Step("queued", 0.0, queued, {"video": video}),
            Step("invoke", 2.0, 1.0, {"video": video, "slot_ms": slot_ms}),
        ]
        return Invocation("r", 0.0, steps, Report("r", 2000, 2000, 512, 90))

    splitter = [split("s3://b/a", 4.0, 0), split("s3://b/b", 8.0, 500), split("s3://b/b", 70.0, 0)]

    receipt = write_receipt(("split", "name"), splitter, [], 2, Prices())

    waits = receipt.slots
    assert (waits.uploads, waits.mean_s, waits.longest_s) == (2, 6.0, 8.0)
    assert waits.requests == 2 * 3 + 2
    assert waits.gb_seconds == pytest.approx(0.25)
    assert waits.waiting_usd == pytest.approx(0.25 * 0.0000166667)
    without = receipt.lambda_usd + receipt.puts_usd + receipt.gets_usd
    assert receipt.usd == pytest.approx(without + 8 * 0.4e-6)
