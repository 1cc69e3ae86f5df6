"""The cost of many uploads: throughput, and peak memory of the generator and the local AWS.

Each run goes through the real pipeline on a local AWS. The numbers would show a generator that
keeps more than a name and times per upload, or a server that keeps videos in memory.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.command import parser
from local_aws.process import StartError
from pipeline.settings import Deployment
from samples.clips import ffmpeg_from, make_people, make_videos
from samples.packages import SampleError, fetch_photos
from samples.stack import BUILD, Stack, running
from samples.undisturbed import undisturbed
from workload.running.run import load


def peak_mb(pid: int) -> float:
    """The peak resident memory of a running process so far, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"Process {pid} has ended.")


@dataclass(frozen=True)
class Generated:
    """What the generator took: peak memory in MB, duration and CPU time in seconds."""

    peak_mb: float
    seconds: float
    cpu_s: float


def generate(stack: Stack, videos: Path, count: int, run_file: Path) -> Generated:
    """Run the generator for `count` uploads; raise SystemExit if it fails."""
    options = ("--repeat", str(count), "--clear", "--yes", "--deadline", "1200")
    files = ("--run", str(run_file), "--expected-out", str(run_file.with_suffix(".csv")))
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "workload" / "generate.py"), "--testcase-folder", str(videos)]
        + ["--prefix", stack.deployment.prefix, *options, *files],
        env={**os.environ, **stack.aws.environ},
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # else Popen takes it for running
    if process.returncode != 0:
        raise SystemExit(f"generate.py failed after {count} uploads: see above")
    seconds = time.monotonic() - started
    return Generated(usage.ru_maxrss / 1024, seconds, usage.ru_utime + usage.ru_stime)


@contextmanager
def sample_run() -> Iterator[tuple[Stack, Path, Path]]:
    """A pipeline on a local AWS, the folder of the sample videos, and a temporary folder."""
    photos = fetch_photos(BUILD / "samples" / "photos")
    people = make_people(photos, BUILD / "samples" / "people")
    with (
        undisturbed(),
        running(Deployment("bench"), people) as stack,
        tempfile.TemporaryDirectory() as folder,
    ):
        videos = make_videos(photos, BUILD / "samples" / "videos", ffmpeg_from(BUILD))
        yield stack, videos, Path(folder)


def main() -> None:
    """Run the generator once per count and print a table."""
    command = parser(__doc__)
    command.add_argument(
        "counts", type=int, nargs="*", default=[100, 1000], help="default 100 1000"
    )
    options = command.parse_args()
    with sample_run() as (stack, videos, folder):
        rows = []
        for count in options.counts:
            run_file = folder / f"{count}.json"
            cost = generate(stack, videos, count, run_file)
            answered = sum(video.answered is not None for video in load(run_file).videos)
            rows.append((count, answered, cost.seconds, cost.peak_mb, peak_mb(stack.aws.pid)))
    print("uploads  answered  seconds  videos/s  generator peak  server peak")
    for count, answered, seconds, memory, server in rows:
        print(
            f"{count:7}  {answered:8}  {seconds:7.0f}  {answered / seconds:8.1f}"
            f"  {memory:11.0f} MB  {server:8.0f} MB"
        )


if __name__ == "__main__":
    try:
        main()
    except (SampleError, StartError) as error:
        raise SystemExit(f"Error: {error}") from error
