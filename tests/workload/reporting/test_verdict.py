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


@pytest.mark.parametrize(
    ("name", "votes", "distance", "verdict"),
    [
        ("Ann", 3, 0.49, Verdict.SURE),  # a majority, each of them weak
        ("Ann", 2, 0.49, Verdict.UNSURE),
        ("Ann", 1, 0.2, Verdict.SURE),  # strong enough alone
        ("Ann", 1, None, Verdict.UNSURE),
        ("Ann", 3, None, Verdict.SURE),
        ("Unknown", 5, 0.9, Verdict.UNKNOWN),
        ("Unknown", 1, 0.9, Verdict.UNKNOWN),
        ("Unknown", 5, 0.55, Verdict.UNSURE),
        ("Unknown", 4, 0.43, Verdict.UNSURE),  # near enough for a name, but without support
        ("Unknown", 4, None, Verdict.UNKNOWN),
        ("No face", 5, None, Verdict.NO_FACE),
    ],
)
def test_several_frames_or_one_clear_one_make_a_name_sure(
    name: str, votes: int, distance: float | None, verdict: Verdict
) -> None:
    assert agreed_verdict(name, votes, 5, distance, 0.5) is verdict


@pytest.mark.parametrize(
    ("votes", "frames", "verdict"),
    [(1, 1, Verdict.UNSURE), (2, 2, Verdict.SURE), (2, 4, Verdict.UNSURE), (3, 4, Verdict.SURE)],
)
def test_one_frame_or_half_of_them_is_no_agreement(
    votes: int, frames: int, verdict: Verdict
) -> None:
    assert agreed_verdict("Ann", votes, frames, 0.48, 0.5) is verdict


def test_without_a_threshold_a_distance_says_nothing() -> None:
    assert agreed_verdict("Ann", 1, 5, 0.1, None) is Verdict.UNSURE
    assert agreed_verdict("Unknown", 1, 5, 0.1, None) is Verdict.UNKNOWN
