"""Works out what happened to each video and when. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.settings import Deployment
from workload.reporting.evidence import Evidence
from workload.reporting.invocations import QUEUED_STEP, WAITING_STEP, Invocation, Step
from workload.running.run import WorkloadRun

# The kinds of segments in the order they occur, with their labels on the page.
KINDS = {
    "upload": "upload",
    "queue": "event delivery",
    "slot": "wait for a slot",
    "cold": "cold start",
    "split": "split",
    "wait": "wait (paid)",
    "recognize": "recognize",
    "failed": "failed attempt",
}


@dataclass(frozen=True)
class Segment:
    """A span of time in seconds since the run began. Lane 0 is the splitter, 1 the recognizer."""

    kind: str
    start: float
    end: float
    lane: int = 0


@dataclass(frozen=True)
class Row:
    """One video's segments. `answered` is in seconds since the run began; None if it never was."""

    key: str
    segments: tuple[Segment, ...]
    answered: float | None
    cold_starts: int

    def total(self, kind: str) -> float:
        """The total seconds of one kind."""
        return sum(s.end - s.start for s in self.segments if s.kind == kind)


def timeline(run: WorkloadRun, evidence: Evidence, deployment: Deployment) -> list[Row]:
    """One row per video, sorted by the start of its upload."""
    rows = []
    for video in sorted(run.videos, key=lambda video: (video.started, video.key)):
        invocations = evidence.of_video.get(video.key, [])
        segments = [Segment("upload", video.started, video.stored)]
        idle_since = video.stored
        for function, invocation in invocations:
            if function == deployment.splitter:
                uri = f"s3://{deployment.input_bucket}/{video.key}"
                attempts = _splitting(invocation, uri)
                start = attempts[0].start
                queued = start
                if idle_since == video.stored:  # later, it waits for its next attempt
                    queued = max(idle_since, min(start, _queued_at(invocation, uri, start)))
                segments += [Segment("queue", idle_since, queued)]
                segments += [Segment("slot", queued, start)] if queued < start else []
                segments += attempts
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
    """The cold start, if any, which comes before the invocation itself."""
    if not invocation.is_cold:
        return []
    began = invocation.started - invocation.start_s
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


def _queued_at(invocation: Invocation, video: str, start: float) -> float:
    """When the upload got into the queue of a small account; `start` if there is none."""
    steps = (s for s in invocation.steps if s.name == QUEUED_STEP and s.notes["video"] == video)
    return next((step.started for step in steps), start)


def _is_wait(step: Step, video: str) -> bool:
    return step.name == WAITING_STEP and step.notes.get("video") == video


def _recognizing(invocation: Invocation) -> list[Segment]:
    kind = "failed" if invocation.has_failed else "recognize"
    work = Segment(kind, invocation.started, invocation.ended, 1)
    return [*_start(invocation, 1), work]
