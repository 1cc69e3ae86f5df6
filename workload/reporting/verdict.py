"""How sure an answer is. The one place that says what "unsure" means."""

from __future__ import annotations

from enum import Enum

UNKNOWN = "Unknown"  # the texts that face-recognition writes
NO_FACE = "No face"

# An answer is unsure when its distance is within this share of the threshold, on either side: a
# name that just passed, or a stranger who just did not.
UNSURE_SHARE = 0.10


class Verdict(Enum):
    """What an answer is worth; the value is its class name in the page."""

    SURE = "sure"
    UNSURE = "unsure"
    UNKNOWN = "unknown"
    NO_FACE = "no-face"
    MISSING = "missing"

    @property
    def label(self) -> str:
        """The verdict in words."""
        return self.value.replace("-", " ").capitalize()

    @property
    def sign(self) -> str:
        """One character, so that color is not the only difference."""
        return {"sure": "✓", "unsure": "≈", "unknown": "?", "no-face": "○", "missing": "!"}[
            self.value
        ]


def face_verdict(name: str, distance: float | None, threshold: float | None) -> Verdict:
    """The verdict on one face: its name, its distance and the threshold in the model's measure."""
    if distance is not None and threshold is not None:
        # The metadata have four decimals: rounded, so that the limits themselves are within.
        off = round(abs(distance - threshold), 6)
        if off <= round(UNSURE_SHARE * threshold, 6):
            return Verdict.UNSURE
    return Verdict.UNKNOWN if name == UNKNOWN else Verdict.SURE


def agreed_verdict(name: str, votes: int, frames: int, first: Verdict | None) -> Verdict:
    """The verdict on a name that `votes` of `frames` frames agree on.

    It is unsure without a majority. `first` is the verdict on the first frame's face, if that face
    has the agreed name: an unsure first frame outweighed by others does not make the name unsure.
    """
    if name == NO_FACE:
        return Verdict.NO_FACE
    if 2 * votes <= frames or (votes == 1 and first is Verdict.UNSURE):
        return Verdict.UNSURE
    return Verdict.UNKNOWN if name == UNKNOWN else Verdict.SURE
