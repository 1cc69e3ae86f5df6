"""Long random runs and many uploads: `make soak`. A short one is in `make test-slow`."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from bench.uploads import generate
from pipeline.keys import output_key
from pipeline.settings import Deployment
from samples.clips import ffmpeg_from, make_people, make_videos
from samples.stack import BUILD, running
from tests.e2e.conftest import AWS_SETTINGS, run_failures
from tests.soak.machine import Machine
from tests.soak.world import World
from workload.running.run import load

MINUTES = float(os.environ.get("SOAK_MINUTES", "6"))
UPLOADS = int(os.environ.get("SOAK_UPLOADS", "2000"))
STEPS = 30
# Peak resident memory, in MB; of the client, what it gains. The functions may use far more.
MOST_MB = {"server": 450, "video-splitting": 150, "face-recognition": 500, "client": 200}
MOST_GENERATOR_MB = 150


@pytest.fixture(scope="module")
def world(sample_photos: Path, ffmpeg_zip: Path) -> Iterator[World]:
    """A pipeline, and the sample videos."""
    people = make_people(sample_photos, BUILD / "samples" / "people")
    videos = make_videos(sample_photos, BUILD / "samples" / "videos", ffmpeg_from(BUILD))
    with running(Deployment("soak"), people, aws_settings=AWS_SETTINGS) as stack:
        world = World(stack, videos)
        yield world
        print("\n" + "\n".join(f"{name:32} {value:8,}" for name, value in world.figures.items()))
        for name, value in world.peaks.items():
            print(f"peak memory of {name:17} {value:8,.0f} MB of at most {MOST_MB[name]}")


def run_machine(world: World, examples: int, steps: int) -> None:
    """Run the machine with random steps."""

    class Bound(Machine):
        pass

    Bound.world = world
    run_state_machine_as_test(
        Bound,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            phases=(Phase.generate,),  # to shrink a failure would take hours
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        ),
    )


def check_memory(world: World) -> None:
    """Every process stays within its limit."""
    world.measure()
    assert {n: p for n, p in world.peaks.items() if p > MOST_MB[n]} == {}, world.peaks


@pytest.mark.slow
def test_every_video_of_a_short_random_run_is_accounted_for(world: World) -> None:
    run_machine(world, 3, 12)

    assert world.figures["runs"] >= 3
    assert world.figures["answered"] > 0
    check_memory(world)


@pytest.mark.soak
@pytest.mark.timeout(MINUTES * 60 + 600)
def test_every_video_of_long_random_runs_is_accounted_for(world: World) -> None:
    end = time.monotonic() + MINUTES * 60
    while time.monotonic() < end:
        run_machine(world, 3, STEPS)

    check_memory(world)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_many_uploads_at_once_are_all_answered_right(world: World, tmp_path: Path) -> None:
    run_file = tmp_path / "run.json"
    videos = BUILD / "samples" / "videos"

    cost = generate(world.stack, videos, UPLOADS, run_file)

    answered = [video for video in load(run_file).videos if video.answered is not None]
    with run_file.with_suffix(".csv").open(encoding="utf-8") as file:
        expected = {row["video"]: row["name"] for row in csv.DictReader(file)}
    texts = {key: world.text(output_key(key)) for key in expected}
    world.figures["uploads at once"] = len(expected)
    world.figures["answered per minute"] = round(len(answered) * 60 / cost.seconds)
    world.figures["generator's peak memory, MB"] = round(cost.peak_mb)
    assert len(answered) == UPLOADS
    assert {key: found and found[0] for key, found in texts.items()} == expected
    missing = run_failures(world.stack, "missing", "--older-than", "0")
    assert f"0 of {UPLOADS:,} videos" in missing.stderr
    assert cost.peak_mb < MOST_GENERATOR_MB
    check_memory(world)
