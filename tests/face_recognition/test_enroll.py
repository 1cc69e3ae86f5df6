"""Enrolling people from folders of photos."""

from __future__ import annotations

import os
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
    assert "2 people, 3 photos used, 4 refused" in done.stdout
    assert "closest two people: " in done.stdout
    assert "furthest within a person: " in done.stdout
    assert "suggested threshold: " in done.stdout
    assert "t1.jpg: 6 faces, one is needed" in done.stderr
    assert "coffee.png: no faces, one is needed" in done.stderr
    assert "broken.jpg: it is no image that can be read" in done.stderr
    assert "notes.txt: it is no photo of a known kind (.avif, .bmp, " in done.stderr
    assert "WARNING" not in done.stderr
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


def test_people_without_a_photo_that_was_used_are_named(
    sample_photos: Path, models_dir: Path, tmp_path: Path
) -> None:
    people = tmp_path / "people"
    for person in ("Ann", "Eve", "Iris", "Lost", "Mia"):
        (people / person).mkdir(parents=True)
    (people / "Ann" / "1.jpg").symlink_to(sample_photos / "obama.jpg")
    (people / "Ann" / "._1.jpg").write_bytes(b"what macOS leaves beside a file")
    (people / "Iris" / "1.HEIC").write_bytes(b"what an iPhone writes")
    (people / "Lost" / "1.jpg").symlink_to(tmp_path / "gone.jpg")
    (people / "Mia" / "cup.png").symlink_to(sample_photos / "coffee.png")
    (people / "Joe.heic").write_bytes(b"a photo a person")
    (people / "list.txt").write_text("no person")

    done = run(people, tmp_path / "data.pt", models_dir)

    assert done.returncode == 0
    assert "1 person, 1 photo used, 5 refused" in done.stdout
    for refused in ("Iris/1.HEIC", "Joe.heic"):
        assert f"{refused}: it is HEIC, which cannot be read: export it as JPEG" in done.stderr
    assert "Lost/1.jpg: [Errno 2] No such file" in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "WARNING: not enrolled: 5 people have no photo that was used: Eve, Iris, Joe, Lost, Mia"
    )


def test_a_damaged_photo_of_any_kind_is_refused(
    sample_photos: Path, models_dir: Path, tmp_path: Path
) -> None:
    people = tmp_path / "people"
    people.mkdir()
    (people / "Ann.jpg").symlink_to(sample_photos / "obama.jpg")
    Image.new("RGB", (64, 64)).save(tmp_path / "whole.avif")
    head, _, pixels = (tmp_path / "whole.avif").read_bytes().partition(b"mdat")
    (people / "Bob.jpg").write_bytes(head + b"mdat" + bytes(len(pixels)))

    done = run(people, tmp_path / "data.pt", models_dir)

    assert done.returncode == 0
    assert "Bob.jpg: it is no image that can be read" in done.stderr
    assert "not enrolled: 1 person has no photo that was used: Bob" in done.stderr


@pytest.mark.parametrize("kind", ["no such folder", "a folder", "not UTF-8"])
def test_what_would_fail_in_the_end_is_told_before_the_work(
    people: Path, models_dir: Path, tmp_path: Path, kind: str
) -> None:
    folder, output = people, tmp_path / "data.pt"
    if kind == "no such folder":
        output = tmp_path / "nowhere" / "data.pt"
        message = f"{output.parent} is no folder"
    if kind == "a folder":
        output.mkdir()
        message = f"{output} is a folder"
    if kind == "not UTF-8":
        folder = tmp_path / "people"
        (folder / os.fsdecode(b"J\xf6rg")).mkdir(parents=True)
        message = f"b'{folder}/J\\xf6rg': the name is not UTF-8: rename it."

    # GIVEN no model: what needs one is not even tried
    done = run(folder, output, tmp_path)

    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {message}")
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.part"))


def test_a_photos_undecodable_name_is_told_as_it_can_be(
    sample_photos: Path, models_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "people" / "Ann").mkdir(parents=True)
    for name in (b"1\xf6.jpg", b"2.jpg"):
        (tmp_path / "people" / "Ann" / os.fsdecode(name)).symlink_to(sample_photos / "obama.jpg")

    done = run(tmp_path / "people", tmp_path / "data.pt", models_dir)

    assert done.returncode == 0
    assert "(Ann: 1\\udcf6.jpg and 2.jpg)" in done.stdout
