#!/usr/bin/env python3
"""Compare the price of 1,000 videos of one frame: python3 bench/price.py

The sample videos run through the whole pipeline on a local AWS, with FRAMES=1: with torch at 3008
MB, as the project once was, and with the default engine at the default memory. The receipt of each
run has list prices. Cold starts are in it, as both deployments are new.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.command import parser
from bench.results import Target, report
from local_aws.process import StartError
from pipeline.settings import Deployment
from samples.clips import ffmpeg_from, make_people, make_videos
from samples.demo import run_videos
from samples.packages import SampleError, fetch_photos
from samples.stack import BUILD, Stack, client_side, running
from samples.undisturbed import undisturbed
from workload.reporting.evidence import gather
from workload.reporting.prices import load_prices
from workload.reporting.receipt import write_receipt
from workload.running.videos import find_videos

BEFORE = ("torch", 3008)  # the engine, and the recognizer's memory in MB


def price(engine: str, memory_mb: int | None, people: Path, videos: list[Path]) -> float:
    """Dollars for 1,000 videos, by the receipt of a run."""
    os.environ["ENGINE"] = engine
    settings = {"video-splitting.FRAMES": "1"}
    with running(Deployment("price"), people, settings=settings) as stack:
        if memory_mb is not None:
            set_memory(stack, memory_mb)
        run, rows = run_videos(stack, videos, {}, 300)
        if any(row.answer is None for row in rows):
            raise SampleError("A video has no answer, so the price would be wrong.")
        aws, deployment = client_side(stack.aws), stack.deployment
        evidence = gather(aws, deployment, run)
    names = (deployment.splitter.name, deployment.recognizer.name)
    logs = (evidence.splitter, evidence.recognizer)
    receipt = write_receipt(names, *logs, len(videos), load_prices(None))
    return 1000 * receipt.usd / receipt.videos


def set_memory(stack: Stack, memory_mb: int) -> None:
    """Give the recognizer this memory."""
    functions, name = client_side(stack.aws).client("lambda"), stack.deployment.recognizer.name
    functions.update_function_configuration(FunctionName=name, MemorySize=memory_mb)
    functions.get_waiter("function_updated_v2").wait(FunctionName=name)


def main() -> None:
    """Run both deployments and say whether the price is as wanted."""
    parser(__doc__).parse_args()
    photos = fetch_photos(BUILD / "samples" / "photos")
    people = make_people(photos, BUILD / "samples" / "people")
    videos = find_videos(make_videos(photos, BUILD / "samples" / "videos", ffmpeg_from(BUILD)))
    with undisturbed():
        before = price(*BEFORE, people, videos)
        now = price("ncnn", None, people, videos)
    print(f"1,000 videos of one frame: {before:.4f} USD with torch, {now:.4f} USD now")
    what = f"price of 1,000 videos of one frame, of that with {BEFORE[0]} at {BEFORE[1]} MB"
    report("price", [Target(what, now / before, 0.5)], {"before": before, "now": now})


if __name__ == "__main__":
    try:
        main()
    except (SampleError, StartError) as error:
        raise SystemExit(f"Error: {error}") from error
