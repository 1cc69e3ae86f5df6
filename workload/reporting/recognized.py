"""What an output says about its video: the answer, its face, and who is seen when. Pure functions.

Metadata that were cut short or written by others are ignored rather than refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from pipeline.answers import NO_FACE, UNKNOWN
from workload.reporting.faces import (
    Face,
    Person,
    answer_face,
    faces_in,
    nearest_in,
    number,
    people_in,
    spoken,
)
from workload.running.outputs import Output

HASHED = "sha256:"  # what metadata have instead of a key that is too long for them


@dataclass(frozen=True)
class Recognized:
    """The answer for one video.

    `video`: its key, or the output's if the metadata do not have it. `faces` are those of the
    answer's frame, largest first, and `face` is the one that the answer comes from. `frames`: how
    many were looked at. `people`: everybody seen, where several frames were looked at.
    """

    video: str
    answer: str
    faces: tuple[Face, ...]
    face: Face | None
    distance: float | None
    threshold: float | None
    nearest: str
    frames: int
    people: tuple[Person, ...]
    output: Output

    @property
    def said(self) -> str:
        """The answer as people read it: "Unknown, nearest Ada 0.71"."""
        return spoken(self.answer, self.nearest, self.distance)

    @property
    def names(self) -> list[str]:
        """Everybody who was recognized, the answer first."""
        found = [*self.answer.split("\n"), *(p.name for p in self.people)]
        found += [face.name for face in self.faces]
        return [name for name in dict.fromkeys(found) if name not in (UNKNOWN, NO_FACE, "")]


def recognized(output: Output) -> Recognized:
    """Read an output's text and metadata."""
    metadata = output.metadata
    faces = faces_in(output.text, metadata)
    face = answer_face(faces, metadata)
    key = metadata.get("source-key", HASHED)
    return Recognized(
        video=output.key if key.startswith(HASHED) else unquote(key),
        answer=output.text,
        faces=faces,
        face=face,
        distance=face.distance if face else number(metadata, "distance"),
        threshold=number(metadata, "threshold"),
        nearest=nearest_in(output.text, face, metadata),
        frames=int(number(metadata, "frames") or 1),
        people=people_in(metadata),
        output=output,
    )


def frame_time(found: Recognized, etag: str, metadata: Mapping[str, str]) -> float | None:
    """When a frame in stage-1 is shown, in seconds; None if the answer comes from another one."""
    if found.output.metadata.get("frame-etag", etag).strip('"') != etag.strip('"'):
        return None
    return number(metadata, "frame-time")


@dataclass(frozen=True)
class Seen:
    """Somebody in a video: in how many of the frames, and from when to when, in seconds.

    The times are None if nobody knows them any more.
    """

    name: str
    frames: int
    first: float | None
    last: float | None
    distance: float | None

    @property
    def when(self) -> str:
        """The time as people read it: "1.2 s", "0 to 3.2 s"."""
        if self.first is None or self.last is None:
            return ""
        end = f"{round(self.last, 1):g} s"
        return end if self.first == self.last else f"{round(self.first, 1):g} to {end}"

    def __str__(self) -> str:
        """Name, time and distance: "Ada 0 to 3.2 s (0.31)"."""
        distance = "" if self.distance is None else f"({self.distance:.2f})"
        return " ".join(filter(None, (self.name, self.when, distance)))


def seen(found: Recognized, time: float | None = None) -> list[Seen]:
    """Everybody who was recognized in the video.

    `time`: when the answer's frame is shown, which is all there is to say if one frame was enough.
    """
    known = {
        person.name: Seen(person.name, person.frames, person.first, person.last, person.distance)
        for person in found.people
    }
    for face in found.faces:
        if face.name in found.names and face.name not in known:
            known[face.name] = Seen(face.name, 1, time, time, face.distance)
    for name in found.names:  # whose face the metadata have no room for
        known.setdefault(name, Seen(name, 1, time, time, None))
    return list(known.values())
