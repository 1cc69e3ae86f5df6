"""Whether answers are right, in numbers and in words. Answered and right are two things."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from pipeline.cli import counted
from workload.running.expected import is_expected


class Outcome(Enum):
    """What became of a video, in the order of interest; the value is what tables say.

    UNCHECKED: it has an answer, and nobody said what is right.
    """

    WRONG = "WRONG"
    MISSING = "MISSING"
    RIGHT = "right"
    UNCHECKED = ""

    @classmethod
    def of(cls, answer: str | None, expected: str | None) -> Outcome:
        """The outcome of a video with this answer, None for none."""
        if answer is None:
            return cls.MISSING
        if expected is None:
            return cls.UNCHECKED
        return cls.RIGHT if is_expected(answer, expected) else cls.WRONG

    @property
    def rank(self) -> int:
        """Where it comes in a list: wrong ones first, then missing ones, then all others."""
        return {Outcome.WRONG: 0, Outcome.MISSING: 1}.get(self, 2)


@dataclass(frozen=True)
class Score:
    """How many videos have which outcome.

    `missing` ones have no answer but an expected name, `lost` ones neither.
    """

    right: int = 0
    wrong: int = 0
    missing: int = 0
    unchecked: int = 0
    lost: int = 0

    @classmethod
    def of(cls, outcomes: Iterable[tuple[Outcome, bool]]) -> Score:
        """Count outcomes, each with whether a name was expected."""
        counts = Counter(outcomes)
        return cls(
            right=counts[Outcome.RIGHT, True],
            wrong=counts[Outcome.WRONG, True],
            missing=counts[Outcome.MISSING, True],
            unchecked=counts[Outcome.UNCHECKED, False] + counts[Outcome.UNCHECKED, True],
            lost=counts[Outcome.MISSING, False],
        )

    @property
    def expected(self) -> int:
        """Of how many videos it is known whether they were recognized."""
        return self.right + self.wrong + self.missing

    @property
    def answered(self) -> int:
        """How many videos have an answer, whatever it is."""
        return self.right + self.wrong + self.unchecked

    @property
    def videos(self) -> int:
        """All videos."""
        return self.answered + self.missing + self.lost

    @property
    def is_good(self) -> bool:
        """Whether every video has an answer and none is known to be wrong."""
        return self.answered == self.videos and not self.wrong

    def __str__(self) -> str:
        """The headline: "88 of 100 right, 12 wrong", or "8 of 8 videos answered"."""
        if not self.expected:
            return f"{self.answered} of {counted(self.videos, 'video')} answered"
        parts = [f"{self.right} of {self.expected} right"]
        parts += [f"{self.wrong} wrong"] if self.wrong else []
        parts += [f"{self.missing} missing"] if self.missing else []
        others = self.unchecked + self.lost
        if others:
            parts.append(f"{self.unchecked} of {counted(others, 'other')} answered")
        return ", ".join(parts)
