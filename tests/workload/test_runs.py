"""Whole runs on the real pipeline: generate and grade, as a user does."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from samples.scenes import CLIPS
from tests.workload.conftest import PLAIN, Place, failed, wait_until
from workload.running.run import load


@pytest.fixture
def mixed(videos: Path, tmp_path: Path) -> Path:
    """A folder with one good video and one file that is not a video."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    shutil.copy(videos / "test_00.mp4", folder / "good.mp4")
    (folder / "bad.mp4").write_text("This is not a video.")
    return folder


def test_a_good_run_passes_and_three_faults_are_found(
    emptied: Place, videos: Path, tmp_path: Path
) -> None:
    assert emptied.grade("--initial").returncode == 0
    options = ("--testcase-folder", videos, "--repeat", 20, "--interval", 0.1)

    done = emptied.generate(*options, "--run", "run.json", cwd=tmp_path)

    # THEN every video is answered, at the requested pace, and the times are in order
    assert done.returncode == 0, done.stdout + done.stderr
    run = load(tmp_path / "run.json")
    suffixes = [clip.suffix for clip in (*CLIPS, *CLIPS)]
    assert sorted(v.key for v in run.videos) == [f"test_{i:02d}{suffixes[i]}" for i in range(20)]
    starts = [video.started for video in run.videos]
    assert starts == sorted(starts)
    for video in run.videos:
        assert video.answered is not None
        assert run.started <= video.started <= video.stored <= video.answered <= run.ended
    assert 1.7 <= starts[-1] - starts[0] < 4
    assert abs(run.skew_s) < 0.3  # the local AWS has the same clock
    words = ("test_19.mp4", "answered    20 of 20", "names       20 of 20 right", "p99", "videos/s")
    for word in words:
        assert word in done.stdout
    assert "Deleted" not in done.stderr
    # AND the grader is content with the CSV of the copies, in the current folder
    assert (tmp_path / "expected.csv").read_text().splitlines()[len(CLIPS) + 1] == (
        f"test_{len(CLIPS)}.mp4,{CLIPS[0].expected}"
    )
    good = emptied.grade("--expected", "expected.csv", cwd=tmp_path)
    assert good.returncode == 0, good.stdout + good.stderr
    assert "100/100 points" in good.stdout
    # AND it needs no CSV if it has the run
    assert (
        "names are right: 20 of 20 right" in emptied.grade("--run", "run.json", cwd=tmp_path).stdout
    )
    assert emptied.grade("--initial").returncode == 1

    # WHEN a name is wrong, an output is missing, and there is an extra object
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
        # THEN a wrong name costs one point, and any other fault the whole check
        assert (result["points"], result["of"], result["passed"]) == (74, 100, False)
        assert [c["points"] for c in result["checks"] if c["status"] == "FAIL"] == [5, 20, 20]

    # AND limits that are exceeded are named
    slow = emptied.grade("--max-recognition", 0, "--min-concurrency", 50, cwd=tmp_path)
    assert slow.stdout.count("FAIL") == 5
    # AND the menu gives the same results
    shown = emptied.grade("--expected", "expected.csv", "--menu", answers="2\n3\nq\n", cwd=tmp_path)
    assert "74/100 points" in shown.stdout
    assert f"s3://{names.stage_1_bucket}: 21 objects" in shown.stdout
    assert shown.returncode == 0


def test_the_documents_options_work_and_no_key_is_printed(
    pipeline: Place, few_videos: Path, tmp_path: Path
) -> None:
    access, secret = (
        pipeline.aws.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    )
    keys = ("--access_key", access, "--secret_key", secret)
    environ = {**PLAIN, "AWS_ENDPOINT_URL": pipeline.aws.endpoint}
    words = [*keys, "--asu_id", pipeline.deployment.prefix, "--testcase_folder", str(few_videos)]

    for script, more in (("generate", ["--clear", "--yes"]), ("grade", [])):
        argv = pipeline.argv(f"workload/{script}.py", *words, *more)
        del argv[2:4]  # --prefix
        done = subprocess.run(argv, env=environ, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "us-east-1" in done.stderr  # the region that the documents imply
        assert access not in done.stdout + done.stderr
        assert secret not in done.stdout + done.stderr
    assert "100/100 points" in done.stdout
    assert len(pipeline.keys(pipeline.deployment.input_bucket)) == 4


def test_a_bad_video_is_reported_missing_with_its_reason(pipeline: Place, mixed: Path) -> None:
    done = pipeline.generate("--testcase-folder", mixed, "--deadline", 60)

    assert done.returncode == 1
    assert "answered    1 of 2" in done.stdout
    assert "UnreadableVideo" in done.stdout.split("missing     1")[1]
    # THEN the message is still in the queue, so the grader finds it too
    graded = pipeline.grade("--json", "--metrics-wait", 0)
    texts = [thing for c in json.loads(graded.stdout)["checks"] for thing in c["objects"]]
    missing = f"s3://{pipeline.deployment.output_bucket}/bad.txt: for bad.mp4: "
    assert any(text.startswith(missing) and "UnreadableVideo" in text for text in texts)


@pytest.mark.parametrize("ignores_sigint", [False, True], ids=["terminal", "background"])
def test_ctrl_c_shows_the_results_so_far(
    pipeline: Place, videos: Path, tmp_path: Path, ignores_sigint: bool
) -> None:
    copies, digits = (
        (2000, 4) if ignores_sigint else (200, 3)
    )  # so that the two runs use different names
    options = ("--testcase-folder", videos, "--repeat", copies, "--rate", 5, "--run", "run.json")
    handler = (
        signal.SIG_IGN if ignores_sigint else signal.SIG_DFL
    )  # as a shell does for background jobs
    process = subprocess.Popen(
        pipeline.argv("workload/generate.py", *options),
        env={**PLAIN, **pipeline.aws.environ},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, handler),
    )
    fifth = f"test_{4:0{digits}d}.mp4"
    wait_until(lambda: fifth in pipeline.keys(pipeline.deployment.input_bucket))

    process.send_signal(signal.SIGINT)
    time.sleep(0.001)
    process.send_signal(signal.SIGINT)  # as a wrapper does that passes it on
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
