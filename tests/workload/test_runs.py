"""Whole runs on the real pipeline: generate, then grade, as a user does."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.settings import Deployment
from samples.clips import make_people
from samples.stack import running
from tests.workload.conftest import BUILD, PLAIN, Place
from workload.running.run import load


@pytest.fixture
def mixed(videos: Path, tmp_path: Path) -> Path:
    """A folder with one good video and one that is none."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    shutil.copy(videos / "test_00.mp4", folder / "good.mp4")
    (folder / "bad.mp4").write_text("This is no video.")
    return folder


def failed(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The objects at fault in the grader's JSON, without what is said of them."""
    checks = json.loads(done.stdout)["checks"]
    return [thing.split(": ")[0] for c in checks if c["status"] == "FAIL" for thing in c["objects"]]


def test_the_show_generate_and_grade_then_three_faults(
    emptied: Place, videos: Path, tmp_path: Path
) -> None:
    assert emptied.grade("--initial").returncode == 0
    options = ("--testcase-folder", videos, "--repeat", 20, "--interval", 0.1)

    done = emptied.generate(*options, "--run", "run.json", cwd=tmp_path)

    # THEN every video is answered, at the pace asked for, in times that can be
    assert done.returncode == 0, done.stdout + done.stderr
    run = load(tmp_path / "run.json")
    assert [video.key for video in run.videos] == [f"test_{i:02d}.mp4" for i in range(20)]
    for video in run.videos:
        assert video.answered is not None
        assert run.started <= video.started <= video.stored <= video.answered <= run.ended
    assert 1.7 <= max(v.started for v in run.videos) - run.videos[0].started < 4
    assert abs(run.skew_s) < 0.3  # one machine has one clock
    for word in ("test_19.mp4", "answered    20 of 20", "p50", "p95", "p99", "videos/s"):
        assert word in done.stdout
    assert "Deleted" not in done.stderr
    # AND the CSV of the copies is here, and the grader content with it
    assert (tmp_path / "expected.csv").read_text().splitlines()[12] == "test_11.mp4,Barack Obama"
    good = emptied.grade("--expected", "expected.csv", cwd=tmp_path)
    assert good.returncode == 0, good.stdout + good.stderr
    assert "100/100 points" in good.stdout
    assert emptied.grade("--initial").returncode == 1

    # WHEN a name is wrong, an output is missing and an object is too many
    s3, names = emptied.client("s3"), emptied.deployment
    s3.put_object(Bucket=names.output_bucket, Key="test_03.txt", Body=b"Nobody")
    s3.delete_object(Bucket=names.output_bucket, Key="test_05.txt")
    s3.put_object(Bucket=names.stage_1_bucket, Key="stray.jpg", Body=b"")
    for more in ((), ("--run", "run.json")):
        bad = emptied.grade("--expected", "expected.csv", "--json", *more, cwd=tmp_path)
        assert bad.returncode == 1
        assert sorted(failed(bad)) == [
            f"s3://{names.output_bucket}/test_03.txt",
            f"s3://{names.output_bucket}/test_05.txt",
            f"s3://{names.stage_1_bucket}/stray.jpg",
        ]
        result = json.loads(bad.stdout)
        assert (result["points"], result["of"], result["passed"]) == (55, 100, False)
        assert [c["points"] for c in result["checks"] if c["status"] == "FAIL"] == [5, 20, 20]

    # AND a limit that is not kept is said
    slow = emptied.grade("--max-recognition", 0, "--min-concurrency", 50, cwd=tmp_path)
    assert slow.stdout.count("FAIL") == 5
    # AND the menu does the same
    told = emptied.grade("--expected", "expected.csv", "--menu", answers="2\n3\nq\n", cwd=tmp_path)
    assert "55/100 points" in told.stdout
    assert f"s3://{names.stage_1_bucket}: 21 objects" in told.stdout
    assert told.returncode == 0


def test_the_documents_spelling_and_no_key_printed(
    pipeline: Place, videos: Path, tmp_path: Path
) -> None:
    access, secret = (
        pipeline.aws.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    )
    keys = ("--access_key", access, "--secret_key", secret)
    environ = {**PLAIN, "AWS_ENDPOINT_URL": pipeline.aws.endpoint}
    words = [*keys, "--asu_id", pipeline.deployment.prefix, "--testcase_folder", str(videos)]

    for script, more in (("generate", ["--clear", "--yes"]), ("grade", [])):
        argv = pipeline.argv(f"workload/{script}.py", *words, *more)
        del argv[2:4]  # --prefix
        done = subprocess.run(argv, env=environ, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "us-east-1" in done.stderr  # as the documents mean
        assert access not in done.stdout + done.stderr
        assert secret not in done.stdout + done.stderr
    assert "100/100 points" in done.stdout
    assert len(pipeline.keys(pipeline.deployment.input_bucket)) == 11


def test_a_bad_video_is_missing_with_its_reason(pipeline: Place, mixed: Path) -> None:
    done = pipeline.generate("--testcase-folder", mixed, "--deadline", 60)

    assert done.returncode == 1
    assert "answered    1 of 2" in done.stdout
    assert "it is no video" in done.stdout.split("missing     1")[1]
    # THEN the message is still in the queue, for the grader, too
    graded = pipeline.grade("--json", "--metrics-wait", 0)
    texts = [thing for c in json.loads(graded.stdout)["checks"] for thing in c["objects"]]
    missing = f"s3://{pipeline.deployment.output_bucket}/bad.txt: of bad.mp4: "
    assert any(text.startswith(missing) and "it is no video" in text for text in texts)


def test_an_older_output_counts_only_for_the_same_content(
    pipeline: Place, videos: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "one"
    folder.mkdir()

    def run(source: str) -> tuple[str, Any]:
        shutil.copy(videos / source, folder / "again.mp4")
        path = tmp_path / "run.json"
        done = pipeline.generate("--testcase-folder", folder, "--run", path)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout, load(path).videos[0]

    assert "before" not in run("test_00.mp4")[0]
    text, again = run("test_00.mp4")
    assert "1 of them before this run" in text
    assert again.answered == again.stored
    assert (again.repeated, again.latency_s) == (True, None)
    text, other = run("test_02.mp4")
    assert "before" not in text
    assert other.answered > other.stored
    answer = pipeline.client("s3").get_object(
        Bucket=pipeline.deployment.output_bucket, Key="again.txt"
    )
    assert answer["Body"].read() == b"Joe Biden"


def test_answers_of_before_are_no_latencies(pipeline: Place, videos: Path, tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    shutil.copy(videos / "test_00.mp4", tmp_path / "v" / "before.mp4")
    options = ("--testcase-folder", tmp_path / "v", "--run", "run.json", "--report", "r.html")
    puts = '<th scope="row">PUT</th><td>{}</td>'
    assert pipeline.generate(*options, cwd=tmp_path).returncode == 0
    assert puts.format(3) in (tmp_path / "r.html").read_text()

    assert pipeline.generate(*options, cwd=tmp_path).returncode == 0

    # THEN the report says so, and counts the upload alone
    page = (tmp_path / "r.html").read_text()
    assert "<h1>1 of 1 video answered</h1>" in page
    assert "Answered before, same content." in page
    assert "median" not in page
    assert puts.format(1) in page
    # AND the grader has no time to judge
    graded = pipeline.grade("--run", "run.json", "--metrics-wait", 0, cwd=tmp_path)
    assert "300 s: all outputs are older than their videos, of same content" in graded.stdout


def test_a_run_that_saw_no_answer_is_graded_for_what_it_is(
    emptied: Place, videos: Path, tmp_path: Path
) -> None:
    (tmp_path / "v").mkdir()
    shutil.copy(videos / "test_00.mp4", tmp_path / "v" / "unseen.mp4")
    path = tmp_path / "run.json"
    assert (
        emptied.generate("--testcase-folder", tmp_path / "v", "--no-wait", "--run", path).returncode
        == 0
    )
    deadline = time.monotonic() + 60
    while not emptied.keys(emptied.deployment.output_bucket) and time.monotonic() < deadline:
        time.sleep(0.2)

    graded = emptied.grade("--run", path)
    assert "by the objects' LastModified, as the run waited for no answer" in graded.stdout
    assert "SKIP         every answer" not in graded.stdout
    # WHEN a run was stopped before it saw an answer
    path.write_text(json.dumps({**json.loads(path.read_text()), "waited": True}))
    stopped = emptied.grade("--run", path, "--metrics-wait", 0)
    assert "300 s: the run ended before it saw an answer" in stopped.stdout


def test_a_name_put_by_hand_is_wrong_and_not_late_too(
    emptied: Place, videos: Path, tmp_path: Path
) -> None:
    (tmp_path / "v").mkdir()
    for name in ("test_00.mp4", "test_02.mp4", "expected.csv"):
        shutil.copy(videos / name, tmp_path / "v")
    csv = tmp_path / "v" / "expected.csv"
    lines = csv.read_text().splitlines()
    chosen = [line for line in lines if line.startswith(("video,", "test_00", "test_02"))]
    csv.write_text("\n".join(chosen) + "\n")
    assert emptied.generate("--testcase-folder", tmp_path / "v").returncode == 0
    time.sleep(12)

    names = emptied.deployment
    emptied.client("s3").put_object(Bucket=names.output_bucket, Key="test_02.txt", Body=b"Nobody")
    done = emptied.grade("--expected", csv, "--json", "--max-latency", 10)

    assert failed(done) == [f"s3://{names.output_bucket}/test_02.txt"]


def test_one_at_a_time_is_told_though_an_older_video_is_there(
    sample_photos: Path, ffmpeg_zip: Path, videos: Path, tmp_path: Path
) -> None:
    (tmp_path / "v").mkdir()
    shutil.copy(videos / "test_00.mp4", tmp_path / "v" / "old.mp4")
    people = make_people(sample_photos, BUILD / "samples" / "people")
    settings = {"max_concurrency": 1}
    with running(Deployment("narrow"), people, aws_settings=settings) as stack:
        place = Place(stack.aws, stack.deployment)
        assert place.generate("--testcase-folder", tmp_path / "v").returncode == 0
        time.sleep(20)
        many = ("--testcase-folder", videos, "--repeat", 80, "--concurrency", 32)
        assert place.generate(*many, cwd=tmp_path).returncode == 0

        graded = json.loads(place.grade("--json").stdout)

    at_once = [check for check in graded["checks"] if check["name"].endswith("at once")]
    assert [(c["status"], c["reason"].split(" at once")[0]) for c in at_once] == [("FAIL", "1")] * 2


def test_a_cold_recognizer_is_not_held_against_the_splitter(
    emptied: Place, videos: Path, tmp_path: Path
) -> None:
    # GIVEN a recognizer that must start anew
    names = emptied.deployment
    emptied.client("lambda").update_function_configuration(
        FunctionName=names.recognizer.name, Description="changed: its environments are replaced"
    )
    (tmp_path / "one").mkdir()
    shutil.copy(videos / "test_00.mp4", tmp_path / "one")
    assert emptied.generate("--testcase-folder", tmp_path / "one").returncode == 0

    def figures(check: str, wording: str, **more: Any) -> tuple[float, float, str]:
        """The number before `wording` in the reason of a check, times its invocations; stderr."""
        done = emptied.grade("--json", "--max-split", 60, **more)
        checks = json.loads(done.stdout)["checks"]
        (reason,) = (c["reason"] for c in checks if c["name"].startswith(check))
        number = re.search(rf"([\d.]+) s{wording}.* (\d+) invocations", reason)
        assert number, reason
        return float(number[1]), int(number[2]), done.stderr

    # THEN the wait, by the splitter's log, is longer than the recognizer ran by what a start takes
    wait, waits, _ = figures(f"{names.splitter.name} takes", " that it waited for")
    took, runs, _ = figures(f"{names.recognizer.name} takes", "")
    assert wait * waits - took * runs > 0.5

    # AND where the log may not be read, the grader says what it takes instead
    iam = emptied.client("iam")
    iam.create_user(UserName="no-logs")
    policy = [
        {"Effect": effect, "Action": action, "Resource": "*"}
        for effect, action in (("Allow", "*"), ("Deny", "logs:*"))
    ]
    document = json.dumps({"Version": "2012-10-17", "Statement": policy})
    iam.put_user_policy(UserName="no-logs", PolicyName="p", PolicyDocument=document)
    key = iam.create_access_key(UserName="no-logs")["AccessKey"]
    environ = {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }
    *_, said = figures(
        f"{names.splitter.name} takes", " that face-recognition ran", environ=environ
    )
    assert "It takes logs:FilterLogEvents" in said
    assert "recognizer's own durations are taken" in said


@pytest.mark.parametrize("is_deaf", [False, True], ids=["terminal", "background"])
def test_ctrl_c_tells_what_is_known(
    pipeline: Place, videos: Path, tmp_path: Path, is_deaf: bool
) -> None:
    copies, digits = (2000, 4) if is_deaf else (200, 3)  # names that the other run has not
    options = ("--testcase-folder", videos, "--repeat", copies, "--rate", 5, "--run", "run.json")
    handler = signal.SIG_IGN if is_deaf else signal.SIG_DFL  # a shell ignores it in background jobs
    process = subprocess.Popen(
        pipeline.argv("workload/generate.py", *options),
        env={**PLAIN, **pipeline.aws.environ},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, handler),
    )
    fifth, deadline = f"test_{4:0{digits}d}.mp4", time.monotonic() + 60
    while fifth not in pipeline.keys(pipeline.deployment.input_bucket):
        assert time.monotonic() < deadline
        time.sleep(0.2)

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=15)

    assert process.returncode == 130
    assert "Traceback" not in err
    run = load(tmp_path / "run.json")
    assert 3 < len(run.videos) < 30
    assert f"uploaded    {len(run.videos)} of {copies}" in out
    time.sleep(0.5)
    assert f"test_{len(run.videos) + 1:0{digits}d}.mp4" not in pipeline.keys(
        pipeline.deployment.input_bucket
    )
