"""When an answer counts as unsure."""

from __future__ import annotations

import pytest

from workload.reporting.verdict import Verdict, agreed_verdict, face_verdict


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
