"""Time and price at each memory setting, compared with figures worked out by hand."""

from __future__ import annotations

import re

import pytest

from workload.reporting.invocations import Invocation, Report, Step
from workload.reporting.prices import Prices
from workload.tuning.figures import (
    Row,
    Sample,
    as_json,
    as_text,
    cheapest,
    fastest_sensible,
    row,
    sample,
)

GB_S, REQUEST = Prices.lambda_gb_second, Prices.lambda_million_requests / 1e6


def ran(ms: float, memory_mb: int = 1024, init_ms: float | None = None) -> Invocation:
    """An invocation that took and was billed `ms`."""
    return Invocation("r", 0.0, [], Report("r", ms, ms, memory_mb, 90, init_ms=init_ms))


def warm(video: str, ms: float) -> Sample:
    """A warm sample of the splitter alone."""
    found = sample(video, [ran(ms)], [ran(ms)], [], Prices())
    assert found is not None
    return found


def costs(memory_mb: int, seconds: float, usd: float, failed: str = "") -> Row:
    """A row with what matters for the choice."""
    return Row(memory_mb, 1.0, None, seconds, usd / 2, usd, 3, 0, failed)


def test_a_sample_has_the_price_of_the_tuned_function_and_of_both() -> None:
    splitter, recognizer = [ran(2000)], [ran(500, 2048), ran(300, 2048)]

    found = sample("a.mp4", recognizer, splitter, recognizer, Prices())

    assert found is not None
    assert (found.billed_ms, found.seconds) == (800, 2.0)
    assert found.own_usd == pytest.approx(1.6 * GB_S + 2 * REQUEST)
    assert found.usd == pytest.approx(3.6 * GB_S + 3 * REQUEST)
    assert (found.is_cold, found.is_warm) == (False, True)


def test_cold_starts_are_told_apart() -> None:
    cold, other = [ran(900, init_ms=300)], [ran(500)]
    repeated = Invocation("r", 0.0, [], Report("r", 14000, 14000, 512, 90), lost_init_s=10)

    ours = sample("a", cold, cold, other, Prices())
    theirs = sample("a", other, cold, other, Prices())
    lost = sample("a", [repeated], [repeated], other, Prices())

    found = [(one.is_cold, one.is_warm) for one in (ours, theirs, lost) if one]
    assert found == [(True, False), (False, False), (True, False)]


def test_what_failed_or_has_no_report_is_no_sample() -> None:
    failed = Invocation("r", 0.0, [Step("frames", 1.0, 0.1, {})], ran(1).report, has_failed=True)

    assert sample("a", [failed], [failed], [], Prices()) is None
    assert sample("a", [ran(1)], [ran(1)], [Invocation("r", 0.0)], Prices()) is None
    assert sample("a", [], [], [], Prices()) is None


def test_a_row_is_the_mean_of_the_videos_medians() -> None:
    samples = [warm("a", ms) for ms in (100, 110, 9000)] + [warm("b", ms) for ms in (300, 310)]

    found = row(1024, samples)

    assert found.warm_ms == pytest.approx((110 + 305) / 2)
    assert found.seconds == pytest.approx((110 + 305) / 2000)
    assert found.own_usd == pytest.approx(1000 * (0.2075 * GB_S + REQUEST))
    assert (found.cold_ms, found.warm, found.cold) == (None, 5, 0)


@pytest.mark.parametrize(
    ("rows", "cheap", "fast"),
    [
        # Twice the memory at half the time costs the same; the last one is too dear.
        ([(512, 2, 1.0), (1024, 1, 1.0), (1769, 0.9, 1.4), (3008, 0.8, 2.4)], 512, 1769),
        # 4 % are noise.
        ([(512, 1.0, 1.0), (1024, 0.97, 1.1)], 512, 512),
        # Less memory is not always cheaper.
        ([(128, 9.0, 2.0), (512, 2.0, 1.0)], 512, 512),
    ],
)
def test_the_cheapest_and_the_fastest_sensible_setting(
    rows: list[tuple[int, float, float]], cheap: int, fast: int
) -> None:
    found = [costs(*one) for one in rows]

    best, quick = cheapest(found), fastest_sensible(found)

    assert best is not None
    assert quick is not None
    assert (best.memory_mb, quick.memory_mb) == (cheap, fast)


def test_a_setting_without_an_answer_is_never_chosen() -> None:
    rows = [costs(128, 0.1, 0.1, "a.mp4: no answer in 300 s"), costs(512, 2, 1)]

    assert cheapest(rows) == fastest_sensible(rows) == rows[1]
    assert cheapest(rows[:1]) is fastest_sensible(rows[:1]) is None
    assert "128 MB  0.07        1" in as_text("f", 512, rows)
    assert "a.mp4: no answer in 300 s" in as_text("f", 512, rows)


def test_the_table_marks_what_to_choose() -> None:
    rows = [costs(512, 2, 1), costs(1024, 1, 1.2)]

    lines = as_text("video-splitting", 512, rows).splitlines()
    content = as_json("video-splitting", 512, rows)

    assert lines[0] == "video-splitting"
    assert re.sub(" +", " ", lines[2]) == "512 MB 0.29 1 - 2.00 0.5000 1.0000 cheapest, deployed"
    assert lines[3].endswith("fastest sensible")
    assert (content["cheapest_mb"], content["fastest_sensible_mb"]) == (512, 1024)
