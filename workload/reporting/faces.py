"""What a text's metadata say about its answer: faces and people. Pure functions.

Metadata that were cut short or written by others are ignored rather than refused.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from pipeline.answers import UNKNOWN
from workload.reporting.verdict import Verdict, face_verdict

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Face:
    """One face in a frame; `box` is (left, top, right, bottom) in pixels of the whole frame.

    `nearest`: the nearest person's name, whether or not the face is near enough to have it.
    """

    name: str
    distance: float | None
    box: Box | None
    verdict: Verdict
    nearest: str = ""

    @property
    def is_known(self) -> bool:
        """Whether it has a name."""
        return self.name != UNKNOWN


@dataclass(frozen=True)
class Person:
    """A person of the video: in how many frames, from when to when in seconds, and how near."""

    name: str
    frames: int
    first: float
    last: float
    distance: float


def faces_in(answer: str, metadata: Mapping[str, str]) -> tuple[Face, ...]:
    """The faces of the answer's frame, largest first; the answer's own if the rest was left out."""
    threshold, items = number(metadata, "threshold"), _json(metadata, "faces")
    if isinstance(items, list):
        with contextlib.suppress(KeyError, ValueError, TypeError, AttributeError):
            return tuple(face_of(item, threshold) for item in items)
    box = _json(metadata, "box")
    if box is None:
        return ()
    item = {"name": answer.split("\n")[0], "distance": number(metadata, "distance"), "box": box}
    return (face_of({**item, "nearest": unquote(metadata.get("nearest", ""))}, threshold),)


def answer_face(faces: tuple[Face, ...], metadata: Mapping[str, str]) -> Face | None:
    """The face that the answer comes from: the one whose box the metadata repeat, else the first.

    Deployments before FACES=known named the largest face, which is the first.
    """
    box = _edges(_json(metadata, "box"))
    for face in faces:
        if box is not None and face.box == box:
            return face
    return faces[0] if faces else None


def nearest_in(answer: str, face: Face | None, metadata: Mapping[str, str]) -> str:
    """The person nearest to an unknown face; empty for any other answer."""
    if answer != UNKNOWN:
        return ""
    return unquote(metadata.get("nearest", "")) or (face.nearest if face else "")


def people_in(metadata: Mapping[str, str]) -> tuple[Person, ...]:
    """The people of a video with several frames, as far as the metadata could hold them."""
    people = []
    items = _json(metadata, "people")
    for item in items if isinstance(items, list) else []:
        try:
            name, frames, first, last, distance = item
            numbers = [float(figure) for figure in (first, last, distance)]
            if all(map(math.isfinite, numbers)):
                people.append(Person(unquote(name), int(frames), *numbers))
        except (ValueError, TypeError, AttributeError):
            continue
    return tuple(people)


def spoken(answer: str, nearest: str, distance: float | None) -> str:
    """The answer as people read it: "Unknown, nearest Ada 0.71"."""
    text = ", ".join(answer.split("\n"))
    if not nearest:
        return text
    return f"{text}, nearest {nearest}" + ("" if distance is None else f" {distance:.2f}")


def number(metadata: Mapping[str, str], name: str) -> float | None:
    """A number in the metadata; None if it is missing or not finite."""
    return _finite(metadata.get(name))


def face_of(item: dict[str, Any], threshold: float | None) -> Face:
    """The face in an item of JSON. Raises KeyError if it has no name."""
    name, distance = str(item["name"]), _finite(item.get("distance"))
    verdict = face_verdict(name, distance, threshold)
    return Face(name, distance, _edges(item.get("box")), verdict, str(item.get("nearest") or ""))


def _json(metadata: Mapping[str, str], name: str) -> Any:
    try:
        return json.loads(metadata[name])
    except (KeyError, ValueError):
        return None


def _edges(box: Any) -> Box | None:
    edges = [_finite(edge) for edge in box] if isinstance(box, list) else []
    whole = [edge for edge in edges if edge is not None]
    return (whole[0], whole[1], whole[2], whole[3]) if len(whole) == len(edges) == 4 else None


def _finite(value: Any) -> float | None:
    try:
        figure = float(value)
    except (TypeError, ValueError):
        return None
    return figure if math.isfinite(figure) else None
