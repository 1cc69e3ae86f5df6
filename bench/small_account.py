#!/usr/bin/env python3
"""Upload to an account that may run ten functions at once: python3 bench/small_account.py

100 videos, ten a second, go through the whole pipeline on a local AWS with that limit. All must be
answered, in at most 1.5 times what five pairs of a splitter and a recognizer need: the mean time of
a warm pair in the same run, less any waiting for a slot, or the uploads if those take longer.
bench/slot_simulation.py compares ways to get there by Lambda's rules.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.command import parser
from bench.results import Target, report
from local_aws.process import StartError
from pipeline.settings import Deployment
from samples.clips import ffmpeg_from, make_people, make_videos
from samples.packages import SampleError, fetch_photos
from samples.stack import BUILD, Stack, client_side, running, say
from samples.undisturbed import undisturbed
from workload.reporting.evidence import Evidence, gather
from workload.reporting.invocations import QUEUED_STEP, Invocation
from workload.reporting.slot_waits import slot_s
from workload.running.drive import Drive
from workload.running.latency import percentile
from workload.running.run import save
from workload.running.videos import find_videos, plan

LIMIT = 10
MOST = 1.5  # times what the pairs need
DEADLINE_S = 900.0


def warm_pair_s(evidence: Evidence) -> float:
    """The mean seconds of a splitter whose video met no cold start, less waiting for slots."""
    seconds = []
    for found in evidence.of_video.values():
        if any(invocation.is_cold or invocation.has_failed for _, invocation in found):
            continue
        for function, invocation in found:
            if function.key == "video-splitting" and invocation.report is not None:
                seconds.append(invocation.report.duration_ms / 1000 - slot_s(invocation))
    if not seconds:
        raise SystemExit("FAIL: every video met a cold start, so nothing is known of warm ones")
    return statistics.fmean(seconds)


def measure(
    stack: Stack, videos: list[Path], number: int, rate: float, run_file: Path | None = None
) -> dict[str, Any]:
    """Upload `number` videos at `rate` a second; return the run's figures, times in seconds.

    `run_file` gets the run, for workload/report.py.
    """
    aws = client_side(stack.aws)
    drive = Drive(aws, stack.deployment, plan(videos, number), 8, 1 / rate, say)
    drive.upload_and_wait(DEADLINE_S, lambda: None)
    run = drive.result()
    if run_file is not None:
        save(run, run_file)
    evidence = gather(aws, stack.deployment, run)
    latencies = [video.latency_s for video in run.videos if video.latency_s is not None]
    ended = max((v.answered for v in run.videos if v.answered is not None), default=run.ended)
    uploading = max(video.stored for video in run.videos) - run.started
    pair = warm_pair_s(evidence)
    steps = [step for invocation in evidence.splitter for step in invocation.steps]
    queued = [step.seconds for step in steps if step.name == QUEUED_STEP]
    return {
        "videos": number,
        "answered": len(latencies),
        "failed": sum(bool(video.failure) for video in run.videos),
        "expired": sum("Expired" in v.failure or "Exceeded" in v.failure for v in run.videos),
        "p50_s": percentile(latencies, 50),
        "p95_s": percentile(latencies, 95),
        "total_s": ended - run.started,
        "uploading_s": uploading,
        "warm_pair_s": pair,
        "needed_s": max(uploading, number * pair / (LIMIT // 2)),
        "queued_p50_s": percentile(queued, 50) if queued else 0.0,
        "slots_waited_s": sum(map(slot_s, evidence.splitter)),
        "splitters_at_once": at_once(evidence.splitter),
        "attempts": len(evidence.splitter),
    }


def at_once(invocations: list[Invocation]) -> int:
    """The most invocations that ran at the same time."""
    marks = [(i.started, 1) for i in invocations] + [(i.ended, -1) for i in invocations]
    running, most = 0, 0
    for _, change in sorted(marks):
        running += change
        most = max(most, running)
    return most


def targets(found: dict[str, Any]) -> list[Target]:
    """What is wanted of a run."""
    return [
        Target("videos answered", found["answered"], found["videos"], at_least=True),
        Target("videos expired", found["expired"], 0),
        Target("videos failed", found["failed"], 0),
        Target("time of five pairs", found["total_s"] / found["needed_s"], MOST),
    ]


def main() -> None:
    """Print the figures and the targets."""
    command = parser(__doc__)
    command.add_argument("--videos", type=int, default=100, help="default: 100")
    command.add_argument("--rate", type=float, default=10, help="uploads a second; default: 10")
    options = command.parse_args()
    photos = fetch_photos(BUILD / "samples" / "photos")
    people = make_people(photos, BUILD / "samples" / "people")
    videos = find_videos(make_videos(photos, BUILD / "samples" / "videos", ffmpeg_from(BUILD)))
    limits = {"account_concurrency": LIMIT, "max_concurrency": LIMIT}
    with undisturbed(), running(Deployment("small"), people, aws_settings=limits) as stack:
        found = measure(stack, videos, options.videos, options.rate)
    print(f"\n{options.videos} videos, {options.rate:g} a second, {LIMIT} functions at once")
    for name, value in found.items():
        print(f"  {name:18} {value:8.4g}")
    report("small_account", targets(found), found)


if __name__ == "__main__":
    try:
        main()
    except (SampleError, StartError) as error:
        raise SystemExit(f"Error: {error}") from error
