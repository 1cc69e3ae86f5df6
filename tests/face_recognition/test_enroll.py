"""Enrolling people from folders of photos."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import enroll
import gallery
import pytest
from PIL import Image


def run(people: Path, output: Path, models_dir: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, enroll.__file__, str(people), "--output", str(output)]
    command += ["--model", "sface", "--models-dir", str(models_dir)]
    return subprocess.run(command, capture_output=True, text=True)


def test_good_photos_are_enrolled_and_bad_ones_refused_with_their_reason(
    sample_photos: Path, models_dir: Path, tmp_path: Path
) -> None:
    # GIVEN a folder a person, a photo a person, and photos that cannot be used
    people = tmp_path / "people"
    for person, photos in {"Änn Ö": ["obama.jpg", "obama2.jpg", "t1.jpg", "coffee.png"]}.items():
        (people / person).mkdir(parents=True)
        for photo in photos:
            (people / person / photo).symlink_to(sample_photos / photo)
    (people / "Joe.jpg").symlink_to(sample_photos / "biden.jpg")
    (people / "Änn Ö" / "broken.jpg").write_bytes(b"no image")
    (people / "Änn Ö" / "notes.txt").write_text("no photo")
    (people / ".hidden").mkdir()

    done = run(people, tmp_path / "data.pt", models_dir)

    assert done.returncode == 0
    assert "2 people, 3 photos used, 3 refused" in done.stdout
    assert "closest two people: " in done.stdout
    assert "furthest within a person: " in done.stdout
    assert "suggested threshold: " in done.stdout
    assert "t1.jpg: 6 faces, one is needed" in done.stderr
    assert "coffee.png: no faces, one is needed" in done.stderr
    assert "broken.jpg: it is no image that can be read" in done.stderr
    people_in_it = gallery.load(tmp_path / "data.pt", "sface")
    assert people_in_it.names == ("Joe", "Änn Ö", "Änn Ö")


def test_the_same_photos_give_the_same_gallery(
    people: Path, models_dir: Path, tmp_path: Path
) -> None:
    for name in ("one.pt", "two.pt"):
        assert run(people, tmp_path / name, models_dir).returncode == 0

    one, two = (gallery.load(tmp_path / name, "sface") for name in ("one.pt", "two.pt"))
    assert one.names == two.names == ("Barack Obama", "Eileen Collins", "Joe Biden")
    assert (one.embeddings == two.embeddings).all()


@pytest.mark.parametrize("kind", ["empty", "faceless", "called Unknown", "no model"])
def test_what_cannot_be_enrolled_is_a_clear_error(
    sample_photos: Path, models_dir: Path, tmp_path: Path, kind: str
) -> None:
    people = tmp_path / "people"
    people.mkdir()
    message, folder = "has no photos", models_dir
    if kind == "faceless":
        Image.new("RGB", (200, 200)).save(people / "Ann.png")
        message = "No photo shows exactly one face"
    if kind == "called Unknown":
        (people / "Unknown").mkdir()
        message = "nobody can be called 'Unknown'"
    if kind == "no model":
        (people / "Ann.jpg").symlink_to(sample_photos / "obama.jpg")
        message, folder = "models.py fetch sface", tmp_path
    output = tmp_path / "data.pt"
    output.write_text("an older gallery")

    done = run(people, output, folder)

    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert output.read_text() == "an older gallery"
