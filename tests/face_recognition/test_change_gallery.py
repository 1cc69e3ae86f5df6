"""Changing a gallery that exists: --list, --add, --remove and --merge."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import enroll
import gallery
import numpy as np
import pytest
import torch

Run = Callable[..., SimpleNamespace]


def save(path: Path, *names: str, seed: int = 0, model: str = "sface", size: int = 240) -> Path:
    """A gallery with one random row per name and the threshold 0.5."""
    rows = np.random.default_rng(seed).normal(size=(len(names), gallery.LENGTHS[model]))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    gallery.save(path, list(rows.astype(np.float32)), list(names), model, size, 0.5)
    return path


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """run(*words) runs enroll.py in `tmp_path` and returns its status and output."""
    monkeypatch.chdir(tmp_path)

    def in_this_process(*words: object) -> SimpleNamespace:
        status = enroll.main([str(word) for word in words])
        out, err = capsys.readouterr()
        return SimpleNamespace(status=status, out=out, err=err)

    return in_this_process


def names(path: Path) -> tuple[str, ...]:
    return gallery.load(path, None).names


def test_list_shows_people_and_writes_nothing(tmp_path: Path, run: Run) -> None:
    path = save(tmp_path / "data.pt", "Cid", "Ann Lee", "Ann Lee")
    before = path.read_bytes()

    done = run("--list")

    assert done.status == 0
    assert done.out.splitlines()[:3] == [
        "Ann Lee  2 photos",
        "Cid      1 photo",
        "2 people, 3 photos in the gallery, model sface",
    ]
    assert done.out.splitlines()[-2].startswith("threshold: 0.500 is in the file; this one would")
    assert done.out.splitlines()[-1].startswith("threshold: 0.637, the model's own")
    assert "rote" not in done.out
    assert json.loads(run("--list", "--json").out) == {
        "model": "sface",
        "image_size": 240,
        "threshold": 0.5,
        "people": [{"name": "Ann Lee", "photos": 2}, {"name": "Cid", "photos": 1}],
    }
    assert path.read_bytes() == before


def test_list_remove_and_merge_load_no_network(tmp_path: Path) -> None:
    save(tmp_path / "data.pt", "Ann", "Bob")
    save(tmp_path / "more.pt", "Cid", seed=1)
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import enroll; status = enroll.main(); "
        "print({'cv2', 'ncnn', 'torch', 'facenet_pytorch'} & set(sys.modules)); sys.exit(status)"
    )
    command = [sys.executable, "-c", code, str(Path(enroll.__file__).parent)]
    words = ["--list", "--remove", "Ann", "--merge", "more.pt"]

    done = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "set()"
    assert names(tmp_path / "data.pt") == ("Bob", "Cid")


@pytest.mark.parametrize("spelling", ["ann  lee", "ANN LEE", "Ann Lee"])
def test_a_person_is_removed_whatever_the_spelling(tmp_path: Path, run: Run, spelling: str) -> None:
    path = save(tmp_path / "data.pt", "Ann Lee", "Bob", "Ann Lee")
    before = gallery.load(path, None).embeddings[1]

    done = run("--remove", spelling)

    assert done.status == 0
    assert f"note: removed {spelling}: 2 photos" in done.err
    assert names(path) == ("Bob",)
    assert np.allclose(gallery.load(path, None).embeddings[0], before)
    assert torch.load(path, weights_only=True)[2]["threshold"] == pytest.approx(0.637)
    assert "threshold: 0.637" in done.out
    assert "the file had 0.500" in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--remove", "Dan"], "Nobody is called 'Dan': the gallery has Ann, Bob."),
        (["--remove", "Ann", "--remove", "Bob"], "Nobody would be left"),
        (["--merge", "other.pt"], "One gallery was made with sface at 240 px, the other with"),
        (["--merge", "small.pt"], "sface at 112 px"),
        (["--add", "people", "--model", "facenet-vggface2"], "was made with --model sface"),
        (["--add", "people", "--image-size", "160"], "was made with --image-size 240"),
        (["--merge", "text.pt"], "text.pt is not a gallery"),
        (["--merge", "unknown.pt"], "'unknown' is reserved for another answer"),
        (["--merge", "new.pt"], "made with the model new, which is not one of facenet"),
    ],
)
def test_what_cannot_be_done_leaves_the_gallery_alone(
    tmp_path: Path, sample_photos: Path, run: Run, words: list[str], message: str
) -> None:
    path = save(tmp_path / "data.pt", "Ann", "Bob")
    save(tmp_path / "other.pt", "Cid", model="facenet-vggface2")
    save(tmp_path / "small.pt", "Cid", size=112)
    save(tmp_path / "unknown.pt", "unknown")
    torch.save([[torch.ones(1, 128)], ["Ann"], {"model": "new"}], tmp_path / "new.pt")
    (tmp_path / "text.pt").write_text("no gallery")
    (tmp_path / "people").mkdir()
    (tmp_path / "people" / "Dan.jpg").symlink_to(sample_photos / "obama.jpg")
    before = path.read_bytes()

    done = run(*words)

    assert done.status == 1
    assert done.err.startswith("Error: ")
    assert message in done.err
    assert path.read_bytes() == before


def test_merging_keeps_one_copy_of_a_photo_and_one_spelling(tmp_path: Path, run: Run) -> None:
    path = save(tmp_path / "data.pt", "Ann Lee", "Bob")
    save(tmp_path / "same.pt", "ann lee", "Bob")
    save(tmp_path / "more.pt", "ANN LEE", "Cid", seed=1)

    done = run("--merge", "same.pt", "--merge", "more.pt")

    assert names(path) == ("Ann Lee", "Bob", "Ann Lee", "Cid")
    assert done.err.count("is the same picture as photo 1") == 2
    assert "note: 'ANN LEE' is 'Ann Lee', one person" in done.err


def test_one_picture_under_two_names_is_merged_with_a_warning(tmp_path: Path, run: Run) -> None:
    path = save(tmp_path / "data.pt", "Ann")
    save(tmp_path / "other.pt", "Bob")

    done = run("--merge", "other.pt")

    assert names(path) == ("Ann", "Bob")
    assert "WARNING: Ann and Bob are 0.000 apart" in done.err.replace("-0.000", "0.000")


def test_merging_into_a_new_file_gives_an_older_gallery_a_threshold(
    tmp_path: Path, run: Run
) -> None:
    rows = [torch.ones(1, 512), -torch.ones(1, 512)]
    torch.save([rows, ["Ann", "A\u0308nn"]], tmp_path / "old.pt")

    assert run("--merge", "old.pt", "--output", "new.pt").status == 0

    assert torch.load(tmp_path / "new.pt", weights_only=True)[1:] == [
        ["Ann", "\u00c4nn"],
        {"model": "facenet-vggface2", "image_size": 240, "threshold": pytest.approx(0.9)},
    ]


def test_adding_embeds_only_the_new_photos(
    tmp_path: Path, sample_photos: Path, networks_dir: Path, run: Run
) -> None:
    path = save(tmp_path / "data.pt", "Barack Obama", "Bob")
    before = gallery.load(path, None).embeddings
    (tmp_path / "more" / "barack obama").mkdir(parents=True)
    for photo in ("obama.jpg", "obama2.jpg"):
        (tmp_path / "more" / "barack obama" / photo).symlink_to(sample_photos / photo)
    (tmp_path / "more" / "Joe.jpg").symlink_to(sample_photos / "biden.jpg")
    words = ("--add", "more", "--models-dir", networks_dir)

    once, twice = run(*words), run(*words)

    assert "3 photos used, 0 refused\n3 people, 5 photos in the gallery" in once.out
    assert names(path) == ("Barack Obama", "Bob", "Joe", "Barack Obama", "Barack Obama")
    assert np.allclose(gallery.load(path, None).embeddings[:2], before)
    assert "3 people, 5 photos in the gallery" in twice.out
    assert twice.err.count("is the same picture as") == 3


def test_removing_comes_before_adding(
    tmp_path: Path, sample_photos: Path, networks_dir: Path, run: Run
) -> None:
    path = save(tmp_path / "data.pt", "Joe")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "Joe.jpg").symlink_to(sample_photos / "biden.jpg")

    done = run("--add", "more", "--remove", "Joe", "--models-dir", networks_dir)

    assert done.status == 0
    assert names(path) == ("Joe",)
    assert "1 person, 1 photo in the gallery" in done.out


def test_a_dry_run_says_everything_and_writes_nothing(
    tmp_path: Path, people: Path, networks_dir: Path, run: Run
) -> None:
    path = save(tmp_path / "data.pt", "Ann", "Bob")
    before = path.read_bytes()

    removed = run("--remove", "Ann", "--dry-run")
    made = run(
        people, "--output", "x.pt", "--model", "sface", "--models-dir", networks_dir, "--dry-run"
    )

    assert "1 person, 1 photo in the gallery" in removed.out
    assert removed.out.splitlines()[-1] == "Would write data.pt"
    assert made.out.splitlines()[-1] == "Would write x.pt"
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["data.pt"]


@pytest.fixture
def report(s3: Any, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A report of a run with one stranger, whose two embeddings are in S3."""
    for name, value in (("ENDPOINT_URL", endpoint), ("ACCESS_KEY_ID", "t"), ("PROFILE", "")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "t")
    rows = np.random.default_rng(9).normal(size=(1, 128)) + [[0.0], [0.05]] * np.ones(128)
    for number, row in enumerate(
        (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("<f4")
    ):
        text = base64.b64encode(row.tobytes()).decode()
        body = {"model": "sface", "image-size": 240, "faces": [{"embedding": text}]}
        key = f"v/output-0{number}.jpg.faces.json"
        s3.put_object(Bucket="p-stage-1", Key=key, Body=json.dumps(body))
    faces = [{"key": f"v/output-0{number}.jpg.faces.json", "face": 0} for number in range(2)]
    found = {"bucket": "p-stage-1", "region": "us-east-1", "strangers": {"3": faces}}
    script = f'<script type="application/json" id="strangers">{json.dumps(found)}</script>'
    (tmp_path / "run.html").write_text(f"<p>{script}</p>")
    return tmp_path / "run.html"


def test_a_stranger_of_a_run_gets_a_name(tmp_path: Path, run: Run, report: Path) -> None:
    path = save(tmp_path / "data.pt", "Cid", "Ann Lee")

    done = run("--add-stranger", "run.json", "3", "--name", " Ada  Lovelace ")

    assert done.status == 0, done.err
    assert names(path) == ("Cid", "Ann Lee", "Ada Lovelace", "Ada Lovelace")
    assert "added Ada Lovelace: 2 faces" in done.err


def test_a_stranger_who_cannot_be_added_changes_nothing(
    tmp_path: Path, run: Run, report: Path, s3: Any
) -> None:
    path = save(tmp_path / "data.pt", "Cid", "Ann Lee")
    before = path.read_bytes()

    unknown = run("--add-stranger", report, "4", "--name", "Ada")
    assert "run.html has no stranger 4: it has 3." in unknown.err
    save(tmp_path / "other.pt", "Cid", model="facenet-vggface2")
    other = run("--add-stranger", report, "3", "--name", "Ada", "--gallery", "other.pt")
    assert "made with facenet-vggface2 at 240 px, the stranger's faces with sface" in other.err
    s3.delete_object(Bucket="p-stage-1", Key="v/output-01.jpg.faces.json")
    expired = run("--add-stranger", report, "3", "--name", "Ada")
    assert "They expire with their frames" in expired.err
    report.write_text("<p></p>")
    none = run("--add-stranger", report, "3", "--name", "Ada")
    assert "KEEP_EMBEDDINGS=1" in none.err
    assert {done.status for done in (unknown, other, expired, none)} == {1}
    with pytest.raises(SystemExit):
        run("--add-stranger", report, "3")
    with pytest.raises(SystemExit):
        run("--add-stranger", report, "3", "--name", "Unknown")
    assert path.read_bytes() == before
