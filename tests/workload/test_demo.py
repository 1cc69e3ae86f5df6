"""The demo, with one file that is not a video."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.settings import ROOT


@pytest.mark.slow
def test_the_demo_says_why_a_video_failed(videos: Path, ffmpeg_zip: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    shutil.copy(videos / "test_00.mp4", mixed / "good.mp4")
    (mixed / "bad.mp4").write_text("This is not a video.")
    (tmp_path / "r.html").write_text("earlier")
    words = ["--prefix", "shown", "--videos", str(mixed), "--report", str(tmp_path / "r.html")]

    done = subprocess.run(
        [sys.executable, "-m", "samples.demo", *words, "--limit", "60"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1, done.stderr
    reasons = [line for line in done.stdout.splitlines() if line.startswith("bad.mp4: ")]
    assert len(reasons) == 1
    assert "UnreadableVideo" in reasons[0]
    # AND the earlier report is kept beside the new one
    (kept,) = tmp_path.glob("r-*.html")
    assert kept.read_text() == "earlier"
    assert f"The earlier report is kept: {kept}" in done.stderr
