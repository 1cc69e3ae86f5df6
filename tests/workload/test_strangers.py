"""The strangers of the sample videos: from the upload to a gallery that knows one of them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.settings import ROOT, Deployment
from samples.clips import make_people
from samples.stack import running
from tests.workload.conftest import BUILD, PLAIN, Place


@pytest.mark.slow
@pytest.mark.parametrize("frames", ["auto", "3"])
def test_the_six_strangers_of_the_demo_are_six(
    sample_photos: Path, videos: Path, ffmpeg_zip: Path, tmp_path: Path, frames: str
) -> None:
    people = make_people(sample_photos, BUILD / "samples" / "people")
    settings = {"face-recognition.KEEP_EMBEDDINGS": "1", "video-splitting.FRAMES": frames}
    with running(Deployment("met"), people, settings=settings) as stack:
        place = Place(stack.aws, stack.deployment)
        files = ("--run", tmp_path / "run.json", "--report", tmp_path / "run.html")
        # Without the deployment's file: what is deployed counts, not what is set here.
        done = place.generate("--testcase-folder", videos, *files)
        assert done.returncode == 0, done.stderr
        page = (tmp_path / "run.html").read_text()
        (found,) = re.findall(r'id="strangers">(.*?)</script>', page)
        faces = json.loads(found)["strangers"]
        shown = {n: {face["key"].split("/")[0].split(".")[0] for face in faces[n]} for n in faces}
        assert shown == {
            "1": {"test_06", "test_11"},
            **{str(n): {f"test_0{v}"} for n, v in enumerate((4, 5, 7, 8, 9), 2)},
        }

        gallery = tmp_path / "data.pt"
        shutil.copy(BUILD / "gallery-sface.pt", gallery)
        words = [
            "--gallery",
            gallery,
            "--add-stranger",
            tmp_path / "run.json",
            "1",
            "--name",
            "Ross",
        ]
        enrolled = subprocess.run(
            [sys.executable, str(ROOT / "face-recognition" / "enroll.py"), *map(str, words)],
            env={**PLAIN, **stack.aws.environ},
            capture_output=True,
            text=True,
        )
        assert enrolled.returncode == 0, enrolled.stderr
        assert "4 people, 8 photos in the gallery" in enrolled.stdout
