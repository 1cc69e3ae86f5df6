"""The checks of speed and concurrency."""

from __future__ import annotations

import pytest

from pipeline.settings import Deployment
from workload.grading.limits import (
    Limits,
    Uploads,
    concurrency_needed,
    split_seconds,
    usage_checks,
)
from workload.grading.metrics import Usage


def test_the_splitters_own_time_excludes_the_recognizer() -> None:
    assert split_seconds(Usage(10, 12.0, 3), Usage(10, 9.0, 3)) == pytest.approx(0.3)
    # failed invocations of the splitter never call the recognizer
    assert split_seconds(Usage(10, 12.0, 3), Usage(5, 9.0, 3)) == pytest.approx(0.3)
    assert split_seconds(Usage(2, 1.0, 1), Usage(8, 2.0, 4)) == 0
    assert split_seconds(Usage(0, 0.0, 0), Usage(0, 0.0, 0)) == 0
    # WHEN the log says how long it waited, including cold starts
    assert split_seconds(Usage(10, 12.0, 3, 11.0), Usage(10, 9.0, 3)) == pytest.approx(0.1)
    assert split_seconds(Usage(10, 12.0, 3, 0.0), Usage(10, 9.0, 3)) == pytest.approx(1.2)


def evenly(count: int, seconds: float) -> Uploads:
    """`count` uploads spread evenly over `seconds`."""
    return Uploads([1e9 + seconds * n / max(1, count - 1) for n in range(count)])


@pytest.mark.parametrize(("frames", "status"), [(1, "FAIL"), (2, "FAIL"), (5, "PASS")])
def test_the_splitters_limit_is_per_frame(frames: int, status: str) -> None:
    # GIVEN splits of 6 s beside recognitions of 1 s
    names = Deployment("p")
    used = {names.splitter.name: Usage(10, 60.0, 3), names.recognizer.name: Usage(10, 10.0, 3)}

    split, recognition, *at_once = usage_checks(
        names.splitter, names.recognizer, used, Limits(2.0, 1.5, 3, 300.0), frames, evenly(10, 1.0)
    )

    assert split.status == status
    assert f"{5 / frames:.2f} s: 6.00 s less 1.00 s that face-recognition ran" in split.reason
    assert [check.status for check in (recognition, *at_once)] == ["PASS"] * 3


@pytest.mark.parametrize(
    ("invocations", "each_s", "upload_s", "at_once"),
    [
        (1, 5.0, 0.0, 1),
        (20, 0.09, 1.9, 1),  # each ends before the next arrives
        (100, 1.5, 10.0, 13),
        (11, 0.3, 0.0, 11),  # all at the same moment
        (0, 0.0, 0.0, 1),
    ],
)
def test_the_concurrency_needed_follows_littles_law(
    invocations: int, each_s: float, upload_s: float, at_once: int
) -> None:
    uploads = evenly(invocations, upload_s)

    assert concurrency_needed(Usage(invocations, invocations * each_s, 1), uploads) == at_once


@pytest.mark.parametrize(
    ("times", "each_s", "at_once"),
    [
        ([0, *[86400 + n / 11 for n in range(11)]], 0.4, 3),  # 11 within a second
        ([0, *[86400] * 11], 0.4, 3),  # the same, with the precision of LastModified
        (
            [0, *[86400 + n // 10 for n in range(40)]],
            0.09,
            1,
        ),  # ten a second, each done immediately
        ([0, *[86400 + n // 10 for n in range(40)]], 1.5, 10),
        ([0, *[86400.0] * 3], 0.1, 1),  # too few to tell from events that arrive one by one
        ([0, 86400, 2 * 86400], 20.0, 1),
    ],
)
def test_an_old_upload_does_not_dilute_a_burst(
    times: list[float], each_s: float, at_once: int
) -> None:
    for precision_s in (0.0, 1.0):
        uploads = Uploads(times, precision_s)
        assert concurrency_needed(Usage(len(times), len(times) * each_s, 1), uploads) == at_once


@pytest.mark.parametrize(
    ("invocations", "calls", "wanted"),
    [
        (7, 7, 1),  # five of another run
        (2, 4, 2),  # second looks: the recognizer works twice for each video
        (7, 14, 2),
    ],
)
def test_invocations_of_another_run_in_the_same_minute_need_nothing(
    invocations: int, calls: int, wanted: int
) -> None:
    # GIVEN two uploads within LastModified's second
    names = Deployment("p")
    splitter, recognizer = Usage(invocations, 0.1, 1), Usage(calls, calls * 1.5, 1)
    used = {names.splitter.name: splitter, names.recognizer.name: recognizer}

    *_, recognition = usage_checks(
        names.splitter,
        names.recognizer,
        used,
        Limits(2.0, 10.0, None, 300.0),
        1,
        Uploads([1e9, 1e9], precision_s=1.0),
    )

    assert recognition.name == f"face-recognition runs at least {wanted} at once"


@pytest.mark.parametrize(
    ("each_s", "peak", "asked", "status", "wanted"),
    [
        (0.09, 1, None, "PASS", 1),  # the uploads needed no more
        (0.09, 1, 3, "FAIL", 3),  # the user asks for 3 regardless
        (0.09, 4, None, "PASS", 3),  # there were at least three, so no remark
        (0.3, 2, None, "PASS", 2),
        (0.3, 1, None, "FAIL", 2),
        (1.5, 1, None, "FAIL", 3),  # throttled: ten or more should have run at once
        (1.5, 3, None, "PASS", 3),
    ],
)
def test_only_as_many_must_run_at_once_as_the_uploads_need(
    each_s: float, peak: int, asked: int | None, status: str, wanted: int
) -> None:
    # GIVEN 20 uploads in 2 s
    names = Deployment("p")
    usage = Usage(20, 20 * each_s, peak)
    used = {names.splitter.name: usage, names.recognizer.name: usage}
    limits = Limits(2.0, 10.0, asked, 300.0)

    *_, split, recognition = usage_checks(
        names.splitter, names.recognizer, used, limits, 1, evenly(20, 2.0)
    )

    assert (split.status, recognition.status) == (status, status)
    assert split.name == f"video-splitting runs at least {wanted} at once"
    assert ("the uploads needed" in split.reason) == (wanted < 3)
