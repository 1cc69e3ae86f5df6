"""Collects a run's invocations from CloudWatch Logs and matches them to its videos."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.aws import Aws
from pipeline.keys import frame_key, stem
from pipeline.log_events import read_events
from pipeline.settings import Deployment, Function
from workload.reporting.invocations import Invocation, read_invocations
from workload.running.run import WorkloadRun

CLOCK_S = 1.0  # how much S3's clock, which times the run, and Lambda's may differ
LAG_S = 30.0  # how late log lines may arrive
POLL_S = 1.0


@dataclass
class Evidence:
    """A run's invocations. `foreign` counts those left out because they only name other objects."""

    splitter: list[Invocation] = field(default_factory=list)
    recognizer: list[Invocation] = field(default_factory=list)
    of_video: dict[str, list[tuple[Function, Invocation]]] = field(default_factory=dict)
    foreign: int = 0

    @property
    def invocations(self) -> list[Invocation]:
        """The invocations of both functions."""
        return self.splitter + self.recognizer

    @property
    def unreported(self) -> int:
        """How many have no REPORT line: they are still running, or their log is late."""
        return sum(invocation.report is None for invocation in self.invocations)


class Owners:
    """Finds which of the run's videos an object, given as `bucket/key`, is or was made from."""

    def __init__(self, deployment: Deployment, keys: list[str]) -> None:
        """`keys` are the keys of the run's videos."""
        self._frames = f"{deployment.stage_1_bucket}/"
        self._named = {f"{deployment.input_bucket}/{key}": key for key in keys}
        self._named.update({f"{self._frames}{frame_key(key)}": key for key in keys})
        self._stems = {stem(key): key for key in keys}

    def video(self, name: str) -> str | None:
        """The video's key; None if the object does not belong to the run."""
        if name in self._named:
            return self._named[name]
        several = re.fullmatch(r"(.*)/output-\d+\.jpg", name[len(self._frames) :], re.DOTALL)
        if several and name.startswith(self._frames):
            return self._stems.get(several.group(1))
        return None


def gather(
    aws: Aws,
    deployment: Deployment,
    run: WorkloadRun,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> Evidence:
    """The run's invocations. If it ended less than LAG_S ago, waits for missing log lines.

    Raises AwsError if these credentials may not read the logs.
    """
    while True:
        evidence = _read(aws, deployment, run)
        late = run.ended + LAG_S <= clock() + run.skew_s
        if late or is_complete(evidence, run):
            return evidence
        sleep(POLL_S)


def is_complete(evidence: Evidence, run: WorkloadRun) -> bool:
    """Whether every invocation has its REPORT line, and every answered video a splitter invocation.

    The splitter waits for the recognizer, so the recognizer's lines are there by then.
    """
    answered = {video.key for video in run.videos if video.answered is not None}
    split = {
        video
        for video, found in evidence.of_video.items()
        if any(function.key == "video-splitting" for function, _ in found)
    }
    return not evidence.unreported and answered <= split


def _read(aws: Aws, deployment: Deployment, run: WorkloadRun) -> Evidence:
    evidence = Evidence()
    owners = Owners(deployment, [video.key for video in run.videos])
    for function in (deployment.splitter, deployment.recognizer):
        # until the last invocation of the run must have ended
        end = run.ended + function.timeout_s + LAG_S
        events = read_events(aws, function, run.started - CLOCK_S, end)
        ours = evidence.splitter if function == deployment.splitter else evidence.recognizer
        for invocation in read_invocations(events):
            if not run.started - CLOCK_S <= invocation.started <= run.ended + CLOCK_S:
                continue
            named = invocation.objects()
            videos = dict.fromkeys(filter(None, map(owners.video, named)))
            if named and not videos:
                evidence.foreign += 1
                continue
            ours.append(invocation)
            for video in videos:
                evidence.of_video.setdefault(video, []).append((function, invocation))
    return evidence
