"""Which face of a photo is the person's, when the detector reports more than one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detect import Face

# Another face whose sides are at most half as long stands in the background.
BACKGROUND_AREA = 1 / 4
# Below SURE a detection may not be a face at all: a real face in the sample photos has 0.975 or
# more, and a stack of poker chips 0.87. The search for the largest face draws the same line.
SURE_PROBABILITY = 0.95


@dataclass(frozen=True)
class Choice:
    """The face to enroll, None if it is not clear, and the others."""

    face: Face | None
    others: Sequence[Face]


def choose(faces: Sequence[Face], strict: bool = False) -> Choice:
    """The dominant one of a photo's faces; `strict` accepts only a photo with exactly one.

    The largest face is dominant if every other one is in the background (its area is at most a
    quarter) or is no larger and faint where the largest is sure. If the largest is itself faint, a
    sure face of any size makes the photo ambiguous.
    """
    if not faces:
        return Choice(None, [])
    largest, *others = sorted(faces, key=lambda face: (-face.area, -face.probability))
    if strict and others:
        return Choice(None, [largest, *others])
    if any(_is_rival(other, largest) for other in others):
        return Choice(None, [largest, *others])
    return Choice(largest, others)


def _is_rival(other: Face, largest: Face) -> bool:
    is_sure = other.probability >= SURE_PROBABILITY
    if largest.probability < SURE_PROBABILITY:
        return is_sure or other.area > largest.area * BACKGROUND_AREA
    return is_sure and other.area > largest.area * BACKGROUND_AREA


def shown(face: Face) -> str:
    """A face for messages: its box in px (left, top, right, bottom) and its probability."""
    box = ", ".join(f"{edge:.0f}" for edge in face.box)
    return f"[{box}] with probability {face.probability:.3f}"


def counted(faces: Sequence[Face]) -> str:
    """How many faces, and where each one is, for messages."""
    if not faces:
        return "no face"
    which = "; ".join(map(shown, faces))
    return f"{len(faces)} face{'s' if len(faces) > 1 else ''} at {which}"
