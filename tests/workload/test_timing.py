"""Times on the real pipeline: which answers count, how long they took, and against what limit."""

from __future__ import annotations

import json
import re
import shutil
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.settings import Deployment
from samples.clips import make_people
from samples.stack import running
from tests.workload.conftest import BUILD, Place, failed, wait_until
from workload.reporting.evidence import CLOCK_S
from workload.running.run import load


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

    assert "before this run" not in run("test_00.mp4")[0]
    text, again = run("test_00.mp4")
    assert "1 of them before this run" in text
    assert again.answered == again.stored
    assert (again.repeated, again.latency_s) == (True, None)
    text, other = run("test_02.mp4")
    assert "before this run" not in text
    assert other.answered > other.stored
    answer = pipeline.client("s3").get_object(
        Bucket=pipeline.deployment.output_bucket, Key="again.txt"
    )
    assert answer["Body"].read() == b"Joe Biden"


@pytest.mark.slow
def test_answers_from_before_have_no_latency(pipeline: Place, videos: Path, tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    shutil.copy(videos / "test_00.mp4", tmp_path / "v" / "before.mp4")
    options = ("--testcase-folder", tmp_path / "v", "--run", "run.json", "--report", "r.html")
    puts = '<th scope="row">PUT</th><td>{}</td>'
    assert pipeline.generate(*options, cwd=tmp_path).returncode == 0
    assert puts.format(3) in (tmp_path / "r.html").read_text()
    # the report of a run may count what ran up to CLOCK_S before it
    earlier = load(tmp_path / "run.json").ended + CLOCK_S
    wait_until(lambda: time.time() > earlier)

    assert pipeline.generate(*options, cwd=tmp_path).returncode == 0

    # THEN the report says so and counts only the upload
    page = (tmp_path / "r.html").read_text()
    assert "<h1>1 of 1 video answered</h1>" in page
    assert "Answered before this run, same content." in page
    assert "median" not in page
    assert puts.format(1) in page
    # AND the grader has no times to check
    graded = pipeline.grade("--run", "run.json", "--metrics-wait", 0, cwd=tmp_path)
    assert "300 s: all outputs are older than their videos, but" in graded.stdout


def test_a_run_that_saw_no_answers_is_graded_by_the_objects(
    emptied: Place, videos: Path, tmp_path: Path
) -> None:
    (tmp_path / "v").mkdir()
    shutil.copy(videos / "test_00.mp4", tmp_path / "v" / "unseen.mp4")
    path = tmp_path / "run.json"
    assert (
        emptied.generate("--testcase-folder", tmp_path / "v", "--no-wait", "--run", path).returncode
        == 0
    )
    wait_until(lambda: bool(emptied.keys(emptied.deployment.output_bucket)))

    graded = emptied.grade("--run", path)
    assert "from the objects' LastModified, as the run did not wait for answers" in graded.stdout
    assert "SKIP         every answer" not in graded.stdout
    # WHEN the run was stopped before it saw an answer
    path.write_text(json.dumps({**json.loads(path.read_text()), "waited": True}))
    stopped = emptied.grade("--run", path, "--metrics-wait", 0)
    assert "300 s: the run ended before it saw an answer" in stopped.stdout


def test_an_answer_written_by_hand_is_wrong_but_not_late(
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
    s3, names = emptied.client("s3"), emptied.deployment

    def modified(bucket: str, key: str) -> float:
        when: datetime = s3.head_object(Bucket=bucket, Key=key)["LastModified"]
        return when.timestamp()

    limit = 1 + max(
        modified(names.output_bucket, f"{stem}.txt") - modified(names.input_bucket, f"{stem}.mp4")
        for stem in ("test_00", "test_02")
    )
    # GIVEN a limit that both answers kept, but an answer written now would not
    too_late = modified(names.input_bucket, "test_02.mp4") + limit + 1
    wait_until(lambda: time.time() > too_late)

    s3.put_object(Bucket=names.output_bucket, Key="test_02.txt", Body=b"Nobody")
    done = emptied.grade("--expected", csv, "--json", "--max-latency", limit)

    assert failed(done) == [f"s3://{names.output_bucket}/test_02.txt"]


@pytest.mark.slow
def test_throttling_is_found_even_if_an_older_video_dilutes_the_run(
    sample_photos: Path, ffmpeg_zip: Path, videos: Path, tmp_path: Path
) -> None:
    copies, run = 80, tmp_path / "run.json"
    people = make_people(sample_photos, BUILD / "samples" / "people")
    settings = {"max_concurrency": 1}
    with running(Deployment("narrow"), people, aws_settings=settings) as stack:
        place = Place(stack.aws, stack.deployment)
        for name in ("cold.mp4", "warm.mp4"):
            (tmp_path / name).mkdir()
            shutil.copy(videos / "test_00.mp4", tmp_path / name / name)
            done = place.generate("--testcase-folder", tmp_path / name, "--run", run)
            assert done.returncode == 0, done.stderr
        # GIVEN videos so old that, by Little's law, the run as a whole needs fewer than 3 at once
        (warm,) = load(run).videos
        assert warm.latency_s is not None
        diluted = warm.stored + min(20, copies * warm.latency_s / 3)
        wait_until(lambda: time.time() > diluted)
        many = ("--testcase-folder", videos, "--repeat", copies, "--concurrency", 32)
        assert place.generate(*many, cwd=tmp_path).returncode == 0

        graded = json.loads(place.grade("--json").stdout)

    at_once = [check for check in graded["checks"] if check["name"].endswith("at once")]
    assert [(c["status"], c["reason"].split(" at once")[0]) for c in at_once] == [("FAIL", "1")] * 2


def test_a_cold_recognizer_does_not_count_against_the_splitter(
    emptied: Place, videos: Path, tmp_path: Path
) -> None:
    # GIVEN a recognizer without warm environments, whose INIT compiles every module
    names, functions = emptied.deployment, emptied.client("lambda")
    name = names.recognizer.name
    before = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    slow = {**before, "PYTHONPYCACHEPREFIX": "/tmp/nothing"}
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": slow})
    (tmp_path / "one").mkdir()
    shutil.copy(videos / "test_00.mp4", tmp_path / "one")
    assert emptied.generate("--testcase-folder", tmp_path / "one").returncode == 0
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": before})

    def figures(check: str, wording: str, **more: Any) -> tuple[float, float, str]:
        """The number before `wording` in a check's reason, its invocations, and stderr."""
        done = emptied.grade("--json", "--max-split", 60, **more)
        checks = json.loads(done.stdout)["checks"]
        (reason,) = (c["reason"] for c in checks if c["name"].startswith(check))
        number = re.search(rf"([\d.]+) s{wording}.* (\d+) invocations", reason)
        assert number, reason
        return float(number[1]), int(number[2]), done.stderr

    # THEN the wait in the splitter's log is longer than the recognizer ran, by its cold start
    wait, waits, _ = figures(f"{names.splitter.name} takes", " waiting for")
    took, runs, _ = figures(f"{names.recognizer.name} takes", "")
    assert wait * waits - took * runs > 0.5

    # AND without access to the log, the grader says what it uses instead
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
    *_, stderr = figures(
        f"{names.splitter.name} takes", " that face-recognition ran", environ=environ
    )
    assert "It needs logs:FilterLogEvents" in stderr
    assert "Using the recognizer's own durations" in stderr
