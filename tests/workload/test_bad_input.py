"""Bad input gets a clear message; nothing is uploaded and nothing is lost."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workload.conftest import Place


def remove_all(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove_all, "has no videos"),
        (lambda folder: (folder / "c.mp4").symlink_to("gone"), "c.mp4: No such file"),
        (lambda folder: os.mkfifo(folder / "c.mp4"), "c.mp4 is not a regular file"),
        (write("expected.csv", "key,person\na.mp4,Ann\n"), "starts with key,person"),
        (write("expected.csv", "video,name\na.mp4,Ann\na.mp4,Ann\n"), "lists a.mp4 again"),
        (write("expected.csv", "video,name\nz.mp4,Ann\n"), ": z.mp4"),
    ],
    ids=["no videos", "unreadable", "pipe", "columns", "twice", "unknown"],
)
def test_a_bad_folder_is_rejected_before_any_upload(
    bare: Place, folder: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(folder)

    done = bare.generate("--testcase-folder", folder, "--no-wait")

    assert done.returncode == 1
    assert message in done.stderr
    assert done.stdout == ""
    assert bare.keys(bare.deployment.input_bucket) == []


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--testcase-folder", "/nowhere"), 1, "/nowhere: No such file or directory"),
        (("--testcase-folder", ".", "--interval", 1, "--rate", 1), 2, "not both"),
        (("--testcase-folder", ".", "--interval", "nan"), 2, "finite"),
        (("--testcase-folder", ".", "--rate", 0), 2, "--rate"),
        (("--testcase-folder", ".", "--repeat", 0), 2, "--repeat"),
        (("--testcase-folder", ".", "--run", "no/such/run.json"), 1, "Cannot write no/such"),
        (("--testcase-folder", ".", "--report", "r.html", "--no-wait"), 2, "--no-wait"),
        (("--testcase-folder", ".", "--expected-out", "e.csv"), 1, "needs expected.csv"),
        (("--testcase-folder", ".", "--access_key", "AKIA" + "0" * 16), 2, "go together"),
        (
            ("--testcase-folder", ".", "--access_key", "a\nb", "--secret_key", "s"),
            2,
            "is not an access key",
        ),
        (("--testcase-folder", ".", "--prefix", "No_Prefix"), 1, "cannot start a bucket name"),
        (("--testcase-folder", ".", "--profile", "nobody"), 1, "nobody"),
    ],
)
def test_bad_options_are_rejected(
    bare: Place, folder: Path, options: tuple[object, ...], status: int, message: str
) -> None:
    done = bare.generate(*options, cwd=folder)

    assert done.returncode == status, done.stderr
    assert message in done.stderr
    assert bare.keys(bare.deployment.input_bucket) == []


def test_names_of_files_are_shown_escaped(bare: Place, folder: Path) -> None:
    (folder / "c\x1b[31m\n.mp4").write_bytes(b"video")
    (folder / "d\x1b[31m\n.dat").write_bytes(b"data")

    done = bare.generate("--testcase-folder", folder, "--dry-run")

    assert done.returncode == 0, done.stderr
    assert r"not those of videos: d\x1b[31m\n.dat." in done.stderr
    assert rf"s3://{bare.deployment.input_bucket}/c\x1b[31m\n.mp4" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_a_wrong_prefix_is_named(bare: Place, folder: Path) -> None:
    done = bare.generate("--testcase-folder", folder, prefix="nosuch")
    graded = bare.grade(prefix="nosuch")

    assert done.returncode == graded.returncode == 1
    missing = "'nosuch-input' or 'nosuch-stage-1' or 'nosuch-output'"
    assert f"There is no bucket {missing}: check --prefix, or run python3 create" in done.stderr
    assert "s3://nosuch-input/: does not exist" in graded.stdout
    assert "0/100 points" in graded.stdout


def test_a_run_without_answers_gets_no_report(bare: Place, folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run.json"
    bare.generate("--testcase-folder", folder, "--no-wait", "--run", run)

    done = bare.run("workload/report.py", "--run", run, "--output", tmp_path / "r.html")

    assert done.returncode == 1
    assert "did not wait for answers" in done.stderr
    assert not (tmp_path / "r.html").exists()


def test_a_run_with_wrong_types_is_rejected(bare: Place, folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run.json"
    bare.generate("--testcase-folder", folder, "--no-wait", "--run", run)
    content = json.loads(run.read_text())
    content["videos"][0]["stored"] = "now"
    run.write_text(json.dumps(content))

    for done in (
        bare.grade("--run", run),
        bare.run("workload/report.py", "--run", run, "--output", tmp_path / "r.html"),
    ):
        assert done.returncode == 1
        assert "stored is 'now'" in done.stderr


def test_a_csv_with_only_a_header_is_rejected(bare: Place, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("video,name\n")

    done = bare.grade("--expected", tmp_path / "e.csv")

    assert done.returncode == 1
    assert "e.csv has a header but no videos" in done.stderr


def test_a_csv_or_run_of_other_videos_fails(bare: Place, folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run.json"
    bare.generate("--testcase-folder", folder, "--no-wait", "--run", run)
    csv = tmp_path / "expected.csv"
    csv.write_text("video,name\na.mp4,Ann\nz.mp4,Zoe\n")
    other = json.loads(run.read_text())
    other["videos"][0]["key"] = "y.mp4"
    (tmp_path / "other.json").write_text(json.dumps(other))
    other["prefix"] = "elsewhere"
    (tmp_path / "elsewhere.json").write_text(json.dumps(other))

    for options, message in (
        (("--expected", csv), "z.mp4"),
        (("--run", tmp_path / "other.json"), "y.mp4"),
        (("--run", tmp_path / "elsewhere.json"), "--prefix elsewhere"),
        (("--run", csv), "Cannot read the run"),
        (("--testcase-folder", folder), "Cannot read"),
    ):
        done = bare.grade(*options)
        assert done.returncode == 1
        assert message in done.stderr
        assert done.stdout == ""


def test_suffixes_in_any_case_are_uploaded_and_other_files_are_named(
    bare: Place, folder: Path
) -> None:
    (folder / "Mixed.Mp4").write_bytes(b"video")
    (folder / "notes.txt").write_bytes(b"text")
    (folder / ".hidden").write_bytes(b"")
    (folder / "expected.csv").write_text("video,name\nMixed.Mp4,Ann\n")

    done = bare.generate("--testcase-folder", folder, "--no-wait")

    assert done.returncode == 0
    assert "Not uploaded, as their names are not those of videos: notes.txt.\n" in done.stderr
    assert bare.keys(bare.deployment.input_bucket) == ["Mixed.Mp4", "a.mp4", "b.mov"]
    (folder / "notes.txt").unlink()
    assert "Not uploaded" not in bare.generate("--testcase-folder", folder, "--no-wait").stderr


@pytest.mark.parametrize("frames", ["0", "some", "-1", "AUTO", "101"])
def test_frames_that_the_splitter_would_not_take_are_rejected(bare: Place, frames: str) -> None:
    done = bare.grade("--frames", frames)

    assert done.returncode == 2
    assert f"{frames!r} is neither auto nor a number of frames from 1 to 100." in done.stderr


def test_an_invalid_deployed_frames_is_named_unless_another_is_passed(bare: Place) -> None:
    # GIVEN a splitter that somebody gave a FRAMES that it refuses
    service = {"Service": "lambda.amazonaws.com"}
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": service}
    iam, name = bare.client("iam"), "odd-video-splitting"
    policy = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy)["Role"]["Arn"]
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("handler.py", "")
    bare.client("lambda").create_function(
        FunctionName=name,
        Role=role,
        Runtime="python3.12",
        Handler="handler.handler",
        Code={"ZipFile": code.getvalue()},
        Environment={"Variables": {"FRAMES": "five"}},
    )

    refused = bare.grade("--namespace", "odd", "--metrics-wait", 0)
    graded = bare.grade("--namespace", "odd", "--metrics-wait", 0, "--frames", "5")

    assert (refused.returncode, refused.stdout) == (1, "")
    assert (
        "The FRAMES of function 'odd-video-splitting' cannot be used: 'five' is" in refused.stderr
    )
    assert "deploy/deploy.py" in refused.stderr
    assert "pass --frames" in refused.stderr
    assert "the three buckets exist" in graded.stdout


def test_a_name_that_starts_with_a_space_is_kept(bare: Place, folder: Path, tmp_path: Path) -> None:
    (folder / "a.mp4").rename(folder / " lead.mp4")
    (folder / "expected.csv").write_text("video,name\n lead.mp4,Ann\nb.mov , Bob\n")
    copied = tmp_path / "e.csv"

    done = bare.generate("--testcase-folder", folder, "--no-wait", "--expected-out", copied)

    assert done.returncode == 0, done.stderr
    graded = bare.grade("--expected", copied, "--metrics-wait", 0)
    assert "/100 points" in graded.stdout, graded.stderr


def test_missing_report_packages_are_reported_before_the_upload(
    bare: Place, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "jinja2.py").write_text("raise ImportError('No module named jinja2')")
    environ = {"PYTHONPATH": str(tmp_path)}

    done = bare.start(
        "workload/generate.py",
        *("--testcase-folder", folder, "--report", "r.html"),
        environ=environ,
    )

    assert done.returncode == 1
    assert "--report needs packages" in done.stderr
    assert bare.keys(bare.deployment.input_bucket) == []


def test_other_expected_names_are_kept(bare: Place, folder: Path, tmp_path: Path) -> None:
    (folder / "expected.csv").write_text("video,name\na.mp4,Ann\nb.mov,Bob\n")
    mine = tmp_path / "expected.csv"
    mine.write_text("video,name\ntest_00.mp4,Zoe\n")
    options = ("--testcase-folder", folder, "--repeat", 3, "--no-wait")

    for cwd, message in (
        (tmp_path, "already exists with other names"),
        (folder, "would overwrite those"),
    ):
        done = bare.generate(*options, cwd=cwd)
        assert done.returncode == 1
        assert message in done.stderr
    assert bare.keys(bare.deployment.input_bucket) == []
    assert mine.read_text() == "video,name\ntest_00.mp4,Zoe\n"

    # THEN it is written if the user says so, or if nothing is lost
    for more in (("--expected-out", "expected.csv"), ()):
        assert bare.generate(*options, *more, cwd=tmp_path).returncode == 0
    names = ["video,name", "test_00.mp4,Ann", "test_01.mov,Bob", "test_02.mp4,Ann"]
    assert mine.read_text().splitlines() == names
    assert sorted(bare.keys(bare.deployment.input_bucket)) == [n.split(",")[0] for n in names[1:]]


@pytest.mark.parametrize("script", ["generate", "grade"])
def test_help_has_a_command_to_paste_and_recommends_a_profile(bare: Place, script: str) -> None:
    done = bare.run(f"workload/{script}.py", "--help")

    assert f"workload/{script}.py --prefix P" in done.stdout
    assert "--access_key" in done.stdout
    assert "history" in done.stdout


def test_a_device_is_not_replaced(bare: Place, folder: Path, tmp_path: Path) -> None:
    # GIVEN a FIFO, which stands for /dev/stdout: as root, that would be gone for everybody
    run, fifo = tmp_path / "run.json", tmp_path / "fifo"
    os.mkfifo(fifo)
    bare.generate("--testcase-folder", folder, "--no-wait", "--run", run)

    for done in (
        bare.generate("--testcase-folder", folder, "--no-wait", "--run", fifo),
        bare.run("workload/report.py", run, "--output", fifo),
    ):
        assert done.returncode == 1
        assert f"Cannot write {fifo}: it is not a regular file" in done.stderr
    assert fifo.is_fifo()
