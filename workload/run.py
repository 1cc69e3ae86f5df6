"""What one run of the workload generator came to: written by it, read by the grader and report."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


class RunError(ValueError):
    """A run's file cannot be read; the message says which and why."""


@dataclass(frozen=True)
class VideoRun:
    """One uploaded video. Times are seconds since the epoch on S3's clock.

    `started`: the upload began; `stored`: S3 had it; `answered`: its output object was there, None
    if it never came; `failure`: what the failure queue says of it, if anything.
    """

    key: str
    size_bytes: int
    started: float
    stored: float
    answered: float | None = None
    failure: str = ""

    @property
    def latency_s(self) -> float | None:
        """Seconds from the upload's start to the output, None if it never came."""
        return None if self.answered is None else self.answered - self.started


@dataclass(frozen=True)
class WorkloadRun:
    """A whole run. `skew_s`: S3's clock minus this machine's, already applied to all times."""

    prefix: str
    namespace: str
    region: str
    started: float
    ended: float
    skew_s: float
    videos: tuple[VideoRun, ...]


def save(run: WorkloadRun, path: Path) -> None:
    """Write the run as JSON, in one step: a reader finds the old file or the new one."""
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(json.dumps(asdict(run), indent=1), encoding="utf-8")
    partial.replace(path)


def load(path: Path) -> WorkloadRun:
    """Read what `save` wrote; raises RunError for anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        videos = tuple(VideoRun(**video) for video in content.pop("videos"))
        return WorkloadRun(**content, videos=videos)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(
            f"Cannot read the run in {path}: {error}. workload/generate.py --run FILE writes one."
        ) from error
