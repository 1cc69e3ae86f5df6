"""What becomes of a video for each fault at each step. Prints docs/faults.md.

.venv/bin/python -m tests.faults.table > docs/faults.md
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

RIGHT = "right"

HEAD_VIDEO, HEAD_KEPT, GET_VIDEO = "HEAD video", "HEAD kept frame", "ffmpeg's GET"
PUT_FRAME, LIST_LEFT, INVOKE = "PUT frame", "LIST leftovers", "Invoke"
GET_FRAME, HEAD_OUTPUT, PUT_OUTPUT = "GET frame", "HEAD output", "PUT output"
LAST_HEAD = "last HEAD"
# Each step in order, with the error that the failure queue names if it keeps failing.
STEPS = {
    HEAD_VIDEO: "StoreRefused",
    HEAD_KEPT: "StoreRefused",
    GET_VIDEO: "VideoUnreachable",
    PUT_FRAME: "StoreRefused",
    LIST_LEFT: "StoreRefused",
    INVOKE: "StoreRefused",
    GET_FRAME: "RecognitionFailed",
    HEAD_OUTPUT: "RecognitionFailed",
    PUT_OUTPUT: "RecognitionFailed",
    LAST_HEAD: "StoreRefused",
}
FAULTS = {
    "500": "the service answers 500",
    "503": "the service answers 503",
    "429": "the service answers 429",
    "403": "the service answers 403",
    "reset": "the connection is reset before an answer",
    "lost": "the request is served, and the connection is reset before the answer arrives",
    "half": "half of the answer arrives, then the connection is reset",
    "slow": "the answer arrives in four parts, a tenth of a second apart",
    "hang": "silence",
}
ONCE, FOUR, ALWAYS = 1, 4, 1_000_000
TIMES = {ONCE: "once", FOUR: "four times", ALWAYS: "always"}
# A step that takes no more than one of an event's three attempts withstands four faults only if
# one attempt can meet two of them.
ROWS = [
    *((fault, times) for fault in ("500", "503", "429", "403") for times in TIMES),
    *((fault, times) for fault in ("reset", "lost", "half") for times in TIMES),
    ("slow", ALWAYS),
    ("hang", ONCE),
    ("hang", ALWAYS),
]


@dataclass(frozen=True)
class Cell:
    """One fault at one step, as often as `times` says, and what becomes of the video.

    `outcome` is RIGHT or the type of the error in the failure queue.
    """

    fault: str
    times: int
    step: str

    @property
    def name(self) -> str:
        """The cell in words."""
        return f"{self.fault} {TIMES[self.times]}, {self.step}"

    @property
    def outcome(self) -> str:
        """RIGHT, or the type of the error in the failure queue."""
        if (
            self.fault == "slow"
            or self.times == ONCE
            or (self.fault, self.step) in DONE_ALL_THE_SAME
        ):
            return RIGHT
        if self.times == FOUR and (self.fault, self.step) not in TRIED_ONCE_PER_ATTEMPT:
            return RIGHT
        return BY_CAUSE.get((self.fault, self.step), STEPS[self.step])

    @property
    def is_quick(self) -> bool:
        """Whether `make test` runs it."""
        return (self.fault, self.times, self.step) in QUICK


# The request did what it should; the next attempt finds it done.
DONE_ALL_THE_SAME = {
    (fault, step) for fault in ("lost", "half") for step in (PUT_FRAME, PUT_OUTPUT)
}
# Not repeated within an attempt of the event: rights do not come back within seconds, and a call
# that may have run is not made twice.
TRIED_ONCE_PER_ATTEMPT = {
    *(("403", step) for step in STEPS),
    *((fault, INVOKE) for fault in ("reset", "lost", "half")),
    ("429", GET_VIDEO),
} - {("403", LIST_LEFT)}  # two lists at a time
# What says more than that a service refused.
BY_CAUSE = {
    ("403", HEAD_VIDEO): "VideoForbidden",
    ("403", GET_VIDEO): "VideoForbidden",
    ("500", INVOKE): "RecognitionUnavailable",
    ("503", INVOKE): "RecognitionUnavailable",
    ("429", INVOKE): "RecognitionThrottled",
}
QUICK = {
    ("503", FOUR, HEAD_VIDEO),
    ("reset", ONCE, HEAD_KEPT),
    ("half", ONCE, GET_VIDEO),
    ("lost", ALWAYS, PUT_FRAME),
    ("500", FOUR, INVOKE),
    ("429", ONCE, INVOKE),
    ("lost", ONCE, INVOKE),
    ("hang", ONCE, GET_FRAME),
    ("503", ALWAYS, HEAD_OUTPUT),
    ("lost", FOUR, PUT_OUTPUT),
    ("403", ALWAYS, LAST_HEAD),
}
GRID = [Cell(fault, times, step) for fault, times in ROWS for step in STEPS]


def page() -> str:
    """docs/faults.md."""
    lines = [
        "# What becomes of a video when a request fails",
        "",
        "[Back to the README](../README.md)",
        "",
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.stdout.write(page())
