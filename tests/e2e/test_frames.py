"""Several frames per video, and people enrolled from later frames of their own clips."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from pipeline.settings import Deployment
from samples.demo import run_videos
from samples.stack import client_side, running
from workload.running.videos import find_videos

PEOPLE = {"test_00.mp4": "Trump", "test_02.mp4": "Bean", "test_03.mp4": "Depp"}


def test_people_enrolled_from_a_late_frame_are_recognized_in_the_first(
    shared_media: Path, ffmpeg: str, ffmpeg_zip: Path, tmp_path: Path
) -> None:
    people = tmp_path / "people"
    for video, name in PEOPLE.items():
        (people / name).mkdir(parents=True)
        argv = [ffmpeg, "-loglevel", "error", "-ss", "1.6", "-i", str(shared_media / video)]
        subprocess.run([*argv, "-frames:v", "1", str(people / name / "late.jpg")], check=True)

    with running(Deployment("clips"), people) as stack:
        _, rows = run_videos(stack, find_videos(shared_media), PEOPLE, limit=120)

    assert {row.video: row.answer for row in rows} == PEOPLE


def test_several_frames_agree_on_a_name(
    people: Path, videos: Path, ffmpeg_zip: Path, tmp_path: Path
) -> None:
    # GIVEN a deployment that takes five frames per video and sends two per invocation
    settings = {"video-splitting.FRAMES": "5", "video-splitting.FRAMES_PER_INVOKE": "2"}
    chosen = tmp_path / "videos"
    chosen.mkdir()
    for name in ("test_01.mp4", "test_05.mp4", "test_10.mp4"):
        (chosen / name).symlink_to(videos / name)

    with running(Deployment("many", "dev"), people, settings=settings) as stack:
        _, rows = run_videos(stack, find_videos(chosen), {}, limit=120)
        s3 = client_side(stack.aws).client("s3")
        frames, outputs = (
            _keys(s3, bucket)
            for bucket in (stack.deployment.stage_1_bucket, stack.deployment.output_bucket)
        )
        summary = s3.head_object(Bucket=stack.deployment.output_bucket, Key="test_01.txt")

    # THEN each frame has its own text, and the video has the name they agree on
    assert [row.answer for row in rows] == ["Barack Obama", "Unknown", "No face"]
    numbers = [f"output-{index:02d}" for index in range(5)]
    assert frames == [f"{row.video[:-4]}/{n}.jpg" for row in rows for n in numbers]
    texts = [f"{row.video[:-4]}/{n}.txt" for row in rows for n in numbers]
    assert outputs == sorted([*texts, *(f"{row.video[:-4]}.txt" for row in rows)])
    assert json.loads(summary["Metadata"]["frames"]) == 5


def _keys(s3: Any, bucket: str) -> list[str]:
    return sorted(item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"])
