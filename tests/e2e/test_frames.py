"""Several frames per video, and people enrolled from later frames of their own clips."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline.settings import Deployment
from samples.demo import run_videos
from samples.stack import client_side, running
from tests.e2e.conftest import AWS_SETTINGS, run_failures
from workload.grading.checks import PASS, object_checks
from workload.grading.objects import holdings, read_policy
from workload.running.videos import find_videos

PEOPLE = {"test_00.mp4": "Trump", "test_02.mp4": "Bean", "test_03.mp4": "Depp"}


@pytest.mark.slow
def test_people_enrolled_from_a_late_frame_are_recognized_in_the_first(
    shared_media: Path, ffmpeg: str, ffmpeg_zip: Path, tmp_path: Path
) -> None:
    people = tmp_path / "people"
    for video, name in PEOPLE.items():
        (people / name).mkdir(parents=True)
        argv = [ffmpeg, "-loglevel", "error", "-ss", "1.6", "-i", str(shared_media / video)]
        subprocess.run([*argv, "-frames:v", "1", str(people / name / "late.jpg")], check=True)

    with running(Deployment("clips"), people, aws_settings=AWS_SETTINGS) as stack:
        _, rows = run_videos(stack, find_videos(shared_media), PEOPLE, limit=120)

    assert {row.video: row.answer for row in rows} == PEOPLE


@pytest.mark.slow
def test_several_frames_have_one_text_and_one_json_per_video(
    people: Path, videos: Path, ffmpeg_zip: Path, tmp_path: Path
) -> None:
    # GIVEN a deployment that takes five frames per video and sends two per invocation
    settings = {
        "video-splitting.FRAMES": "5",
        "video-splitting.FRAMES_PER_INVOKE": "2",
        "video-splitting.ANSWERS": "txt+json",
    }
    chosen = tmp_path / "videos"
    chosen.mkdir()
    for name in ("test_01.mp4", "test_05.mp4", "test_10.mp4", "test_13.mp4"):
        (chosen / name).symlink_to(videos / name)
    expected = {
        "test_01.mp4": "Barack Obama",
        "test_05.mp4": "Unknown",
        "test_10.mp4": "No face",
        "test_13.mp4": "Barack Obama",  # in three frames; Joe Biden is in two
    }

    many = Deployment("many", "dev")
    with running(many, people, settings=settings, aws_settings=AWS_SETTINGS) as stack:
        aws, names = client_side(stack.aws), stack.deployment
        s3 = aws.client("s3")
        # GIVEN what an older deployment left
        origin = {"source-bucket": names.input_bucket, "source-key": "test_01.mp4"}
        old = "test_01/output-03.txt"
        s3.put_object(Bucket=names.output_bucket, Key=old, Body=b"Joe Biden", Metadata=origin)
        _, rows = run_videos(stack, find_videos(chosen), expected, limit=120)
        ends = sorted(f"{name[:-4]}.{end}" for name in expected for end in ("txt", "json"))
        assert _keys(s3, names.output_bucket) == ends
        frames = _keys(s3, names.stage_1_bucket)
        summary = s3.head_object(Bucket=names.output_bucket, Key="test_01.txt")
        details = {
            video: json.loads(s3.get_object(Bucket=names.output_bucket, Key=key)["Body"].read())
            for video, key in ((name, f"{name[:-4]}.json") for name in expected)
        }
        missing = run_failures(stack, "missing", "--older-than", "0")
        held, policy = holdings(aws, names), read_policy(aws, names)
        kept = {
            name: s3.head_object(Bucket=names.stage_1_bucket, Key=name)["Metadata"]["frame-time"]
            for name in frames
        }

    # THEN each video has one name, and beside it one object that says how it came about
    assert {row.video: row.answer for row in rows} == expected
    numbers = [f"output-{index:02d}" for index in range(5)]
    assert frames == [f"{row.video[:-4]}/{n}.jpg" for row in rows for n in numbers]
    assert json.loads(summary["Metadata"]["frames"]) == 5
    assert summary["Metadata"]["answers"] == "txt+json"
    for video, found in details.items():
        assert (found["video"].endswith(video), found["name"]) == (True, expected[video])
        times = [frame["time"] for frame in found["frames"]]
        assert times == pytest.approx([float(kept[f"{video[:-4]}/{n}.jpg"]) for n in numbers])
    both = {person["name"]: person for person in details["test_13.mp4"]["people"]}
    assert {name: person["frames"] for name, person in both.items()} == {
        "Barack Obama": 3,
        "Joe Biden": 2,
    }
    assert both["Barack Obama"]["last"] < 1 <= both["Joe Biden"]["first"]
    assert details["test_10.mp4"]["people"] == []
    # THEN none is missing
    assert ": 0 of 4 videos." in missing.stderr
    # THEN clients that count objects count right
    checks = object_checks(held, policy.frames, {}, policy.with_json)
    assert [check for check in checks if check.status != PASS] == []


def _keys(s3: Any, bucket: str) -> list[str]:
    return sorted(item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"])
