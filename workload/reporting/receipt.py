"""What a run cost, and what alternatives would have cost: arithmetic on REPORT lines, no AWS."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from workload.reporting.invocations import WAITING_STEP, Invocation
from workload.reporting.looks import SecondLooks, second_looks
from workload.reporting.prices import Prices
from workload.reporting.slot_waits import SlotWaits, slot_waits

SQS_REQUESTS_PER_FRAME = 3  # send, receive, delete


@dataclass(frozen=True)
class Bill:
    """One function's share of the cost, and what it is for."""

    function: str
    memory_mb: tuple[int, ...]
    requests: int
    cold_starts: int
    gb_seconds: float
    requests_usd: float
    duration_usd: float

    @property
    def usd(self) -> float:
        """The price of requests and duration together."""
        return self.requests_usd + self.duration_usd


@dataclass(frozen=True)
class Receipt:
    """A run's costs in dollars. `frames` is how many frames the recognizer handled."""

    bills: tuple[Bill, ...]
    videos: int
    frames: int
    puts: int
    gets: int
    puts_usd: float
    gets_usd: float
    waiting_gb_seconds: float
    waiting_usd: float
    queue_usd: float
    rekognition_usd: float
    second: SecondLooks
    slots: SlotWaits

    @property
    def lambda_usd(self) -> float:
        """The price of both functions."""
        return sum(bill.usd for bill in self.bills)

    @property
    def usd(self) -> float:
        """The price of the whole run."""
        return self.lambda_usd + self.puts_usd + self.gets_usd + self.slots.usd

    @property
    def asynchronous_usd(self) -> float:
        """The price with a queue between the functions instead of a synchronous call."""
        return self.usd - self.waiting_usd + self.queue_usd

    @property
    def waiting_share(self) -> float:
        """The share of Lambda's price that pays for waiting, from 0 to 1."""
        return self.waiting_usd / self.lambda_usd if self.lambda_usd else 0.0

    @property
    def usd_per_thousand_videos(self) -> float | None:
        """The price of 1,000 such videos; None if there were no videos."""
        return 1000 * self.usd / self.videos if self.videos else None


def bill(function: str, invocations: Sequence[Invocation], prices: Prices) -> Bill:
    """One function's share. Invocations without a REPORT line are counted as requests only."""
    reports = [invocation.report for invocation in invocations if invocation.report is not None]
    gb_seconds = math.fsum(report.gb_seconds for report in reports)
    return Bill(
        function=function,
        memory_mb=tuple(sorted({report.memory_mb for report in reports})),
        requests=len(invocations),
        cold_starts=sum(invocation.is_cold for invocation in invocations),
        gb_seconds=gb_seconds,
        requests_usd=len(invocations) * prices.lambda_million_requests / 1_000_000,
        duration_usd=gb_seconds * prices.lambda_gb_second,
    )


def waiting_gb_seconds(splitter: Sequence[Invocation]) -> float:
    """Time spent in the synchronous call, times the splitter's memory."""
    return math.fsum(
        step.seconds * invocation.report.memory_mb / 1024
        for invocation in splitter
        if invocation.report is not None
        for step in invocation.steps
        if step.name == WAITING_STEP
    )


def frames_recognized(recognizer: Sequence[Invocation]) -> int:
    """How many different frames the recognizer's log lines name."""
    steps = (step for invocation in recognizer for step in invocation.steps)
    return len({str(s.notes["frame"]) for s in steps if s.name == "embed" and "frame" in s.notes})


def frames_kept(splitter: Sequence[Invocation]) -> int:
    """How many frames were already in the stage-1 bucket, so that no attempt wrote them."""
    kept: dict[str, int] = {}
    for invocation in splitter:
        for step in invocation.steps:
            if step.name == "frames" and "error" not in step.notes:
                video, reused = str(step.notes.get("video")), step.notes.get("reused") is True
                count = int(step.notes.get("frames", 0)) if reused else 0
                kept[video] = min(count, kept.get(video, count))
    return sum(kept.values())


def texts_written(recognizer: Sequence[Invocation]) -> int:
    """How many videos got a new text: those with a frame that any attempt computed."""
    new: dict[str, bool] = {}
    for invocation in recognizer:
        for step in invocation.steps:
            if step.name == "embed" and "frame" in step.notes:
                frame = str(step.notes["frame"])
                video = re.sub(r"(/output-\d+)?\.jpg$", "", frame)
                new[video] = new.get(video, False) or step.notes.get("new") is not False
    return sum(new.values())


def write_receipt(
    names: tuple[str, str],
    splitter: Sequence[Invocation],
    recognizer: Sequence[Invocation],
    videos: int,
    prices: Prices,
) -> Receipt:
    """The receipt of a run. `names`: the splitter and the recognizer. `videos`: how many uploads.

    S3 requests are inferred from what the code does. PUT: one per upload, one per frame that did
    not exist yet, one per video for its text, and one per second look for the frame it chose. GET
    and HEAD: per attempt, two HEADs of the video, one of the frame, and one read by ffmpeg (which
    may need more); per frame, two by the recognizer.
    """
    frames = frames_recognized(recognizer)
    waiting = waiting_gb_seconds(splitter)
    second = second_looks(splitter, recognizer, prices)
    new_frames = max(0, frames - frames_kept(splitter))
    puts = videos + new_frames + texts_written(recognizer) + len(second.videos)
    gets = 4 * len(splitter) + 2 * frames
    return Receipt(
        bills=(bill(names[0], splitter, prices), bill(names[1], recognizer, prices)),
        videos=videos,
        frames=frames,
        puts=puts,
        gets=gets,
        puts_usd=puts * prices.s3_thousand_puts / 1000,
        gets_usd=gets * prices.s3_thousand_gets / 1000,
        waiting_gb_seconds=waiting,
        waiting_usd=waiting * prices.lambda_gb_second,
        queue_usd=frames * SQS_REQUESTS_PER_FRAME * prices.sqs_million_requests / 1_000_000,
        rekognition_usd=frames * prices.rekognition_image,
        second=second,
        slots=slot_waits(splitter, prices),
    )
