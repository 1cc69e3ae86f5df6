"""The record of one run: written by the generator, read by the grader and the report."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeVar

from pipeline.text_file import read_text
from workload.running.input_errors import RunError
from workload.running.score import Outcome, Score

T = TypeVar("T")

# The JSON types allowed for a field, by its annotation.
TYPES = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}
LARGEST = 1e11  # seconds: more than 3,000 years, which a date can still hold


@dataclass(frozen=True)
class VideoRun:
    """One uploaded video. Times are seconds since the epoch on S3's clock.

    `started`: the upload began. `stored`: S3 had the whole video. `answered`: its output was seen,
    None if it never was. `failure`: the reason in the failure queue, if any. `repeated`: an earlier
    output for the same content already answers it; `answered` then equals `stored` and is not a
    measurement. `expected`: the right name, None if nobody said. `answer`: the text of the output
    at the end of the run, None if there was none or it was not read.
    """

    key: str
    size_bytes: int
    started: float
    stored: float
    answered: float | None = None
    failure: str = ""
    repeated: bool = False
    expected: str | None = None
    answer: str | None = None

    @property
    def latency_s(self) -> float | None:
        """Seconds from the start of the upload to the answer; None if the run saw none arrive."""
        return None if self.answered is None or self.repeated else self.answered - self.started

    @property
    def outcome(self) -> Outcome:
        """Whether the answer is right. Answered and right are two things."""
        if self.answered is not None and self.answer is None:  # it was not read
            return Outcome.UNCHECKED
        return Outcome.of(self.answer, self.expected)


@dataclass(frozen=True)
class WorkloadRun:
    """A whole run. `skew_s` is S3's clock minus this machine's; all times already include it.

    `waited`: whether the generator looked for answers.
    """

    prefix: str
    namespace: str
    region: str
    started: float
    ended: float
    skew_s: float
    videos: tuple[VideoRun, ...]
    waited: bool = True

    @property
    def score(self) -> Score:
        """How many of the videos were answered, and how many answers are right."""
        return Score.of((video.outcome, video.expected is not None) for video in self.videos)


def save(run: WorkloadRun, path: Path) -> None:
    """Write the run as JSON, atomically: a reader finds the old file or the new one."""
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(json.dumps(asdict(run), indent=1), encoding="utf-8")
    partial.replace(path)


def load(path: Path) -> WorkloadRun:
    """Read what `save` of this or an older version wrote. Raises RunError for anything else."""
    try:
        content = json.loads(read_text(path))
        videos = tuple(_checked(VideoRun(**video)) for video in content.pop("videos"))
        return _checked(WorkloadRun(**content, videos=videos))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RunError(
            f"Cannot read the run in {path}: {error}. workload/generate.py --run FILE writes one."
        ) from error


def _checked(made: T) -> T:
    """`made`, a VideoRun or WorkloadRun. Raises ValueError for a field of the wrong type."""
    for field in fields(made):  # type: ignore[arg-type]
        if field.name == "videos":
            continue
        value = getattr(made, field.name)
        if value is None and str(field.type).endswith("| None"):
            continue
        kind = str(field.type).partition(" ")[0]
        if type(value) not in TYPES[kind]:
            raise ValueError(f"{field.name} is {value!r}, but must be of type {kind}")
        if kind == "float" and not abs(value) < LARGEST:
            raise ValueError(f"{field.name} is {value!r}, which is not a time")
    return made
