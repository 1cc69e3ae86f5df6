#!/usr/bin/env python3
"""Simulate small accounts, with Lambda's rules for events: python3 bench/slot_simulation.py

Three ways from an upload to the splitter at a limit of ten functions at once: S3 invokes it; S3
invokes it and a splitter that gets no recognizer (429) ends at once, to come back later; and a
queue that lets five splitters in. A video holds one slot while it is split and two while its
faces are recognized. A throttled event comes back after 1, 2, 4 ... 300 s until it is too old.
"""

from __future__ import annotations

import heapq
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.command import parser
from workload.running.latency import percentile

WAYS = ("S3 invokes", "429 gives the slot back", "a queue lets 5 in")
# Seconds. The splitter's own work at 512 MB (0.29 of a core), and one warm frame.
SPLIT_S, RECOGNIZE_S, COLD_S = 0.8, 0.3, 1.0
KEPT_S = 0.1  # instead, if its frames are in stage-1 already
# The splitter's timeout, and what it keeps for a whole call of the recognizer.
TIMEOUT_S, CALL_S = 240.0, 65.0
MAX_AGE_S = 3600.0
RETRIES_S = (60.0, 120.0)
FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 300.0


@dataclass
class Video:
    """One upload on its way. `ended` is when it was answered; None if it never was."""

    uploaded: float
    throttles: int = 0
    attempts: int = 0
    is_split: bool = False
    ended: float | None = None


@dataclass
class Account:
    """Discrete events, and the slots that are taken."""

    limit: int
    way: str
    split_s: float
    seed: int = 0
    now: float = 0.0
    used: int = 0
    splitters: int = 0
    warm: dict[str, int] = field(default_factory=lambda: {"splitter": 0, "recognizer": 0})
    waiting: list[Video] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start with nothing to do."""
        self._order = count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._random = random.Random(self.seed)  # noqa: S311 - jitter

    def run(self, videos: list[Video]) -> None:
        """Run until nothing is left to do."""
        for video in videos:
            self._at(video.uploaded, partial(self._arrive, video))
        while self._due:
            self.now, _, action = heapq.heappop(self._due)
            action()

    def _at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (when, next(self._order), action))

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self._at(self.now + seconds, action)

    def _arrive(self, video: Video) -> None:
        if self.way == WAYS[2]:
            self.waiting.append(video)
            self._let_in()
            return
        if self.now - video.uploaded > MAX_AGE_S:
            return  # expired
        if self.used >= self.limit:
            self._come_back(video)
            return
        self._split(video)

    def _let_in(self) -> None:
        while self.waiting and self.splitters < self.limit // 2 and self.used < self.limit:
            self._split(self.waiting.pop(0))

    def _come_back(self, video: Video) -> None:
        delay = min(FIRST_DELAY_S * 2**video.throttles, LONGEST_DELAY_S)
        video.throttles += 1
        self._after(delay, partial(self._arrive, video))

    def _start(self, kind: str) -> float:
        self.used += 1
        if self.warm[kind]:
            self.warm[kind] -= 1
            return 0.0
        return COLD_S

    def _end(self, kind: str) -> None:
        self.used -= 1
        self.warm[kind] += 1

    def _split(self, video: Video) -> None:
        self.splitters += 1
        cold, began = self._start("splitter"), self.now
        work = KEPT_S if video.is_split else self.split_s
        video.is_split = True
        self._after(cold + work, partial(self._call, video, began + cold, 0))

    def _call(self, video: Video, began: float, attempt: int) -> None:
        if self.used < self.limit:
            cold = self._start("recognizer")
            self._after(cold + RECOGNIZE_S, partial(self._answer, video))
            return
        if self.way == WAYS[1]:
            self._leave()
            self._come_back(video)
            return
        pause = self._random.uniform(0, min(10.0, 0.2 * 2**attempt))
        if TIMEOUT_S - (self.now - began) - pause >= CALL_S:
            self._after(pause, partial(self._call, video, began, attempt + 1))
            return
        self._leave()
        video.attempts += 1
        if video.attempts <= len(RETRIES_S):
            self._after(RETRIES_S[video.attempts - 1], partial(self._arrive, video))

    def _answer(self, video: Video) -> None:
        self._end("recognizer")
        video.ended = self.now
        self._leave()

    def _leave(self) -> None:
        self.splitters -= 1
        self._end("splitter")
        self._let_in()


def simulate(
    way: str, number: int, rate: float, limit: int = 10, split_s: float = SPLIT_S
) -> dict[str, float]:
    """The figures of `number` videos uploaded at `rate` a second. Times are in seconds."""
    videos = [Video(index / rate) for index in range(number)]
    Account(limit, way, split_s).run(videos)
    waits = [video.ended - video.uploaded for video in videos if video.ended is not None]
    ends = [video.ended for video in videos if video.ended is not None]
    return {
        "answered": len(waits),
        "lost": number - len(waits),
        "p50_s": percentile(waits, 50) if waits else 0.0,
        "p95_s": percentile(waits, 95) if waits else 0.0,
        "total_s": max(ends, default=0.0),
        "needed_s": max(number / rate, number * (split_s + RECOGNIZE_S) / (limit // 2)),
    }


def main() -> None:
    """Print a table."""
    command = parser(__doc__)
    command.add_argument("counts", type=int, nargs="*", default=[100, 200], help="default 100 200")
    command.add_argument("--rate", type=float, default=10, help="uploads a second; default: 10")
    command.add_argument("--limit", type=int, default=10, help="functions at once; default: 10")
    command.add_argument("--split", type=float, default=SPLIT_S, help=f"s; default: {SPLIT_S}")
    options = command.parse_args()
    print(
        f"{'way':25} {'videos':>6} {'answered':>8} {'p50 s':>7} {'p95 s':>7} {'total s':>8} needed"
    )
    for way in WAYS:
        for number in options.counts:
            found = simulate(way, number, options.rate, options.limit, options.split)
            print(
                f"{way:25} {number:6} {found['answered']:8} {found['p50_s']:7.1f} "
                f"{found['p95_s']:7.1f} {found['total_s']:8.1f} {found['needed_s']:6.1f}"
            )


if __name__ == "__main__":
    main()
