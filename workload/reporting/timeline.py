"""What happened to each video and when: pure functions on the run and its evidence."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.settings import Deployment
from workload.reporting.evidence import Evidence
from workload.reporting.invocations import WAITING_STEP, Invocation, Step
from workload.running.run import WorkloadRun

# The kinds of time, in the order they come; the second is what the page calls them.
KINDS = {
    "upload": "upload",
    "queue": "event under way",
    "cold": "cold start",
    "split": "split",
    "wait": "wait (paid)",
    "recognize": "recognize",
    "failed": "failed try",
}


@dataclass(frozen=True)
class Segment:
    """A stretch of time, in seconds since the run began; lane 1 is the recognizer's."""

    kind: str
    start: float
    end: float
    lane: int = 0


@dataclass(frozen=True)
class Row:
    """One video's stretches; `answered` in seconds since the run began, None if it never was."""

    key: str
    segments: tuple[Segment, ...]
    answered: float | None
    cold_starts: int

    def total(self, kind: str) -> float:
        """Seconds of one kind."""
        return sum(s.end - s.start for s in self.segments if s.kind == kind)


def timeline(run: WorkloadRun, evidence: Evidence, deployment: Deployment) -> list[Row]:
    """A row for each video, by the time its upload began."""
    rows = []
    for video in sorted(run.videos, key=lambda video: (video.started, video.key)):
        invocations = evidence.of_video.get(video.key, [])
        segments = [Segment("upload", video.started, video.stored)]
        idle_since = video.stored
        for function, invocation in invocations:
            if function == deployment.splitter:
                tries = _splitting(invocation, f"s3://{deployment.input_bucket}/{video.key}")
                segments += [Segment("queue", idle_since, tries[0].start), *tries]
                idle_since = invocation.ended
            else:
                segments += _recognizing(invocation)
        rows.append(
            Row(
                video.key,
                tuple(_since(run.started, segment) for segment in segments),
                None if video.answered is None else video.answered - run.started,
                sum(invocation.is_cold for _, invocation in invocations),
            )
        )
    return rows


def _since(zero: float, segment: Segment) -> Segment:
    start = segment.start - zero
    return Segment(segment.kind, start, max(segment.end - zero, start), segment.lane)


def _start(invocation: Invocation, lane: int) -> list[Segment]:
    """The environment's start, which lies before the invocation's own."""
    if invocation.report is None or not invocation.is_cold:
        return []
    began = invocation.started - invocation.report.start_s
    return [Segment("cold", began, invocation.started, lane)]


def _splitting(invocation: Invocation, video: str) -> list[Segment]:
    started, ended = invocation.started, invocation.ended
    if invocation.has_failed:
        return [*_start(invocation, 0), Segment("failed", started, ended)]
    waits = [step for step in invocation.steps if _is_wait(step, video)]
    segments, at = _start(invocation, 0), started
    for step in waits:
        begin = max(step.started, at)
        segments += [Segment("split", at, begin), Segment("wait", begin, step.ended)]
        at = step.ended
    return [*segments, Segment("split", at, max(ended, at))]


def _is_wait(step: Step, video: str) -> bool:
    return step.name == WAITING_STEP and step.notes.get("video") == video


def _recognizing(invocation: Invocation) -> list[Segment]:
    kind = "failed" if invocation.has_failed else "recognize"
    work = Segment(kind, invocation.started, invocation.ended, 1)
    return [*_start(invocation, 1), work]
