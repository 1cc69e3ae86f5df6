"""The receipt's arithmetic, against figures worked out by hand, and the lines it is read from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workload.reporting.invocations import Invocation, Report, Step, parse_report, read_invocations
from workload.reporting.receipt import Prices, PricesError, load_prices, write_receipt
from workload.reporting.verdict import Verdict, agreed_verdict, face_verdict

LINE = (
    "REPORT RequestId: r1\tDuration: 1500.00 ms\tBilled Duration: {billed} ms\t"
    "Memory Size: 512 MB\tMax Memory Used: 90 MB\t{more}"
)


@pytest.mark.parametrize(
    ("more", "start_s"),
    [
        ("", 0.0),
        ("Init Duration: 300.00 ms\t", 0.3),
        ("Restore Duration: 200.00 ms\tBilled Restore Duration: 150 ms\t", 0.2),
    ],
)
def test_a_report_line_is_read_as_lambda_writes_it(more: str, start_s: float) -> None:
    report = parse_report(LINE.format(billed=1800, more=more) + "\n")

    assert report is not None
    assert report.request_id == "r1"
    assert report.duration_ms == 1500
    assert report.gb_seconds == pytest.approx(0.9)  # 1.8 s of half a gigabyte
    assert report.start_s == pytest.approx(start_s)


@pytest.mark.parametrize("line", ["END RequestId: r1", "REPORT RequestId: r1\tDuration: 1 ms", ""])
def test_other_lines_are_none(line: str) -> None:
    assert parse_report(line) is None


def test_lines_belong_to_the_last_start_of_their_stream() -> None:
    def event(stream: str, at: int, message: str) -> dict[str, Any]:
        return {"logStreamName": stream, "timestamp": at, "message": message}

    step = json.dumps({"step": "invoke", "video": "s3://b/v.mp4", "ms": 500})
    first, second = read_invocations(
        [
            event("a", 1000, "START RequestId: r1 Version: $LATEST"),
            event("b", 1100, "START RequestId: r2 Version: $LATEST"),
            event("a", 1600, step),
            event("b", 1700, "[ERROR] Broken: it is"),
            event("a", 2500, LINE.format(billed=1500, more="")),
        ]
    )

    assert (first.request_id, second.request_id) == ("r1", "r2")
    assert first.objects() == ["b/v.mp4"]
    assert first.steps[0].started == pytest.approx(1.1)
    assert first.report is not None
    assert second.report is None
    assert second.has_failed
    assert not first.has_failed


def test_the_receipt_adds_up() -> None:
    # GIVEN a splitter of 512 MB billed 2 s, of which it waits 1 s, and a recognizer of 2048 MB, 1 s
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


def test_what_was_there_before_is_no_put() -> None:
    # GIVEN a video whose frame and text were there, and one whose first try wrote both and failed
    def split(video: str, reused: bool) -> Invocation:
        notes = {"video": video, "frames": 1, "reused": reused}
        return Invocation("r", 0.0, [Step("frames", 1.0, 0.1, notes)])

    def name(frame: str, new: bool) -> Invocation:
        return Invocation("r", 0.0, [Step("embed", 1.0, 0.1, {"frame": frame, "new": new})])

    splitter = [split("s3://b/a", True), split("s3://b/b", False), split("s3://b/b", True)]
    recognizer = [name("s/a.jpg", False), name("s/b.jpg", True), name("s/b.jpg", False)]

    receipt = write_receipt(("split", "name"), splitter, recognizer, 2, Prices())

    assert receipt.puts == 2 + 1 + 1


def test_prices_can_be_overridden_by_name(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text('{"rekognition_image": 0.002}')

    prices = load_prices(path)

    assert prices.rekognition_image == 0.002
    assert prices.lambda_gb_second == Prices().lambda_gb_second
    assert prices.date.startswith("those of prices.json")


@pytest.mark.parametrize(
    "text", ["", "[]", '{"gold": 1}', '{"rekognition_image": -1}', '{"rekognition_image": "1"}']
)
def test_other_prices_are_refused_with_the_files_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prices.json"
    path.write_text(text)

    with pytest.raises(PricesError, match=r"prices\.json"):
        load_prices(path)


@pytest.mark.parametrize(
    ("name", "distance", "verdict"),
    [
        ("Ann", 0.2, Verdict.SURE),
        ("Ann", 0.44, Verdict.SURE),
        ("Ann", 0.45, Verdict.UNSURE),
        ("Unknown", 0.55, Verdict.UNSURE),
        ("Unknown", 0.56, Verdict.UNKNOWN),
    ],
)
def test_unsure_is_within_a_tenth_of_the_threshold(
    name: str, distance: float, verdict: Verdict
) -> None:
    assert face_verdict(name, distance, 0.5) is verdict


def test_a_name_without_a_majority_is_unsure() -> None:
    assert agreed_verdict("Ann", 3, 5, Verdict.UNSURE) is Verdict.SURE
    assert agreed_verdict("Ann", 2, 5, Verdict.SURE) is Verdict.UNSURE
