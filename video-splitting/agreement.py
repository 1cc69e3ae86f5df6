"""The name of a video, from the faces in its frames. Pure functions.

Every known face of every frame votes. With more frames, a stranger has more chances to come near
somebody in the gallery by accident: in one blurred or turned picture. So a name that several frames
were asked for needs support: it is seen in more than half of the frames that show a face, or one
face is far nearer than it need be. bench/second_look.py measures how many strangers a rule names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

# The texts that face-recognition/gallery.py defines.
UNKNOWN = "Unknown"
NO_FACE = "No face"
# A face whose distance is at most this part of the threshold supports its name by itself.
CERTAIN = 0.85


class Face(TypedDict):
    """A face that the recognizer found; `box` is [left, top, right, bottom] in px."""

    name: str
    distance: float
    probability: NotRequired[float]
    box: NotRequired[list[float]]
    nearest: NotRequired[str]


@dataclass(frozen=True)
class Look:
    """A frame that was looked at: its time in seconds, its faces, largest first, and its state."""

    time: float
    faces: Sequence[Face]
    damaged: bool = False

    @property
    def known(self) -> list[Face]:
        """The known faces, largest first."""
        return [face for face in self.faces if face["name"] != UNKNOWN]


@dataclass(frozen=True)
class Person:
    """A known person: the frames they are in, their first and last time, and best distance."""

    name: str
    frames: int
    first: float
    last: float
    distance: float


@dataclass(frozen=True)
class Agreement:
    """A video's name, the index of the frame it comes from, its votes and the people in it.

    `face` is the answer's face in that frame; None if the frame shows none.
    """

    name: str
    frame: int
    votes: int
    people: tuple[Person, ...]
    face: Face | None


def agree(looks: Sequence[Look], threshold: float) -> Agreement:
    """The name that the frames support. `looks` holds at least one; `threshold` is the gallery's.

    Of several supported names, the one in most frames wins; then the one that is more often its
    frame's answer, the largest known face; then the one with the smallest distance. It comes from
    the frame with its smallest distance. Without a supported name, it is UNKNOWN if any frame shows
    a face, else NO_FACE.
    """
    people = supported(looks, threshold)
    if people:
        winner = people[0]
        best = {
            index: min(faces, key=_distance)
            for index, look in enumerate(looks)
            if (faces := [face for face in look.known if face["name"] == winner.name])
        }
        frame = min(best, key=lambda index: (_distance(best[index]), index))
        return Agreement(winner.name, frame, winner.frames, tuple(people), best[frame])
    with_faces = [index for index, look in enumerate(looks) if look.faces]
    if with_faces:
        frame = _first(with_faces, lambda index: not looks[index].known)
        nearest = min(looks[frame].faces, key=_distance)
        return Agreement(UNKNOWN, frame, len(with_faces), (), nearest)
    frame = _first(range(len(looks)), lambda index: not looks[index].damaged)
    return Agreement(NO_FACE, frame, len(looks), (), None)


def supported(looks: Sequence[Look], threshold: float) -> list[Person]:
    """The people whose names have support, the winner first."""
    with_faces = sum(bool(look.faces) for look in looks)
    answers = [look.known[0]["name"] for look in looks if look.known]
    people = [
        person
        for person in _people(looks)
        if 2 * person.frames > with_faces or person.distance <= CERTAIN * threshold
    ]
    return sorted(
        people, key=lambda one: (-one.frames, -answers.count(one.name), one.distance, one.name)
    )


def _people(looks: Sequence[Look]) -> Iterable[Person]:
    """Every known person, with support or without."""
    for name in dict.fromkeys(face["name"] for look in looks for face in look.known):
        seen = [
            (look.time, min(_distance(face) for face in look.known if face["name"] == name))
            for look in looks
            if any(face["name"] == name for face in look.known)
        ]
        moments = [time for time, _ in seen]
        best = min(distance for _, distance in seen)
        yield Person(name, len(seen), min(moments), max(moments), best)


def _first(indexes: Sequence[int], fits: Callable[[int], bool]) -> int:
    """The first index that fits, else the first."""
    return next((index for index in indexes if fits(index)), indexes[0])


def _distance(face: Face) -> float:
    return face["distance"]
