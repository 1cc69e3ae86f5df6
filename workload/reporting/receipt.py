"""What a run cost, and what it would have cost otherwise: arithmetic on REPORT lines, no AWS."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from pipeline.settings import SettingsError
from workload.reporting.invocations import WAITING_STEP, Invocation

SQS_REQUESTS_PER_FRAME = 3  # send, receive, delete


class PricesError(SettingsError):
    """A file of prices cannot be used; the message says which and why."""


@dataclass(frozen=True)
class Prices:
    """Dollars. Check them against https://aws.amazon.com/pricing/ before you rely on them."""

    date: str = "2026-11, list prices as recalled: check before you rely on them"
    region: str = "us-east-1"
    lambda_gb_second: float = 0.0000166667  # x86; a price of your own may be arm64's
    lambda_million_requests: float = 0.20
    s3_thousand_puts: float = 0.005
    s3_thousand_gets: float = 0.0004  # HEAD is charged as GET
    sqs_million_requests: float = 0.40
    rekognition_image: float = 0.001

    @property
    def is_x86(self) -> bool:
        """Whether the GB-second is the list's, which is that of x86 functions."""
        return self.lambda_gb_second == Prices.lambda_gb_second


def load_prices(path: Path | None) -> Prices:
    """The prices above, with those in the JSON file at `path` (any of the names) put in.

    Raises PricesError for a file that is no such JSON, an unknown name, or what is no price.
    """
    if path is None:
        return Prices()
    names = {field.name: field.type for field in fields(Prices)}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PricesError(f"Cannot read the prices in {path}: {error}") from error
    if not isinstance(content, dict):
        raise PricesError(f"The prices in {path} must be a JSON object of {sorted(names)}.")
    for name, value in content.items():
        if name not in names:
            raise PricesError(f"{path} has the unknown price {name!r}: use {sorted(names)}.")
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        is_price = is_number and math.isfinite(value) and value >= 0
        if not (isinstance(value, str) if names[name] == "str" else is_price):
            raise PricesError(f"{name} in {path} is {value!r}: use dollars, 0 or more.")
    if "date" not in content:
        content["date"] = f"those of {path.name}, others {Prices.date}"
    return replace(Prices(), **content)


@dataclass(frozen=True)
class Bill:
    """One function's share. Dollars, and what they are for."""

    function: str
    memory_mb: tuple[int, ...]
    requests: int
    cold_starts: int
    gb_seconds: float
    requests_usd: float
    duration_usd: float

    @property
    def usd(self) -> float:
        """Requests and duration."""
        return self.requests_usd + self.duration_usd


@dataclass(frozen=True)
class Receipt:
    """A run's costs in dollars; `frames` were recognized."""

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

    @property
    def lambda_usd(self) -> float:
        """Both functions."""
        return sum(bill.usd for bill in self.bills)

    @property
    def usd(self) -> float:
        """All of the run."""
        return self.lambda_usd + self.puts_usd + self.gets_usd

    @property
    def asynchronous_usd(self) -> float:
        """The same without the waiting, with a queue between the functions."""
        return self.usd - self.waiting_usd + self.queue_usd

    @property
    def waiting_share(self) -> float:
        """Which part of both functions' price is the waiting; 0 to 1."""
        return self.waiting_usd / self.lambda_usd if self.lambda_usd else 0.0

    @property
    def usd_per_thousand_videos(self) -> float | None:
        """None when there were no videos."""
        return 1000 * self.usd / self.videos if self.videos else None


def bill(function: str, invocations: Sequence[Invocation], prices: Prices) -> Bill:
    """One function's share; invocations without a REPORT line count as requests alone."""
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
    """Time spent in the synchronous call times the memory that was paid for meanwhile."""
    return math.fsum(
        step.seconds * invocation.report.memory_mb / 1024
        for invocation in splitter
        if invocation.report is not None
        for step in invocation.steps
        if step.name == WAITING_STEP
    )


def frames_recognized(recognizer: Sequence[Invocation]) -> int:
    """Different frames that the recognizer's lines name."""
    steps = (step for invocation in recognizer for step in invocation.steps)
    return len(
        {str(s.notes["frame"]) for s in steps if s.name == "embed" and "frame" in s.notes}
    )


def frames_kept(splitter: Sequence[Invocation]) -> int:
    """Frames that were in the stage-1 bucket before and that no try had to write."""
    kept: dict[str, int] = {}
    for invocation in splitter:
        for step in invocation.steps:
            if step.name == "frames" and "error" not in step.notes:
                video, reused = str(step.notes.get("video")), step.notes.get("reused") is True
                count = int(step.notes.get("frames", 0)) if reused else 0
                kept[video] = min(count, kept.get(video, count))
    return sum(kept.values())


def texts_kept(recognizer: Sequence[Invocation]) -> int:
    """Frames whose text was in the output bucket before and that no try had to write."""
    kept: dict[str, bool] = {}
    for invocation in recognizer:
        for step in invocation.steps:
            if step.name == "embed" and "frame" in step.notes:
                frame = str(step.notes["frame"])
                kept[frame] = kept.get(frame, True) and step.notes.get("new") is False
    return sum(kept.values())


def write_receipt(
    names: tuple[str, str],
    splitter: Sequence[Invocation],
    recognizer: Sequence[Invocation],
    videos: int,
    prices: Prices,
) -> Receipt:
    """The receipt of a run. `names`: the splitter's and the recognizer's; `videos`: uploaded.

    S3's requests are counted from what the code does, once each: an upload a video; a frame and a
    text a frame, where they were not there before; for each try HEAD of video (twice) and frame and
    one read by ffmpeg, which may take more.
    """
    frames = frames_recognized(recognizer)
    waiting = waiting_gb_seconds(splitter)
    agreed = sum(step.name == "agree" for invocation in splitter for step in invocation.steps)
    written = 2 * frames - frames_kept(splitter) - texts_kept(recognizer)
    puts = videos + max(0, written) + agreed
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
    )
