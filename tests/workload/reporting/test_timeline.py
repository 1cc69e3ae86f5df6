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
