"""Works out what happened to each video and when. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.settings import Deployment
from workload.reporting.evidence import Evidence
from workload.reporting.invocations import QUEUED_STEP, WAITING_STEP, Invocation, Step
from workload.reporting.slot_waits import refused_s
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

# An event reaches a free splitter within this time. One that waits longer while as many splitters
# run as ever did waits for one of them.
DELIVERY_S = 1.0
LASTING = 0.05  # of the time with any; one that ends may overlap with the next by milliseconds
# What a video waits for, as against what somebody works at.
WAITS = ("queue", "slot")

Span = tuple[float, float]


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
    full = _full(evidence.splitter)
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
                    since = _waits_since(invocation, uri, idle_since, start, full)
                    queued = max(idle_since, min(start, since))
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
        called = min(begin + refused_s(step), step.ended)  # until then, calls were refused
        segments += [Segment("split", at, begin)]
        segments += [Segment("slot", begin, called)] if called > begin else []
        segments += [Segment("wait", called, step.ended)]
        at = step.ended
    return [*segments, Segment("split", at, max(ended, at))]


def _waits_since(
    invocation: Invocation, video: str, stored: float, start: float, full: Sequence[Span]
) -> float:
    """When the upload began to wait for a slot; `start` if it did not.

    The queue of a small account says so. Else Lambda keeps events back while all splitters that may
    run are running.
    """
    for step in invocation.steps:
        if step.name == QUEUED_STEP and step.notes["video"] == video:
            return step.started
    since = stored + DELIVERY_S
    if since >= start:
        return start
    busy = sum(max(0.0, min(end, start) - max(begin, since)) for begin, end in full)
    return since if 2 * busy > start - since else start


def _full(splitters: Sequence[Invocation]) -> list[Span]:
    """The spans of time in which as many splitters ran or started as ever did for a while."""
    changes = [(one.started - one.start_s, 1) for one in splitters]
    changes = sorted([*changes, *((one.ended, -1) for one in splitters)])
    running, levels = 0, []
    for (at, change), (until, _) in zip(changes, changes[1:]):
        running += change
        levels.append((running, at, until))
    busy = sum(until - at for level, at, until in levels if level)
    for most in sorted({level for level, _, _ in levels}, reverse=True):
        spans = [(at, until) for level, at, until in levels if level >= most]
        if sum(until - at for at, until in spans) >= LASTING * busy:
            return spans
    return []


def _is_wait(step: Step, video: str) -> bool:
    return step.name == WAITING_STEP and step.notes.get("video") == video


def _recognizing(invocation: Invocation) -> list[Segment]:
    kind = "failed" if invocation.has_failed else "recognize"
    work = Segment(kind, invocation.started, invocation.ended, 1)
    return [*_start(invocation, 1), work]
