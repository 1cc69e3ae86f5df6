"""Runs without functions, where the test itself decides what happens to the uploads."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.keys import output_key
from tests.workload.conftest import PLAIN, Place, fill_queue
from workload.running.run import load


def test_a_dry_run_changes_nothing(bare: Place, folder: Path, tmp_path: Path) -> None:
    (folder / "expected.csv").write_text("video,name\na.mp4,Ann\n")
    bare.client("s3").put_object(Bucket=bare.deployment.output_bucket, Key="kept", Body=b"")

    done = bare.generate(
        "--testcase-folder", folder, "--repeat", 2, "--clear", "--dry-run", cwd=tmp_path
    )

    assert done.returncode == 0
    assert f"Would delete 1 object from s3://{bare.deployment.output_bucket}" in done.stderr
    assert "Would upload" in done.stderr
    assert [len(bare.keys(bucket)) for bucket in bare.deployment.buckets] == [0, 0, 1]
    assert not (tmp_path / "expected.csv").exists()


@pytest.mark.slow
def test_clear_asks_and_handles_thousands_of_objects(bare: Place, folder: Path) -> None:
    s3, (first, _, last) = bare.client("s3"), bare.deployment.buckets
    s3.put_object(Bucket=first, Key="old.mp4", Body=b"")

    def put(number: int) -> None:
        s3.put_object(Bucket=last, Key=f"k{number}", Body=b"")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(1005)))
    # GIVEN more objects than fit on a page, all of which the grader sees
    graded = json.loads(bare.grade("--json", "--metrics-wait", 0).stdout)
    extra = next(c for c in graded["checks"] if c["name"] == "there is no extra output")
    assert len(extra["objects"]) == 1005
    options = ("--testcase-folder", folder, "--clear", "--no-wait")

    for answer in ("n\n", ""):
        kept = bare.generate(*options, answers=answer)
        assert kept.returncode == 1
        assert f"1005 in s3://{last}" in kept.stderr
        assert [len(bare.keys(bucket)) for bucket in bare.deployment.buckets] == [1, 0, 1005]

    done = bare.generate(*options, answers="y\n")

    assert done.returncode == 0, done.stderr
    assert f"Deleted 1,005 objects from s3://{last}" in done.stderr
    assert sorted(bare.keys(first)) == ["a.mp4", "b.mov"]
    assert bare.keys(last) == []


def test_missing_answers_are_named_at_the_deadline(bare: Place, folder: Path) -> None:
    # GIVEN an output made from other content, which does not count
    s3, output = bare.client("s3"), bare.deployment.output_bucket
    s3.put_object(Bucket=output, Key="a.txt", Body=b"x", Metadata={"source-etag": "other"})

    done = bare.generate("--testcase-folder", folder, "--deadline", 1)

    assert done.returncode == 1
    assert "missing     2\n  a.mp4: no answer" in done.stdout
    assert "b.mov: no answer" in done.stdout
    # AND the grader says so, because the input is newer than the output
    graded = bare.grade("--metrics-wait", 0)
    assert "a.txt: belongs to an earlier upload of a.mp4" in graded.stdout


def test_a_wrong_answer_is_no_success(bare: Place, folder: Path, tmp_path: Path) -> None:
    # GIVEN answers from before the run to the very same files, one of them wrong
    (folder / "expected.csv").write_text("video,name\na.mp4,Ann\nb.mov,Ben\n")
    for name, answer in (("a.mp4", "Ann"), ("b.mov", "Unknown")):
        etag = hashlib.md5((folder / name).read_bytes()).hexdigest()
        bare.client("s3").put_object(
            Bucket=bare.deployment.output_bucket,
            Key=output_key(name),
            Body=answer.encode(),
            Metadata={"source-etag": etag},
        )

    done = bare.generate("--testcase-folder", folder, "--run", "run.json", cwd=tmp_path)

    assert done.returncode == 1
    assert "answered    2 of 2" in done.stdout
    assert "names       1 of 2 right, 1 wrong" in done.stdout
    assert done.stdout.splitlines()[2].split()[:4] == ["b.mov", "Ben", "Unknown", "WRONG,"]
    videos = json.loads((tmp_path / "run.json").read_text())["videos"]
    assert [(v["key"], v["expected"], v["answer"]) for v in videos] == [
        ("a.mp4", "Ann", "Ann"),
        ("b.mov", "Ben", "Unknown"),
    ]


def test_a_client_with_a_slow_clock_can_grade(bare: Place, folder: Path, tmp_path: Path) -> None:
    slow = "import time\nreal = time.time\ntime.time = lambda: real() - 600\n"
    (tmp_path / "sitecustomize.py").write_text(slow)
    bare.generate("--testcase-folder", folder, "--no-wait")

    done = bare.start(
        "workload/grade.py", "--metrics-wait", 0, environ={"PYTHONPATH": str(tmp_path)}
    )

    assert "0/4  every answer came within 300 s: there is no answer" in done.stdout, done.stderr


def test_memory_use_does_not_grow_with_the_uploads(bare: Place, folder: Path) -> None:
    (folder / "a.mp4").write_bytes(b"x" * 2_000_000)
    (folder / "b.mov").unlink()

    def peak_kb(repeat: int) -> int:
        argv = bare.argv(
            "workload/generate.py", "--testcase-folder", folder, "--repeat", repeat, "--no-wait"
        )
        process = subprocess.Popen(
            argv,
            env={**PLAIN, **bare.aws.environ},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_maxrss

    assert peak_kb(100) - peak_kb(10) < 20_000  # although 180 MB more are uploaded


@pytest.mark.slow
def test_a_long_queue_does_not_delay_answers(bare: Place, folder: Path, tmp_path: Path) -> None:
    # GIVEN a queue that takes long to read, and a pipeline that answers immediately
    fill_queue(bare, [f"old-{number}.mp4" for number in range(300)])
    s3, run = bare.client("s3"), tmp_path / "run.json"
    options = ("--testcase-folder", folder, "--repeat", 8, "--interval", 0.5, "--run", run)
    argv = bare.argv("workload/generate.py", *options)
    environ = {**PLAIN, **bare.aws.environ}
    null = subprocess.DEVNULL
    with subprocess.Popen(argv, env=environ, stdout=null, stderr=null) as process:
        answered: set[str] = set()
        while process.poll() is None:
            time.sleep(0.1)
            for key in set(bare.keys(bare.deployment.input_bucket)) - answered:
                s3.put_object(Bucket=bare.deployment.output_bucket, Key=output_key(key), Body=b"A")
                answered.add(key)

    # THEN each answer is seen as soon as it arrives
    latencies = [video.latency_s for video in load(run).videos]
    assert len(latencies) == 8
    assert max(seconds for seconds in latencies if seconds is not None) < 2.5


def test_clear_and_status_handle_any_key(bare: Place, folder: Path) -> None:
    # GIVEN keys that S3 takes; no request or answer in XML can hold the first as it is
    s3, (first, _, last) = bare.client("s3"), bare.deployment.buckets
    for key in ("esc\x1b[31m.txt", "line\r\nbreak.txt", "100% ü+.txt"):
        s3.put_object(Bucket=last, Key=key, Body=b"Ann")
    pages = s3.get_paginator("list_object_versions").paginate(
        Bucket=last, PaginationConfig={"PageSize": 1}
    )
    assert len([item for page in pages for item in page["Versions"]]) == 3

    done = bare.generate("--testcase-folder", folder, "--clear", "--yes", "--no-wait")

    assert done.returncode == 0, done.stderr
    assert f"Deleted 3 objects from s3://{last}" in done.stderr
    assert bare.keys(last) == []
    assert bare.keys(first)
