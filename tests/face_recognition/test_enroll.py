"""Enrolling people from folders of photos."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import enroll
import gallery
import pytest
import torch
from PIL import Image

Run = Callable[[Path, Path, Path], "Done"]


@dataclass(frozen=True)
class Done:
    """The exit status and output of one run of the command."""

    returncode: int
    stdout: str
    stderr: str


def arguments(people: Path, output: Path, networks_dir: Path) -> list[str]:
    options = ["--output", str(output), "--model", "sface", "--models-dir", str(networks_dir)]
    return [str(people), *options]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """run(people, output, networks_dir) runs the command in this process, to save time."""

    def in_this_process(people: Path, output: Path, networks_dir: Path) -> Done:
        status = enroll.main(arguments(people, output, networks_dir))
        return Done(status, *capsys.readouterr())

    return in_this_process


def test_good_photos_are_enrolled_and_bad_ones_refused_with_a_reason(
    sample_photos: Path, networks_dir: Path, tmp_path: Path, run: Run
) -> None:
    # GIVEN a person's folder, a person's photo, and photos that cannot be used
    people = tmp_path / "people"
    for person, photos in {"Änn Ö": ["obama.jpg", "obama2.jpg", "t1.jpg", "coffee.png"]}.items():
        (people / person).mkdir(parents=True)
        for photo in photos:
            (people / person / photo).symlink_to(sample_photos / photo)
    (people / "Joe.jpg").symlink_to(sample_photos / "biden.jpg")
    (people / "Änn Ö" / "broken.jpg").write_bytes(b"no image")
    (people / "Änn Ö" / "notes.txt").write_text("no photo")
    (people / ".hidden").mkdir()

    done = run(people, tmp_path / "data.pt", networks_dir)

    assert done.returncode == 0
    assert "3 photos used, 4 refused\n2 people, 3 photos in the gallery" in done.stdout
    assert "closest photos of two people: " in done.stdout
    assert "furthest photos of one person: " in done.stdout
    assert "threshold: 0.637, the model's own: with 2 people" in done.stdout
    assert re.search(
        r"t1\.jpg: 6 faces at \[465, 262, 570, 405\] with probability 1\.000; .*"
        r"with probability 0\.975: none stands out\n",
        done.stderr,
    )
    assert "coffee.png: no face: exactly one is needed" in done.stderr
    assert "broken.jpg: it is not a readable image" in done.stderr
    assert "notes.txt: it is not a photo: JPEG, " in done.stderr
    assert "WARNING" not in done.stderr
    people_in_it = gallery.load(tmp_path / "data.pt", "sface")
    assert people_in_it.names == ("Joe", "Änn Ö", "Änn Ö")


def test_the_same_photos_give_the_same_gallery(
    people: Path, networks_dir: Path, tmp_path: Path, run: Run
) -> None:
    command = [sys.executable, enroll.__file__]
    command += arguments(people, tmp_path / "one.pt", networks_dir)
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=one_thread)
    assert done.returncode == 0
    assert f"wrote {tmp_path / 'one.pt'}" in done.stdout

    assert run(people, tmp_path / "two.pt", networks_dir).returncode == 0

    one, two = (gallery.load(tmp_path / name, "sface") for name in ("one.pt", "two.pt"))
    assert one.names == two.names == ("Barack Obama", "Eileen Collins", "Joe Biden")
    assert (one.embeddings == two.embeddings).all()


@pytest.mark.parametrize("kind", ["empty", "faceless", "called Unknown", "no model"])
def test_a_folder_that_cannot_be_enrolled_is_a_clear_error(
    sample_photos: Path, networks_dir: Path, tmp_path: Path, kind: str, run: Run
) -> None:
    people = tmp_path / "people"
    people.mkdir()
    message, folder = "has no photos", networks_dir
    if kind == "faceless":
        Image.new("RGB", (200, 200)).save(people / "Ann.png")
        message = "No photo shows one dominant face"
    if kind == "called Unknown":
        (people / "Unknown").mkdir()
        message = "'Unknown' is reserved for another answer"
    if kind == "no model":
        (people / "Ann.jpg").symlink_to(sample_photos / "obama.jpg")
        message, folder = "export.py", tmp_path
    output = tmp_path / "data.pt"
    output.write_text("an older gallery")

    done = run(people, output, folder)

    assert done.returncode == 1
    assert message in done.stderr
    assert output.read_text() == "an older gallery"


def test_people_without_a_usable_photo_are_named(
    sample_photos: Path, networks_dir: Path, tmp_path: Path, run: Run
) -> None:
    people = tmp_path / "people"
    for person in ("Ann", "Eve", "Iris", "Lost", "Mia"):
        (people / person).mkdir(parents=True)
    (people / "Ann" / "1.jpg").symlink_to(sample_photos / "obama.jpg")
    (people / "Ann" / "._1.jpg").write_bytes(b"metadata that macOS writes next to a file")
    (people / "Iris" / "1.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    (people / "Lost" / "1.jpg").symlink_to(tmp_path / "gone.jpg")
    (people / "Mia" / "cup.png").symlink_to(sample_photos / "coffee.png")
    (people / "Joe.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    (people / "list.txt").write_text("no person")

    done = run(people, tmp_path / "data.pt", networks_dir)

    assert done.returncode == 0
    assert "1 photo used, 5 refused\n1 person, 1 photo in the gallery" in done.stdout
    for refused in ("Iris/1.HEIC", "Joe.heic"):
        assert f"{refused}: it is HEIC, which cannot be read without the package" in done.stderr
    assert "Lost/1.jpg: [Errno 2] No such file" in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "WARNING: not enrolled: 5 people have no usable photo: Eve, Iris, Joe, Lost, Mia"
    )


def test_a_damaged_photo_of_any_kind_is_refused(
    sample_photos: Path, networks_dir: Path, tmp_path: Path, run: Run
) -> None:
    people = tmp_path / "people"
    people.mkdir()
    (people / "Ann.jpg").symlink_to(sample_photos / "obama.jpg")
    Image.new("RGB", (64, 64)).save(tmp_path / "whole.avif")
    head, _, pixels = (tmp_path / "whole.avif").read_bytes().partition(b"mdat")
    (people / "Bob.jpg").write_bytes(head + b"mdat" + bytes(len(pixels)))

    done = run(people, tmp_path / "data.pt", networks_dir)

    assert done.returncode == 0
    assert "Bob.jpg: it is not a readable image" in done.stderr
    assert "not enrolled: 1 person has no usable photo: Bob" in done.stderr


@pytest.mark.parametrize("kind", ["no such folder", "a folder", "not UTF-8"])
def test_a_run_that_cannot_succeed_fails_before_the_work(
    people: Path, networks_dir: Path, tmp_path: Path, kind: str, run: Run
) -> None:
    folder, output = people, tmp_path / "data.pt"
    if kind == "no such folder":
        output = tmp_path / "nowhere" / "data.pt"
        message = f"{output.parent} is not a folder"
    if kind == "a folder":
        output.mkdir()
        message = f"{output} is a folder"
    if kind == "not UTF-8":
        folder = tmp_path / "people"
        (folder / os.fsdecode(b"J\xf6rg")).mkdir(parents=True)
        message = f"b'{folder}/J\\xf6rg': the name is not UTF-8: rename it."

    # GIVEN no model file, so that the work itself would fail with another message
    done = run(folder, output, tmp_path)

    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {message}")
    assert not list(tmp_path.rglob("*.part"))


def test_a_photo_name_is_printed_escaped(
    sample_photos: Path, networks_dir: Path, tmp_path: Path, run: Run
) -> None:
    (tmp_path / "people" / "Ann").mkdir(parents=True)
    for name in (b"1\xf6\x1b.jpg", b"2.jpg"):
        photo = "obama.jpg" if name == b"2.jpg" else "obama2.jpg"
        (tmp_path / "people" / "Ann" / os.fsdecode(name)).symlink_to(sample_photos / photo)

    done = run(tmp_path / "people", tmp_path / "data.pt", networks_dir)

    assert done.returncode == 0
    assert "(Ann: 1\\udcf6\\x1b.jpg and 2.jpg)" in done.stdout


def portrait_with(
    sample_photos: Path, path: Path, other: str, box: tuple[int, int, int, int]
) -> None:
    """Obama's portrait with a face of another sample photo pasted into the top left corner."""
    portrait = Image.open(sample_photos / "obama.jpg").convert("RGB")
    portrait.paste(Image.open(sample_photos / other).convert("RGB").crop(box), (0, 0))
    portrait.save(path)


def test_a_dominant_face_is_enrolled_and_the_ignored_one_described(
    sample_photos: Path, networks_dir: Path, tmp_path: Path, run: Run
) -> None:
    (tmp_path / "people").mkdir()
    photo = tmp_path / "people" / "Obama.png"
    portrait_with(sample_photos, photo, "t1.jpg", (440, 240, 600, 430))

    done = run(tmp_path / "people", tmp_path / "data.pt", networks_dir)

    assert done.returncode == 0
    assert re.search(
        r"note: .*Obama\.png: enrolled the face at \[3\d\d, .*\] with probability [01]\.\d{3}, "
        r"ignored 1 face at \[\d+, \d+, \d+, \d+\] with probability",
        done.stderr,
    )
    alone = enroll.enroll(folder_of(sample_photos, tmp_path / "alone"), "sface", networks_dir, 240)
    (row,) = gallery.load(tmp_path / "data.pt", "sface").embeddings
    assert float(row @ alone.embeddings[0]) > 0.98

    strict = [*arguments(tmp_path / "people", tmp_path / "strict.pt", networks_dir), "--strict"]
    assert enroll.main(strict) == 1
    assert not (tmp_path / "strict.pt").exists()


def folder_of(sample_photos: Path, folder: Path) -> Path:
    folder.mkdir()
    (folder / "Obama.jpg").symlink_to(sample_photos / "obama.jpg")
    return folder


def test_two_equal_faces_are_refused_with_their_boxes(
    sample_photos: Path, networks_dir: Path, tmp_path: Path, run: Run
) -> None:
    people = folder_of(sample_photos, tmp_path / "people")
    one = Image.open(sample_photos / "obama.jpg").convert("RGB")
    both = Image.new("RGB", (one.width * 2, one.height))
    both.paste(one, (0, 0))
    both.paste(one, (one.width, 0))
    both.save(people / "Two.png")

    done = run(people, tmp_path / "data.pt", networks_dir)

    assert re.search(
        r"Two\.png: 2 faces at (\[.*\] with probability [01]\.\d+(; )?){2}: none stands out",
        done.stderr,
    )
    assert "no usable photo: Two" in done.stderr


def test_poor_photos_and_wrong_ones_are_warned_about(
    sample_photos: Path, networks_dir: Path, tmp_path: Path, run: Run
) -> None:
    people = tmp_path / "people"
    for person, photos in {
        "Obama": ["obama.jpg", "obama2.jpg", "astronaut.png"],
        "Somebody": ["obama3.jpg"],
    }.items():
        (people / person).mkdir(parents=True)
        for photo in photos:
            (people / person / photo).symlink_to(sample_photos / photo)
    dark = Image.open(sample_photos / "biden.jpg").convert("RGB").point(lambda value: value * 0.3)
    dark.save(people / "Joe.jpg")

    done = run(people, tmp_path / "data.pt", networks_dir)

    assert done.returncode == 0
    assert re.search(r"WARNING: .*Joe\.jpg: the face is dark: brightness \d+ of 255", done.stderr)
    assert "Obama: astronaut.png looks like somebody else: its distance to" in done.stderr
    assert re.search(r"(Obama and Somebody|Somebody and Obama) are 0\.\d{3} apart", done.stderr)
    assert "Obama: without astronaut.png in the gallery, it would be Unknown" in done.stderr


def test_the_threshold_is_written_into_the_gallery(
    people: Path, networks_dir: Path, tmp_path: Path, run: Run
) -> None:
    done = run(people, tmp_path / "data.pt", networks_dir)

    metadata = torch.load(tmp_path / "data.pt", weights_only=True)[2]
    assert metadata == {"model": "sface", "image_size": 240, "threshold": pytest.approx(0.637)}
    assert f"threshold: {metadata['threshold']:.3f}" in done.stdout


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ([], 2, "pass the folder with the people's photos"),
        (["nowhere"], 2, "nowhere is not a folder"),
        (["--add", "nowhere"], 2, "nowhere is not a folder"),
        (["people", "--list"], 2, "pass people to --add"),
        (["people", "--image-size", "0"], 2, "use 32 to 1024 pixels"),
        (["people", "--model", "none"], 2, "invalid choice: 'none'"),
        (["empty"], 1, "has no photos"),
        (["bad"], 1, "'unknown' is reserved"),
        (["people", "--output", "empty"], 1, "empty is a folder"),
        (["people", "--output", "no/data.pt"], 1, "no is not a folder"),
        (["people", "--output", "fifo"], 1, "fifo is not a regular file"),
        (["people", "--models-dir", "empty"], 1, "networks.json'): run python3"),
        (["--list"], 1, "There is no gallery data.pt"),
        (["--list", "--output", "a\x1b.pt"], 1, r"There is no gallery a\x1b.pt"),
        (["--remove", "Ann"], 1, "There is no gallery data.pt"),
        (["--list", "--gallery", "fifo"], 1, "fifo is not a gallery: it is not a regular file"),
        (["--merge", "fifo"], 1, "fifo is not a gallery"),
        (["--merge", "gone.pt"], 1, "No such file or directory: 'gone.pt'"),
    ],
)
def test_an_error_of_use_comes_without_torch(
    tmp_path: Path, sample_photos: Path, words: list[str], status: int, message: str
) -> None:
    for folder in ("people", "empty", "bad/unknown"):
        (tmp_path / folder).mkdir(parents=True)
    for photo in ("people/Ann.jpg", "bad/unknown/1.jpg"):
        (tmp_path / photo).symlink_to(sample_photos / "obama.jpg")
    os.mkfifo(tmp_path / "fifo")
    code = (
        "import sys; sys.modules['torch'] = None; sys.path.insert(0, sys.argv.pop(1)); "
        "import enroll; sys.exit(enroll.main())"
    )
    command = [sys.executable, "-c", code, str(Path(enroll.__file__).parent), *words]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert done.returncode == status, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_default_model_is_the_one_that_the_function_is_told(
    tmp_path: Path, sample_photos: Path
) -> None:
    (tmp_path / "Ann.jpg").symlink_to(sample_photos / "obama.jpg")
    command = [sys.executable, enroll.__file__, str(tmp_path), "--output", str(tmp_path / "a.pt")]

    done = subprocess.run(
        command, env={**os.environ, "MODEL": "none"}, capture_output=True, text=True
    )

    assert done.returncode == 1
    assert "There is no model 'none': choose one of facenet-vggface2, sface." in done.stderr


def test_a_python_without_the_packages_is_told_where_they_are() -> None:
    command = [sys.executable, "-S", enroll.__file__, "people"]  # -S: no site-packages

    done = subprocess.run(command, capture_output=True, text=True)

    assert done.returncode == 1
    assert "needs what `make demo` installs: .venv/bin/python" in done.stderr
    assert "Traceback" not in done.stderr
