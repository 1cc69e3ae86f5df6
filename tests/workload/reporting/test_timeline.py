"""What happened to each video, and when."""

from __future__ import annotations

from pipeline.settings import Deployment
from workload.reporting.evidence import Evidence
from workload.reporting.invocations import Invocation, Report, Step
from workload.reporting.timeline import timeline
from workload.running.run import VideoRun, WorkloadRun

DEPLOYMENT = Deployment("p")
VIDEO = {"video": "s3://p-input/a.mp4"}


def attempt(started: float, queued_s: float) -> Invocation:
    """A splitter of 2 s, whose upload was in the queue for `queued_s` before."""
    steps = [Step("queued", started, queued_s, VIDEO)] if queued_s else []
    return Invocation("r", started, steps, Report("r", 2000, 2000, 512, 90))


def test_waiting_in_the_queue_is_waiting_for_a_slot() -> None:
    # GIVEN an upload stored at 101, whose event was in the queue from 102 to 110; a second attempt
    # began at 172
    video = VideoRun("a.mp4", 1, started=100, stored=101, answered=175)
    run = WorkloadRun("p", "", "us-east-1", 100, 180, 0, (video,))
    found = [(DEPLOYMENT.splitter, attempt(110, 8)), (DEPLOYMENT.splitter, attempt(172, 70))]

    (row,) = timeline(run, Evidence(of_video={"a.mp4": found}), DEPLOYMENT)

    spans = [(s.kind, s.start, s.end) for s in row.segments]
    assert spans == [
        ("upload", 0, 1),
        ("queue", 1, 2),
        ("slot", 2, 10),
        ("split", 10, 12),
        ("queue", 12, 72),
        ("split", 72, 74),
    ]


def test_without_a_queue_there_is_only_delivery() -> None:
    video = VideoRun("a.mp4", 1, started=100, stored=101, answered=113)
    run = WorkloadRun("p", "", "us-east-1", 100, 113, 0, (video,))
    evidence = Evidence(of_video={"a.mp4": [(DEPLOYMENT.splitter, attempt(110, 0))]})

    (row,) = timeline(run, evidence, DEPLOYMENT)

    assert [s.kind for s in row.segments] == ["upload", "queue", "split"]


def test_an_event_that_waits_while_all_splitters_run_waits_for_a_slot() -> None:
    # GIVEN two splitters that are busy from 101 to 109, and two events stored at 101
    videos = tuple(
        VideoRun(f"{name}.mp4", 1, started=100, stored=101, answered=113) for name in "ab"
    )
    run = WorkloadRun("p", "", "us-east-1", 100, 113, 0, videos)
    late = [attempt(109, 0), attempt(109.1, 0)]
    busy = [attempt(start, 0) for start in (101, 101, 103, 103, 105, 105, 107, 107)]
    of_video = {
        f"{name}.mp4": [(DEPLOYMENT.splitter, one)] for name, one in zip("ab", late, strict=True)
    }

    rows = timeline(run, Evidence([*busy, *late], [], of_video), DEPLOYMENT)

    assert [(s.kind, s.start, s.end) for s in rows[0].segments][1:3] == [
        ("queue", 1, 2),
        ("slot", 2, 9),
    ]
    # WHEN one of them is idle for most of the time, delivery is slow
    rows = timeline(run, Evidence([*busy[::2], attempt(101, 0), *late], [], of_video), DEPLOYMENT)
    assert [s.kind for s in rows[0].segments] == ["upload", "queue", "split"]


def test_refused_calls_wait_for_a_slot_within_the_call() -> None:
    video = VideoRun("a.mp4", 1, started=100, stored=101, answered=113)
    run = WorkloadRun("p", "", "us-east-1", 100, 113, 0, (video,))
    call = Step("invoke", 106, 4, {**VIDEO, "slot_ms": 3000})
    splitter = Invocation("r", 101, [call], Report("r", 6000, 6000, 512, 90))
    evidence = Evidence(of_video={"a.mp4": [(DEPLOYMENT.splitter, splitter)]})

    (row,) = timeline(run, evidence, DEPLOYMENT)

    assert [(s.kind, s.start, s.end) for s in row.segments][2:] == [
        ("split", 1, 2),
        ("slot", 2, 5),
        ("wait", 5, 6),
        ("split", 6, 7),
    ]
