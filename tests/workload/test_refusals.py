"""Bad input, missing rights, big buckets: clear words, nothing uploaded, nothing lost."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pipeline.aws import Aws
from pipeline.keys import output_key
from tests.workload.conftest import PLAIN, Place, failure
from workload.running.failure_queue import PEEK_S, peek
from workload.running.run import load


def nothing(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (nothing, "has no videos"),
        (lambda folder: (folder / "c.mp4").symlink_to("gone"), "c.mp4: No such file"),
        (lambda folder: os.mkfifo(folder / "c.mp4"), "c.mp4 is no file"),
        (write("expected.csv", "key,person\na.mp4,Ann\n"), "starts with key,person"),
        (write("expected.csv", "video,name\na.mp4,Ann\na.mp4,Ann\n"), "names a.mp4 again"),
        (write("expected.csv", "video,name\nz.mp4,Ann\n"), "has not: z.mp4"),
    ],
    ids=["no videos", "unreadable", "pipe", "columns", "twice", "unknown"],
)
def test_a_bad_folder_is_refused_and_nothing_uploaded(
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
        (("--testcase-folder", ".", "--access_key", "a\nb", "--secret_key", "s"), 2, "is not one"),
        (("--testcase-folder", ".", "--prefix", "No_Prefix"), 1, "cannot start a bucket name"),
        (("--testcase-folder", ".", "--profile", "nobody"), 1, "nobody"),
    ],
)
def test_bad_options_are_refused(
    bare: Place, folder: Path, options: tuple[object, ...], status: int, message: str
) -> None:
    done = bare.generate(*options, cwd=folder)

    assert done.returncode == status, done.stderr
    assert message in done.stderr
    assert bare.keys(bare.deployment.input_bucket) == []


def test_a_wrong_prefix_is_named(bare: Place, folder: Path) -> None:
    done = bare.generate("--testcase-folder", folder, prefix="nosuch")
    graded = bare.grade(prefix="nosuch")

    assert done.returncode == graded.returncode == 1
    assert "There is no bucket 'nosuch-input'" in done.stderr
    assert "s3://nosuch-input/: does not exist" in graded.stdout
    assert "0/100 points" in graded.stdout


def test_wrong_keys_are_refused_and_never_printed(bare: Place, folder: Path) -> None:
    access = bare.aws.environ["AWS_ACCESS_KEY_ID"]
    secret = "wrong/secret+key/wrong/secret+key/wrong0"
    for key, message in ((access, "secret key does not match"), ("AKIA" + "X" * 16, "unknown")):
        words = ("--access_key", key, "--secret_key", secret)
        for done in (bare.generate("--testcase-folder", folder, *words), bare.grade(*words)):
            assert done.returncode == 1
            assert message in done.stderr
            assert key not in done.stderr
            assert secret not in done.stderr


def user(place: Place, allowed: list[str], denied: list[str] | None = None) -> dict[str, str]:
    """The environment of a user who may do nothing else."""
    iam, name = place.client("iam"), place.deployment.prefix
    iam.create_user(UserName=name)
    statements = [{"Effect": "Allow", "Action": allowed, "Resource": "*"}]
    if denied:
        statements.append({"Effect": "Deny", "Action": denied, "Resource": "*"})
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_user_policy(UserName=name, PolicyName="read", PolicyDocument=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }


def test_without_the_right_to_read_objects_it_says_which(bare: Place, folder: Path) -> None:
    # GIVEN an output of before, whose metadata must be read
    output = bare.deployment.output_bucket
    bare.client("s3").put_object(Bucket=output, Key="a.txt", Body=b"Ann")
    environ = user(bare, ["*"], ["s3:GetObject"])

    done = bare.generate("--testcase-folder", folder, "--deadline", 5, environ=environ)
    graded = bare.grade("--metrics-wait", 0, environ=environ)

    for refused, bucket, key in (
        (done, bare.deployment.input_bucket, "a.mp4"),
        (graded, output, "a.txt"),
    ):
        assert refused.returncode == 1
        assert f"Cannot read s3://{bucket}/{key}: HeadObject failed: 403" in refused.stderr
        assert f"It takes s3:GetObject on '{bucket}'" in refused.stderr


def test_a_queue_that_was_not_read_is_not_called_empty(bare: Place, folder: Path) -> None:
    environ = user(bare, ["*"], ["sqs:*"])

    done = bare.generate("--testcase-folder", folder, "--deadline", 1, environ=environ)

    assert "may not be read" in done.stderr
    assert "a.mp4: no answer yet, the failure queue was not read" in done.stdout
    assert "nothing in the failure queue" not in done.stdout
    told = bare.grade("--menu", answers="3\nq\n", environ=environ)
    assert f"{bare.deployment.failure_queue}: not read" in told.stdout


def test_a_client_whose_clock_is_slow_can_grade(bare: Place, folder: Path, tmp_path: Path) -> None:
    slow = "import time\nreal = time.time\ntime.time = lambda: real() - 600\n"
    (tmp_path / "sitecustomize.py").write_text(slow)
    bare.generate("--testcase-folder", folder, "--no-wait")

    done = bare.grade("--metrics-wait", 0, environ={"PYTHONPATH": str(tmp_path)})

    assert "0/4  every answer came within 300 s: there is no answer" in done.stdout, done.stderr


def test_a_run_that_waited_for_nothing_is_no_report(
    bare: Place, folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run.json"
    bare.generate("--testcase-folder", folder, "--no-wait", "--run", run)

    done = bare.run("workload/report.py", "--run", run, "--output", tmp_path / "r.html")

    assert done.returncode == 1
    assert "waited for no answer" in done.stderr
    assert not (tmp_path / "r.html").exists()


def test_the_report_takes_the_documents_spelling(bare: Place, folder: Path, tmp_path: Path) -> None:
    run, page = tmp_path / "run.json", tmp_path / "r.html"
    bare.generate("--testcase-folder", folder, "--deadline", 0, "--run", run)
    keys = (bare.aws.environ["AWS_ACCESS_KEY_ID"], bare.aws.environ["AWS_SECRET_ACCESS_KEY"])
    words = ["--asu_id", bare.deployment.prefix, "--access_key", keys[0], "--secret_key", keys[1]]
    argv = bare.argv("workload/report.py", *words, "--run", run, "--output", page)
    del argv[2:4]  # --prefix
    environ = {**PLAIN, "AWS_ENDPOINT_URL": bare.aws.endpoint}

    content = json.loads(run.read_text())
    ended = content["ended"] - 60  # so that nobody waits for logs
    run.write_text(json.dumps({**content, "ended": ended}))
    done = subprocess.run(argv, env=environ, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert page.exists()
    assert keys[1] not in page.read_text() + done.stdout + done.stderr


def test_a_run_with_wrong_types_is_told(bare: Place, folder: Path, tmp_path: Path) -> None:
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


def test_a_csv_without_a_line_is_called_empty(bare: Place, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("video,name\n")

    done = bare.grade("--expected", tmp_path / "e.csv")

    assert done.returncode == 1
    assert "e.csv has its first line alone and names no video" in done.stderr


def test_a_suffix_in_mixed_case_is_said_to_be_left_out(bare: Place, folder: Path) -> None:
    (folder / "Mixed.Mp4").write_bytes(b"video")

    done = bare.generate("--testcase-folder", folder, "--no-wait")

    assert done.returncode == 0
    assert (
        "Left out: Mixed.Mp4. S3 starts the pipeline for suffixes in lower or upper" in done.stderr
    )
    nothing(folder)
    (folder / "Mixed.Mp4").write_bytes(b"video")
    assert "Left out: Mixed.Mp4" in bare.generate("--testcase-folder", folder).stderr


def test_a_video_whose_name_starts_with_a_space(bare: Place, folder: Path, tmp_path: Path) -> None:
    (folder / "a.mp4").rename(folder / " lead.mp4")
    (folder / "expected.csv").write_text("video,name\n lead.mp4,Ann\nb.mov , Bob\n")
    copied = tmp_path / "e.csv"

    done = bare.generate("--testcase-folder", folder, "--no-wait", "--expected-out", copied)

    assert done.returncode == 0, done.stderr
    graded = bare.grade("--expected", copied, "--metrics-wait", 0)
    assert "/100 points" in graded.stdout, graded.stderr


def test_without_the_right_to_upload_it_says_so(bare: Place, folder: Path, tmp_path: Path) -> None:
    environ, name = user(bare, ["s3:ListBucket"]), bare.deployment.prefix

    run = tmp_path / "run.json"
    done = bare.generate("--testcase-folder", folder, "--run", run, environ=environ)

    assert done.returncode == 1
    assert re.search(f"Cannot upload {folder}/(.*) to s3://{name}-input/\\1: ", done.stderr)
    assert "AccessDenied" in done.stderr
    assert "s3:PutObject" in done.stderr
    assert json.loads(run.read_text())["videos"] == []
    # AND the grader, too, names the right that it lacks
    graded = bare.grade(environ=environ)
    assert graded.returncode == 1
    assert "lambda:GetFunctionConfiguration" in graded.stderr


@pytest.fixture
def expired() -> Iterator[str]:
    """A server that answers as STS does when a session has ended."""

    class Refuse(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            error = "<Code>ExpiredToken</Code><Message>The token is expired</Message>"
            body = f"<ErrorResponse><Error>{error}</Error></ErrorResponse>".encode()
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            """Be quiet."""

    server = HTTPServer(("127.0.0.1", 0), Refuse)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_expired_session_is_told(bare: Place, folder: Path, expired: str) -> None:
    words = ("--endpoint-url", expired)
    for done in (bare.generate("--testcase-folder", folder, *words), bare.grade(*words)):
        assert done.returncode == 1
        assert "ExpiredToken" in done.stderr
        assert "sign in again" in done.stderr


def test_a_report_that_cannot_be_made_is_told_before_the_upload(
    bare: Place, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "jinja2.py").write_text("raise ImportError('No module named jinja2')")
    environ = {"PYTHONPATH": str(tmp_path)}

    done = bare.generate("--testcase-folder", folder, "--report", "r.html", environ=environ)

    assert done.returncode == 1
    assert "--report needs packages" in done.stderr
    assert bare.keys(bare.deployment.input_bucket) == []


def test_no_other_expected_csv_is_overwritten(bare: Place, folder: Path, tmp_path: Path) -> None:
    (folder / "expected.csv").write_text("video,name\na.mp4,Ann\nb.mov,Bob\n")
    mine = tmp_path / "expected.csv"
    mine.write_text("video,name\ntest_00.mp4,Zoe\n")
    options = ("--testcase-folder", folder, "--repeat", 3, "--no-wait")

    for cwd, message in ((tmp_path, "says other things"), (folder, "would overwrite those")):
        done = bare.generate(*options, cwd=cwd)
        assert done.returncode == 1
        assert message in done.stderr
    assert bare.keys(bare.deployment.input_bucket) == []
    assert mine.read_text() == "video,name\ntest_00.mp4,Zoe\n"

    # WHEN the user says so, and when nothing is lost, it is written
    for more in (("--expected-out", "expected.csv"), ()):
        assert bare.generate(*options, *more, cwd=tmp_path).returncode == 0
    names = ["video,name", "test_00.mp4,Ann", "test_01.mov,Bob", "test_02.mp4,Ann"]
    assert mine.read_text().splitlines() == names
    assert sorted(bare.keys(bare.deployment.input_bucket)) == [n.split(",")[0] for n in names[1:]]


def test_a_dry_run_changes_nothing(bare: Place, folder: Path, tmp_path: Path) -> None:
    (folder / "expected.csv").write_text("video,name\na.mp4,Ann\n")
    bare.client("s3").put_object(Bucket=bare.deployment.output_bucket, Key="kept", Body=b"")

    done = bare.generate(
        "--testcase-folder", folder, "--repeat", 2, "--clear", "--dry-run", cwd=tmp_path
    )

    assert done.returncode == 0
    assert f"Would delete 1 objects of s3://{bare.deployment.output_bucket}" in done.stderr
    assert "Would upload" in done.stderr
    assert [len(bare.keys(bucket)) for bucket in bare.deployment.buckets] == [0, 0, 1]
    assert not (tmp_path / "expected.csv").exists()


def test_clear_asks_and_copes_with_thousands(bare: Place, folder: Path) -> None:
    s3, (first, _, last) = bare.client("s3"), bare.deployment.buckets
    s3.put_object(Bucket=first, Key="old.mp4", Body=b"")

    def put(number: int) -> None:
        s3.put_object(Bucket=last, Key=f"k{number}", Body=b"")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(1005)))
    # GIVEN more than a page of objects, all of which the grader sees
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
    assert f"Deleted 1005 objects of s3://{last}" in done.stderr
    assert sorted(bare.keys(first)) == ["a.mp4", "b.mov"]
    assert bare.keys(last) == []


def test_missing_answers_are_named_at_the_deadline(bare: Place, folder: Path) -> None:
    # GIVEN an output of another content, which does not count
    s3, output = bare.client("s3"), bare.deployment.output_bucket
    s3.put_object(Bucket=output, Key="a.txt", Body=b"x", Metadata={"source-etag": "other"})

    done = bare.generate("--testcase-folder", folder, "--deadline", 1)

    assert done.returncode == 1
    assert "missing     2\n  a.mp4: no answer" in done.stdout
    assert "b.mov: no answer" in done.stdout
    # AND the grader calls it what it is, when the input is the later one
    graded = bare.grade("--metrics-wait", 0)
    assert "a.txt: is of an earlier upload of a.mp4" in graded.stdout


def test_a_csv_or_run_of_other_videos_is_refused(bare: Place, folder: Path, tmp_path: Path) -> None:
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


def test_memory_does_not_grow_with_the_uploads(bare: Place, folder: Path) -> None:
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

    assert peak_kb(100) - peak_kb(10) < 20_000  # 180 MB more are uploaded


@pytest.mark.parametrize("script", ["generate", "grade"])
def test_help_says_what_to_paste_and_why_a_profile_is_better(bare: Place, script: str) -> None:
    done = bare.run(f"workload/{script}.py", "--help")

    assert f"workload/{script}.py --prefix P" in done.stdout
    assert "--access_key" in done.stdout
    assert "history" in done.stdout


def fill_queue(place: Place, keys: list[str]) -> None:
    """Put a message about each of `keys` into the failure queue, of an upload of long ago."""
    sqs = place.client("sqs")
    url = sqs.get_queue_url(QueueName=place.deployment.failure_queue)["QueueUrl"]
    for start in range(0, len(keys), 10):
        bodies = [failure(key, place.deployment.input_bucket) for key in keys[start : start + 10]]
        entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies)]
        sqs.send_message_batch(QueueUrl=url, Entries=entries)


def test_old_messages_do_not_make_answers_late(bare: Place, folder: Path, tmp_path: Path) -> None:
    # GIVEN a queue that takes long to read, and a pipeline that answers at once
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

    # THEN each is seen when it is there
    latencies = [video.latency_s for video in load(run).videos]
    assert len(latencies) == 8
    assert max(seconds for seconds in latencies if seconds is not None) < 2.5


def test_every_message_of_a_long_queue_is_read_and_none_taken(bare: Place) -> None:
    queue = bare.deployment.failure_queue
    keys = [f"{number:03d}.mp4" for number in range(120)]
    fill_queue(bare, keys)
    aws = Aws(
        bare.aws.region,
        endpoint_url=bare.aws.endpoint,
        keys=(bare.aws.environ["AWS_ACCESS_KEY_ID"], bare.aws.environ["AWS_SECRET_ACCESS_KEY"]),
    )

    for _ in range(2):
        assert sorted({found.key for found in peek(aws, queue)}) == keys
        time.sleep(PEEK_S + len(keys) // 50)
