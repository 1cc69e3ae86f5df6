"""How sure an answer is. The only place that defines "unsure"."""

from __future__ import annotations

from enum import Enum

from pipeline.answers import NO_FACE, UNKNOWN

# An answer is unsure if its distance is within this share of the threshold on either side: a name
# that only just passed, or a stranger who only just did not.
UNSURE_SHARE = 0.10


class Verdict(Enum):
    """How sure an answer is; the value is the CSS class on the page."""

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
        """One character, so that color is not the only cue."""
        return {"sure": "✓", "unsure": "≈", "unknown": "?", "no-face": "○", "missing": "!"}[
            self.value
        ]


def face_verdict(name: str, distance: float | None, threshold: float | None) -> Verdict:
    """The verdict on one face. Distance and threshold are in the model's own units."""
    if distance is not None and threshold is not None:
        # Metadata has four decimals. Round, so that the limits themselves count as unsure.
        off = round(abs(distance - threshold), 6)
        if off <= round(UNSURE_SHARE * threshold, 6):
            return Verdict.UNSURE
    return Verdict.UNKNOWN if name == UNKNOWN else Verdict.SURE


def agreed_verdict(
    name: str, votes: int, frames: int, distance: float | None, threshold: float | None
) -> Verdict:
    """The verdict on the answer of a video of which `frames` frames were looked at.

    `votes`: in how many of them the person is; `distance`: of the answer's face. A name is sure if
    its distance is, or if two or more frames that are a majority have it. `Unknown` is unsure if
    the nearest face is near enough for a name, which then lacked support, or only just too far.
    """
    if name == NO_FACE:
        return Verdict.NO_FACE
    can_compare = distance is not None and threshold is not None
    if name == UNKNOWN:
        is_near = distance is not None and threshold is not None and distance < threshold
        return Verdict.UNSURE if is_near else face_verdict(name, distance, threshold)
    if votes >= 2 and 2 * votes > frames:
        return Verdict.SURE
    return face_verdict(name, distance, threshold) if can_compare else Verdict.UNSURE
