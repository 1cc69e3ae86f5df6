"""Clients and the splitter must use the same keys."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from pipeline.keys import frame_key, output_key
from pipeline.settings import ROOT

VIDEOS = [
    "test_00.mp4",
    "a b/ü.mp4",
    "c.mov",
    "d.MP4",
    "e.mov.mp4",
    "f.mp4.mp4",
    "g.tar.mp4",
    ".mp4",
]


def test_the_splitter_writes_the_keys_that_clients_expect() -> None:
    # in another process, because the names of the splitter's modules are not unique
    code = (
        "import frames, json, sys\n"
        "print(json.dumps([frames.frame_key(v, 0, 1) for v in json.load(sys.stdin)]))"
    )
    made = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "video-splitting",
        input=json.dumps(VIDEOS),
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(made.stdout) == [frame_key(video) for video in VIDEOS]


@pytest.mark.parametrize("video", VIDEOS)
def test_frame_and_output_have_the_same_stem(video: str) -> None:
    assert output_key(video).removesuffix(".txt") == frame_key(video).removesuffix(".jpg")
