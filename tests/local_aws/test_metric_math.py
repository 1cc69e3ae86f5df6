"""Statistics and metric math of CloudWatch."""

from __future__ import annotations

import pytest

from local_aws.metric_math import InvalidMath, Series, evaluate, statistic

VALUES = [float(value) for value in range(1, 101)]
M1: Series = {0: 1.0, 60: 4.0, 120: 9.0}
M2: Series = {0: 2.0, 120: 0.0, 180: 5.0}
SERIES: dict[str, Series] = {"m0": {}, "m1": M1, "m2": M2}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Average", 50.5),
        ("Sum", 5050),
        ("SampleCount", 100),
        ("Minimum", 1),
        ("Maximum", 100),
        ("p0", 1),
        ("p50", 50),
        ("p95", 95),
        ("p99.9", 100),
        ("p100", 100),
        ("tm90", 45.5),
        ("tc90", 90),
        ("ts10", 55),
        ("TM(10%:90%)", 50.5),
        ("TM(50%:%)", 75.5),
        ("TC(:50%)", None),
        ("TC(%:50%)", 50),
        ("IQM", 50.5),
        ("p101", None),
        ("median", None),
    ],
)
def test_statistics(name: str, value: float | None) -> None:
    if value is None:
        with pytest.raises(InvalidMath, match="is not in the local AWS"):
            statistic(name, VALUES)
    else:
        assert statistic(name, list(reversed(VALUES))) == pytest.approx(value)


@pytest.mark.parametrize(
    ("name", "value"), [("Average", 3), ("p50", 2), ("TM(50%:100%)", 6), ("TM(40%:50%)", 6)]
)
def test_statistics_of_few_uneven_values(name: str, value: float) -> None:
    assert statistic(name, [6.0, 1.0, 2.0]) == value


def test_one_value_is_each_of_its_percentiles() -> None:
    assert {statistic(name, [7.0]) for name in ("p0", "p95", "p100", "tm99", "IQM")} == {7.0}


@pytest.mark.parametrize(
    ("expression", "series"),
    [
        ("m1", M1),
        ("m1 * 2 - 1", {0: 1, 60: 7, 120: 17}),
        ("-m1 ^ 2", {0: -1, 60: -16, 120: -81}),
        ("m1 + m2", {0: 3, 120: 9}),
        ("100 * m1 / m2", {0: 50}),  # not at 120: divided by zero
        ("m1 / SUM(m1)", {0: 1 / 14, 60: 4 / 14, 120: 9 / 14}),
        ("m1 + MAX(m0)", M1),
        ("AVG([m1, m2])", {0: 1.5, 60: 4, 120: 4.5, 180: 5}),
        ("MAX([m1, m2])", {0: 2, 60: 4, 120: 9, 180: 5}),
        ("MIN([m1, m2])", {0: 1, 60: 4, 120: 0, 180: 5}),
        ("STDDEV([m1, m2])", {0: 0.5, 60: 0, 120: 4.5, 180: 0}),
        ("MAX([m1, m2] - m1)", {0: 1, 60: 0, 120: 0}),
        ("MAX(10 - [m1, m2])", {0: 9, 60: 6, 120: 10, 180: 5}),
        ("SUM([m1, m2])", {0: 3, 60: 4, 120: 9, 180: 5}),
        ("SUM(METRICS())", {0: 3, 60: 4, 120: 9, 180: 5}),
        ('MAX(METRICS("m1"))', M1),
        ("AVG([m1, m2]) > 2 && m1 < 9", {0: 0, 60: 1, 120: 0}),
        ("m1 == 4 || m1 == 9", {0: 0, 60: 1, 120: 1}),
        ("m1 != 4", {0: 1, 60: 0, 120: 1}),
        ("m1 > 4", {0: 0, 60: 0, 120: 1}),
        ("m1 >= 4", {0: 0, 60: 1, 120: 1}),
        ("m1 <= 4", {0: 1, 60: 1, 120: 0}),
        ("FILL(m2, 0)", {0: 2, 60: 0, 120: 0, 180: 5}),
        ("FILL(m1, REPEAT)", {**M1, 180: 9}),
        ("IF(m1 > 3, m1, 0)", {0: 0, 60: 4, 120: 9}),
        ("IF(m1 > 3, m1)", {60: 4, 120: 9}),
        ("IF(1, m1, m2)", M1),
        ("IF(0, m1)", {}),
        ("RATE(m1) * PERIOD(m1)", {60: 3, 120: 5}),
        ("DIFF(m2)", {120: -2, 180: 5}),
        ("RUNNING_SUM(m1)", {0: 1, 60: 5, 120: 14}),
        ("CEIL(m1 / 2) - FLOOR(m1 / 2)", {0: 1, 60: 0, 120: 1}),
        ("ABS(m1 - 4)", {0: 3, 60: 0, 120: 5}),
    ],
)
def test_expressions(expression: str, series: Series) -> None:
    found = evaluate(expression, SERIES, period_s=60)

    assert found == pytest.approx(series)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("m3 + 1", "names m3"),
        ("SUM(m1)", "does not make a time series"),
        ("ANOMALY_DETECTION_BAND(m1)", "ANOMALY_DETECTION_BAND"),
        ("m1 +", "cannot be read"),
        ("m1 in m2", "m1 in m2 is not in"),
        ("0 < m1 < 5", "0 < m1 < 5 is not in"),
        ("SUM(1)", "A number has no sum"),
        ("IF(m1)", "IF with 1 values"),
        ("__import__('os')", "__import__"),
        ("m1.__class__", "m1.__class__"),
        ("1 / 0 * m1", "cannot be computed"),
        ("METRICS() + METRICS()", "Two lists"),
    ],
)
def test_what_is_no_expression_is_refused(expression: str, reason: str) -> None:
    with pytest.raises(InvalidMath, match=reason):
        evaluate(expression, SERIES, period_s=60)
