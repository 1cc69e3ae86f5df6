"""What one run of the workload generator came to: written by it, read by the grader and report."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

# What JSON may have for a field, by its annotation.
TYPES = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}
LARGEST = 1e11  # seconds: more than three thousand years, which a date still holds


class RunError(ValueError):
    """A run's file cannot be read; the message says which and why."""


@dataclass(frozen=True)
class VideoRun:
    """One uploaded video. Times are seconds since the epoch on S3's clock.

    `started`: the upload began; `stored`: S3 had it; `answered`: its output object was there, None
    if it never came; `failure`: what the failure queue says of it, if anything; `repeated`: its
    output was there before, of the same content, so that `answered` is `stored` and no measure.
    """

    key: str
    size_bytes: int
    started: float
    stored: float
    answered: float | None = None
    failure: str = ""
    repeated: bool = False

    @property
    def latency_s(self) -> float | None:
        """Seconds from the upload's start to the output, None if it never came or came before."""
        return None if self.answered is None or self.repeated else self.answered - self.started


@dataclass(frozen=True)
class WorkloadRun:
    """A whole run. `skew_s`: S3's clock minus this machine's, already applied to all times.

    `waited`: the generator looked for answers; else nothing is known of any.
    """

    prefix: str
    namespace: str
    region: str
    started: float
    ended: float
    skew_s: float
    videos: tuple[VideoRun, ...]
    waited: bool = True


def save(run: WorkloadRun, path: Path) -> None:
    """Write the run as JSON, in one step: a reader finds the old file or the new one."""
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(json.dumps(asdict(run), indent=1), encoding="utf-8")
    partial.replace(path)


def load(path: Path) -> WorkloadRun:
    """Read what `save` wrote, now or by an older version; raises RunError for anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        videos = tuple(_checked(VideoRun(**video)) for video in content.pop("videos"))
        return _checked(WorkloadRun(**content, videos=videos))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(
            f"Cannot read the run in {path}: {error}. workload/generate.py --run FILE writes one."
        ) from error


def _checked(made: T) -> T:
    """`made`, a VideoRun or a WorkloadRun; raises ValueError for a field of another type."""
    for field in fields(made):  # type: ignore[arg-type]
        if field.name == "videos":
            continue
        value = getattr(made, field.name)
        if value is None and field.type == "float | None":
            continue
        kind = str(field.type).partition(" ")[0]
        if type(value) not in TYPES[kind]:
            raise ValueError(f"{field.name} is {value!r}, and must be of type {kind}")
        if kind == "float" and not abs(value) < LARGEST:
            raise ValueError(f"{field.name} is {value!r}, which is no time")
    return made
