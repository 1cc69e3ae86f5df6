"""Percentiles and summaries of latencies."""

from __future__ import annotations

import pytest

from workload.running.latency import percentile, summarize, text_table


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([7.0], 50, 7.0),
        ([1.0, 2.0], 50, 1.0),
        ([3.0, 1.0, 2.0], 50, 2.0),
        ([float(n) for n in range(1, 101)], 50, 50.0),
        ([float(n) for n in range(1, 101)], 95, 95.0),
        ([float(n) for n in range(1, 101)], 99, 99.0),
        ([float(n) for n in range(1, 101)], 100, 100.0),
        ([float(n) for n in range(1, 101)], 7, 7.0),  # in floats, 7 / 100 * 100 is more than 7
        ([float(n) for n in range(1, 21)], 95, 19.0),
        ([float(n) for n in range(1, 21)], 99, 20.0),
        ([1.0, 2.0, 3.0], 0, 1.0),
    ],
)
def test_percentile_is_the_nearest_rank(
    values: list[float], percent: float, expected: float
) -> None:
    assert percentile(values, percent) == expected
    assert percentile(list(reversed(values)), percent) == expected


def test_no_values_give_no_percentile_and_no_summary() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)
    assert summarize([]) is None


def test_a_summary_has_all_figures() -> None:
    figures = summarize([4.0, 1.0, 2.0, 3.0])

    assert figures is not None
    assert (figures.minimum, figures.average, figures.maximum) == (1, 2.5, 4)
    assert (figures.p50, figures.p95, figures.p99) == (2, 4, 4)


def test_a_table_has_one_line_per_row_whatever_its_cells_hold() -> None:
    table = text_table(("name", "seconds"), [("\x1b[31mAda\nBob", "1"), ("\u00c4nn", "2")])

    assert table.splitlines() == [
        "name              seconds",
        "----------------  -------",
        r"\x1b[31mAda\nBob  1",
        "\u00c4nn               2",
    ]
