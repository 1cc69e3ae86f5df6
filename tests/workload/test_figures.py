"""What generator and grader compute: percentiles, names of copies, clocks, expected names."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from email.utils import format_datetime
from pathlib import Path

import pytest

from pipeline.settings import Deployment
from workload.grading.limits import Limits, Uploads, called_for, split_seconds, usage_checks
from workload.grading.metrics import DAY_S, Usage, period, settled_usage
from workload.running.answers import common_prefix
from workload.running.buckets import measure_skew
from workload.running.expected import match_videos, read_expected, write_expected
from workload.running.latency import percentile, summarize
from workload.running.options import InputError
from workload.running.run import RunError, VideoRun, WorkloadRun, load, save
from workload.running.videos import expected_of, plan


@pytest.mark.parametrize(
    ("values", "percent", "right"),
    [
        ([7.0], 50, 7.0),
        ([1.0, 2.0], 50, 1.0),
        ([3.0, 1.0, 2.0], 50, 2.0),
        ([float(n) for n in range(1, 101)], 50, 50.0),
        ([float(n) for n in range(1, 101)], 95, 95.0),
        ([float(n) for n in range(1, 101)], 99, 99.0),
        ([float(n) for n in range(1, 101)], 100, 100.0),
        ([float(n) for n in range(1, 101)], 7, 7.0),  # 7 / 100 * 100 is more than 7 in floats
        ([float(n) for n in range(1, 21)], 95, 19.0),
        ([float(n) for n in range(1, 21)], 99, 20.0),
        ([1.0, 2.0, 3.0], 0, 1.0),
    ],
)
def test_percentile_is_the_nearest_rank(values: list[float], percent: float, right: float) -> None:
    assert percentile(values, percent) == right
    assert percentile(list(reversed(values)), percent) == right


def test_no_values_have_no_percentile_and_no_summary() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)
    assert summarize([]) is None


def test_a_summary_has_all_figures() -> None:
    figures = summarize([4.0, 1.0, 2.0, 3.0])

    assert figures is not None
    assert (figures.count, figures.minimum, figures.average, figures.maximum) == (4, 1, 2.5, 4)
    assert (figures.p50, figures.p95, figures.p99) == (2, 4, 4)


@pytest.mark.parametrize(
    ("repeat", "first", "last"),
    [
        (1, "test_00.mp4", "test_00.mp4"),
        (100, "test_00.mp4", "test_99.mov"),
        (101, "test_000.mp4", "test_100.mp4"),
        (1000, "test_000.mp4", "test_999.mov"),
    ],
)
def test_copies_go_through_the_videos_in_turn(
    folder: Path, repeat: int, first: str, last: str
) -> None:
    uploads = plan([folder / "a.mp4", folder / "b.mov"], repeat)

    assert (uploads[0].key, uploads[-1].key, len(uploads)) == (first, last, repeat)
    assert [u.path.name for u in uploads[:3]] == ["a.mp4", "b.mov", "a.mp4"][:repeat]
    names = expected_of(uploads, {"a.mp4": "Ann"})
    assert set(names.values()) == {"Ann"}
    assert len(names) == (repeat + 1) // 2


class ServerClock:
    """A server whose clock is `ahead`, asked over a line that takes `delay` each way."""

    def __init__(self, ahead: float, delay: float, start: float = 1_000_000.3) -> None:
        self.ahead, self.delay, self.now = ahead, delay, start

    def date(self) -> str:
        self.now += self.delay
        seconds = int(self.now + self.ahead)
        self.now += self.delay
        return format_datetime(datetime.fromtimestamp(seconds, timezone.utc), usegmt=True)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def clock(self) -> float:
        return self.now


@pytest.mark.parametrize("ahead", [0.0, 0.4, -0.7, 12.25, -3600.0])
@pytest.mark.parametrize("delay", [0.001, 0.1, 0.7])
def test_the_clocks_difference_is_found_to_a_request(ahead: float, delay: float) -> None:
    server = ServerClock(ahead, delay)

    skew = measure_skew(server.date, server.clock, server.sleep)

    # half a pause between requests, and the time there and back where no turn can be seen
    assert abs(skew - ahead) <= 0.03 + 2 * delay


def test_a_server_without_a_date_is_taken_as_right() -> None:
    assert measure_skew(lambda: None) == 0


def test_common_prefix() -> None:
    assert common_prefix(["test_00.txt", "test_01.txt", "test_10.txt"]) == "test_"
    assert common_prefix(["a.txt"]) == "a.txt"
    assert common_prefix(["a", "b"]) == ""


@pytest.mark.parametrize(
    ("days_ago", "days", "seconds"),
    [(0, 0.01, 60), (2, 1.9, 120), (20, 0.01, 300), (100, 0.01, 3600), (14, 14, 60 * 15)],
)
def test_the_period_fits_cloudwatch(days_ago: float, days: float, seconds: int) -> None:
    now = 2e9
    start = now - days_ago * DAY_S

    assert period(start, start + days * DAY_S, now) == seconds


def test_the_splitters_time_is_less_the_recognizers() -> None:
    assert split_seconds(Usage(10, 12.0, 3), Usage(10, 9.0, 3)) == pytest.approx(0.3)
    # failed splits never call the recognizer
    assert split_seconds(Usage(10, 12.0, 3), Usage(5, 9.0, 3)) == pytest.approx(0.3)
    assert split_seconds(Usage(2, 1.0, 1), Usage(8, 2.0, 4)) == 0
    assert split_seconds(Usage(0, 0.0, 0), Usage(0, 0.0, 0)) == 0
    # WHEN the log tells how long it waited, the start of environments included
    assert split_seconds(Usage(10, 12.0, 3, 11.0), Usage(10, 9.0, 3)) == pytest.approx(0.1)
    assert split_seconds(Usage(10, 12.0, 3, 0.0), Usage(10, 9.0, 3)) == pytest.approx(1.2)


def evenly(count: int, seconds: float) -> Uploads:
    """So many uploads, the last so many seconds after the first."""
    return Uploads([1e9 + seconds * n / max(1, count - 1) for n in range(count)])


@pytest.mark.parametrize(("frames", "status"), [(1, "FAIL"), (2, "FAIL"), (5, "PASS")])
def test_the_splitters_limit_is_of_a_frame(frames: int, status: str) -> None:
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
        (20, 0.09, 1.9, 1),  # each is over before the next comes
        (100, 1.5, 10.0, 13),
        (11, 0.3, 0.0, 11),  # all at the same moment
        (0, 0.0, 0.0, 1),
    ],
)
def test_what_uploads_call_for_is_by_littles_law(
    invocations: int, each_s: float, upload_s: float, at_once: int
) -> None:
    uploads = evenly(invocations, upload_s)

    assert called_for(Usage(invocations, invocations * each_s, 1), uploads) == at_once


@pytest.mark.parametrize(
    ("times", "each_s", "at_once"),
    [
        ([0, *[86400 + n / 11 for n in range(11)]], 0.4, 3),  # 11 within a second
        ([0, *[86400] * 11], 0.4, 3),  # the same, as LastModified tells it
        ([0, *[86400 + n // 10 for n in range(40)]], 0.09, 1),  # ten a second, each over at once
        ([0, *[86400 + n // 10 for n in range(40)]], 1.5, 10),
        ([0, *[86400.0] * 3], 0.1, 1),  # too few to tell from events that come one by one
        ([0, 86400, 2 * 86400], 20.0, 1),
    ],
)
def test_an_upload_of_long_ago_does_not_thin_a_crowd(
    times: list[float], each_s: float, at_once: int
) -> None:
    for precision_s in (0.0, 1.0):
        uploads = Uploads(times, precision_s)
        assert called_for(Usage(len(times), len(times) * each_s, 1), uploads) == at_once


@pytest.mark.parametrize(
    ("each_s", "peak", "asked", "status", "wanted"),
    [
        (0.09, 1, None, "PASS", 1),  # the uploads called for no more
        (0.09, 1, 3, "FAIL", 3),  # the user asks for 3 whatever they called for
        (0.09, 4, None, "PASS", 3),  # there were three: nothing more is to be said
        (0.3, 2, None, "PASS", 2),
        (0.3, 1, None, "FAIL", 2),
        (1.5, 1, None, "FAIL", 3),  # held back: ten or more should have run at once
        (1.5, 3, None, "PASS", 3),
    ],
)
def test_as_many_must_run_at_once_as_the_uploads_call_for(
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
    assert ("the uploads called for" in split.reason) == (wanted < 3)


def test_late_metrics_are_waited_for_but_not_for_ever() -> None:
    shown, now = [0, 3, 5], [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    def read() -> dict[str, Usage]:
        return {"f": Usage(shown.pop(0) if len(shown) > 1 else shown[0], 1.0, 1)}

    assert settled_usage(read, 5, 60, print, sleep, lambda: now[0])["f"].invocations == 5
    assert now[0] == 10
    assert settled_usage(read, 6, 60, print, sleep, lambda: now[0])["f"].invocations == 5
    assert now[0] == 70


def test_expected_names_are_read(tmp_path: Path) -> None:
    path = tmp_path / "expected.csv"
    path.write_text('\ufeffvideo,name\r\na.mp4,"Doe, Jane"\r\n\r\nb.mp4,Ünal\r\n', encoding="utf-8")

    assert read_expected(path) == {"a.mp4": "Doe, Jane", "b.mp4": "Ünal"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "video,name"),
        (b"key,person\na.mp4,Ann\n", "starts with key,person"),
        (b"video,name\na.mp4\n", "Line 2 .* is 'a.mp4'"),
        (b"video,name\na.mp4,Doe, Jane\n", "Line 2"),
        (b"video,name\na.mp4,\n", "Line 2"),
        (b"video,name\na.mp4,Ann\nb.mp4,Bob\na.mp4,Ann\n", "Line 4 .* names a.mp4 again"),
        (b"video,name\na.mp4,\xff\n", "UTF-8"),
        (b'video,name\na.mp4,"Ann\n', "Cannot read"),
    ],
)
def test_a_bad_csv_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "expected.csv"
    path.write_bytes(content)

    with pytest.raises(InputError, match=message) as refusal:
        read_expected(path)

    assert str(path) in str(refusal.value)


def test_spaces_of_a_videos_name_are_kept_and_others_left_out(tmp_path: Path) -> None:
    names = {" lead.mp4": "Ann", "b.mp4 ": "Bob", "c,d.mp4": "Cid"}
    path = tmp_path / "expected.csv"
    write_expected(names, path)
    assert read_expected(path) == names

    path.write_text('video,name\n" lead.mp4", Ann\n b.mp4 ,Bob\nc.mp4,Cid\n')
    matched = match_videos(read_expected(path), {" lead.mp4", "b.mp4"})
    assert matched == {" lead.mp4": "Ann", "b.mp4": "Bob", "c.mp4": "Cid"}
    with pytest.raises(InputError, match=r"'b\.mp4' twice"):
        match_videos({"b.mp4": "Bob", " b.mp4": "Bob"}, {"b.mp4"})


RUN = WorkloadRun("p", "", "us-east-1", 1.0, 9.0, 0.5, (VideoRun("a.mp4", 10, 1.0, 2.0, 3.0),))


def test_an_answer_of_before_has_no_latency_and_older_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    save(RUN, path)
    content = json.loads(path.read_text())
    del content["waited"], content["videos"][0]["repeated"]
    path.write_text(json.dumps(content))

    assert load(path) == RUN
    assert RUN.videos[0].latency_s == 2.0
    assert VideoRun("a.mp4", 10, 1.0, 2.0, 2.0, repeated=True).latency_s is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("key", 5),
        ("size_bytes", "10"),
        ("started", "1"),
        ("stored", None),
        ("stored", True),
        ("answered", "3"),
        ("answered", float("nan")),
        ("answered", 1e300),
        ("repeated", 1),
    ],
)
def test_a_run_with_a_wrong_type_is_refused(tmp_path: Path, name: str, value: object) -> None:
    path = tmp_path / "run.json"
    save(RUN, path)
    content = json.loads(path.read_text())
    content["videos"][0][name] = value
    path.write_text(json.dumps(content))

    with pytest.raises(RunError, match=f"Cannot read the run in .*: {name} is "):
        load(path)
