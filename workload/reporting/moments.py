"""The frames of a video that was looked at more than once, and who is seen in which.

Their faces are in the details (ANSWERS=txt+json), else in the recognizer's log. Pure functions.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.answers import UNKNOWN
from pipeline.keys import frame_key, stem
from workload.reporting.faces import Face, face_of
from workload.reporting.invocations import Invocation
from workload.reporting.pictures import Picture
from workload.reporting.verdict import Verdict

EMBED_STEP = "embed"  # the recognizer's log line about a frame


@dataclass(frozen=True)
class Moment:
    """A frame: its number in the video, from 0, and its time in seconds if that is known.

    `is_answer`: the answer comes from it. `picture`: None if the frame was not kept.
    """

    index: int
    faces: tuple[Face, ...] = ()
    time: float | None = None
    picture: Picture | None = None
    is_answer: bool = False


@dataclass(frozen=True)
class Mark:
    """Somebody in a frame: `place` is from 0 to 100 along the video, `label` says when."""

    place: float
    label: str
    distance: float | None
    verdict: Verdict


@dataclass(frozen=True)
class Presence:
    """Where somebody is seen. Strangers share one row, with one mark per face."""

    name: str
    marks: tuple[Mark, ...]


def faces_in_details(body: bytes, threshold: float | None) -> list[tuple[float, tuple[Face, ...]]]:
    """The time and faces of each frame in an object of details; [] if it is not one."""
    with contextlib.suppress(KeyError, ValueError, TypeError, AttributeError):
        return [
            (float(frame["time"]), tuple(face_of(face, threshold) for face in frame["faces"]))
            for frame in json.loads(body)["frames"]
        ]
    return []


def faces_in_log(
    invocations: Iterable[Invocation], bucket: str, video: str, threshold: float | None
) -> dict[int, tuple[Face, ...]]:
    """The faces of each frame of `video` by its number, as last logged by the recognizer."""
    found: dict[int, tuple[Face, ...]] = {}
    for invocation in invocations:
        for step in invocation.steps:
            index = frame_number(str(step.notes.get("frame", "")), f"{bucket}/", video)
            if step.name == EMBED_STEP and index is not None:
                with contextlib.suppress(KeyError, ValueError, TypeError, AttributeError):
                    faces: Any = step.notes["faces"]
                    found[index] = tuple(face_of(face, threshold) for face in faces)
    return found


def frame_number(name: str, before: str, video: str) -> int | None:
    """The number of the frame `name`, which begins with `before`; None if it is not of `video`."""
    if name == f"{before}{frame_key(video)}":
        return 0
    start = f"{before}{stem(video)}/output-"
    found = re.fullmatch(r"(\d+)\.jpg", name[len(start) :], re.ASCII)
    return int(found[1]) if found and name.startswith(start) else None


def presences(moments: Sequence[Moment]) -> list[Presence]:
    """Who is seen when: the known people, those in most frames first, then the strangers."""
    marks: dict[str, list[Mark]] = {}
    places = _places(moments)
    for moment, place in zip(moments, places):
        for face in moment.faces:
            label = label_of(moment, len(moments))
            marks.setdefault(face.name, []).append(Mark(place, label, face.distance, face.verdict))
    names = sorted(marks, key=lambda name: (name == UNKNOWN, -len(marks[name]), name))
    return [Presence(name, tuple(marks[name])) for name in names]


def label_of(moment: Moment, count: int) -> str:
    """When a frame is shown: "1.2 s", or "frame 2 of 5" if its time is not known."""
    if moment.time is None:
        return f"frame {moment.index + 1} of {count}"
    return f"{round(moment.time, 1):g} s"


def _places(moments: Sequence[Moment]) -> list[float]:
    """From 0 to 100: by time if all times are known, else by number."""
    times = [moment.time for moment in moments if moment.time is not None]
    if len(times) < len(moments):
        times = [float(number) for number in range(len(moments))]
    span = max(times, default=0.0) - min(times, default=0.0) or 1.0
    return [round(100 * (time - min(times)) / span, 1) for time in times]
