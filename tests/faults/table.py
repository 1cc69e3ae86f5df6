"""What happens to a video for each fault at each step. Prints docs/faults.md.

.venv/bin/python -m tests.faults.table > docs/faults.md
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
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
ROWS = [
    *((fault, times) for fault in ("500", "503", "429", "403") for times in TIMES),
    *((fault, times) for fault in ("reset", "lost", "half") for times in TIMES),
    ("slow", ALWAYS),
    ("hang", ONCE),
    ("hang", ALWAYS),
]


@dataclass(frozen=True)
class Cell:
    """One fault at one step, as often as `times` says."""

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
        place = self.fault, self.step
        if self.fault == "slow" or self.times == ONCE or place in HARMLESS:
            return RIGHT
        if self.times == FOUR and place not in TRIED_ONCE:
            return RIGHT
        return BY_CAUSE.get(place, STEPS[self.step])

    @property
    def is_quick(self) -> bool:
        """Whether `make test` runs it."""
        return (self.fault, self.times, self.step) in QUICK


# The request has done what it should, and the next attempt finds it done; or half of the sample
# video has its first frame.
HARMLESS = {
    *((fault, step) for fault in ("lost", "half") for step in (PUT_FRAME, PUT_OUTPUT)),
    ("half", GET_VIDEO),
}
# Made once per attempt of the event, so that four faults outlast all three: rights do not come back
# within seconds, and a call that may have run is not made twice. But two leftovers are listed.
TRIED_ONCE = {
    *(("403", step) for step in STEPS if step != LIST_LEFT),
    *((fault, INVOKE) for fault in ("reset", "lost", "half")),
    ("429", GET_VIDEO),
}
# Errors that say more than that a service refused.
BY_CAUSE = {
    ("403", HEAD_VIDEO): "VideoForbidden",
    ("403", GET_VIDEO): "VideoForbidden",
    ("500", INVOKE): "RecognitionUnavailable",
    ("503", INVOKE): "RecognitionUnavailable",
    ("429", INVOKE): "RecognitionThrottled",
}
# What `make test` runs, at least one of each fault and one at each step.
QUICK = {
    ("503", FOUR, HEAD_VIDEO),
    ("reset", ONCE, HEAD_KEPT),
    ("half", FOUR, GET_VIDEO),
    ("lost", ALWAYS, PUT_FRAME),
    ("slow", ALWAYS, LIST_LEFT),
    ("500", FOUR, INVOKE),
    ("429", ONCE, INVOKE),
    ("lost", ONCE, INVOKE),
    ("hang", ONCE, GET_FRAME),
    ("503", ALWAYS, HEAD_OUTPUT),
    ("lost", FOUR, PUT_OUTPUT),
    ("403", ALWAYS, LAST_HEAD),
}
GRID = [Cell(fault, times, step) for fault, times in ROWS for step in STEPS]

OVERWRITTEN, DELETED, REPEATED = "overwritten", "deleted", "repeated"
SPLITTER_KILLED, RECOGNIZER_KILLED = "splitter killed", "recognizer killed"
RECOGNIZER_STOPPED = "recognizer stopped"
# What happens while a step runs, once.
EVENTS = {
    OVERWRITTEN: "another video is uploaded under the key and answered; right is that one's name",
    DELETED: "the video is deleted",
    REPEATED: "the same event arrives again",
    SPLITTER_KILLED: "the splitter's environments are killed",
    RECOGNIZER_KILLED: "the recognizer's environments are killed",
    RECOGNIZER_STOPPED: "the recognizer stands still until its time is over",
}
# The last steps that a video must be there for.
BEFORE_READ = (HEAD_VIDEO, HEAD_KEPT, GET_VIDEO)
WHERE = {RECOGNIZER_KILLED: (GET_FRAME, HEAD_OUTPUT, PUT_OUTPUT), RECOGNIZER_STOPPED: (GET_FRAME,)}


@dataclass(frozen=True)
class Event:
    """Something that happens once, while a step runs."""

    kind: str
    step: str

    @property
    def name(self) -> str:
        """The event in words."""
        return f"{self.kind}, {self.step}"

    @property
    def outcome(self) -> str:
        """RIGHT, or the type of the error in the failure queue."""
        return "VideoGone" if self.kind == DELETED and self.step in BEFORE_READ else RIGHT


MEANWHILE = [Event(kind, step) for kind in EVENTS for step in WHERE.get(kind, STEPS)]

INTRODUCTION = """\
# What happens to a video when something fails

[Back to the README](../README.md)

Generated by `.venv/bin/python -m tests.faults.table > docs/faults.md`; do not edit.
`tests/e2e/test_faults.py` checks every cell on a deployed pipeline. Its functions reach S3 and
Lambda through a proxy that breaks one step of each video (`tests/faults/proxy.py`).

Every video is answered right, or a message in the failure queue names it, or both if the fault came
after the answer. No video is lost, and none gets another video's name. "right" means answered right
and not in the failure queue; otherwise, the cell has the error's type in the queue.

Clients try a request up to three times. The splitter calls the recognizer up to five times, but
never again if it may have run. Lambda tries an event three times. So "four times" outlasts one
attempt of the event, and "always" outlasts all three.
"""


def page() -> str:
    """docs/faults.md."""
    requests = {f"{f} {TIMES[n]}": [Cell(f, n, step).outcome for step in STEPS] for f, n in ROWS}
    outcomes = {(event.kind, event.step): event.outcome for event in MEANWHILE}
    events = {kind: [outcomes.get((kind, step), "") for step in STEPS] for kind in EVENTS}
    parts = [
        INTRODUCTION,
        "## A request fails\n",
        _matrix(requests),
        _legend(FAULTS),
        'A right that is taken and given back within an event is "403 once".\n',
        "## Something else happens meanwhile\n",
        _matrix(events),
        _legend(EVENTS),
    ]
    return "\n".join(parts)


def _matrix(rows: Mapping[str, Sequence[str]]) -> str:
    """One row per fault and one column per step."""
    lines = [["", *STEPS], ["---"] * (len(STEPS) + 1)]
    for name, outcomes in rows.items():
        lines.append([name, *(f"`{o}`" if o not in ("", RIGHT) else o for o in outcomes)])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _legend(texts: Mapping[str, str]) -> str:
    """What the rows' names mean."""
    return "".join(f"- {name}: {text}\n" for name, text in texts.items())


if __name__ == "__main__":
    sys.stdout.write(page())
