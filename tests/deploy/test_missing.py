"""Uploads that have neither an answer nor a message, in buckets that the local AWS keeps."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote_plus

import pytest

from deploy.parts.missing import Reported, Search
from deploy.parts.queues import find_queue, messages_in
from deploy.parts.retries import under_way_s
from pipeline.cli import Run
from pipeline.keys import output_key
from pipeline.settings import ROOT
from tests.deploy.conftest import Account
from tests.deploy.test_failures import LOGS, Queue, create_splitter, received_keys

SCRIPT = "deploy/failures.py"
POLICY = re.compile(r"## Videos that are missing.*?```json\n(.*?)```", re.DOTALL)


class Bucket:
    """The buckets and queues of a run's deployment."""

    def __init__(self, account: Account, run: Run) -> None:
        """Create them."""
        self.account, self.run, self.queue = account, run, Queue(run)
        self.s3: Any = run.aws.client("s3")
        for bucket in run.deployment.buckets:
            self.s3.create_bucket(Bucket=bucket)

    def upload(self, key: str, content: bytes = b"a video") -> str:
        """Upload it; return its ETag."""
        bucket = self.run.deployment.input_bucket
        return str(self.s3.put_object(Bucket=bucket, Key=key, Body=content)["ETag"].strip('"'))

    def answer(self, key: str, etag: str) -> None:
        """Write the text as the functions do."""
        self.s3.put_object(
            Bucket=self.run.deployment.output_bucket,
            Key=output_key(key),
            Body=b"Ann",
            Metadata={"source-etag": etag},
        )

    def fail(self, key: str, etag: str) -> None:
        """Put the message into the queue that Lambda or the splitter sends."""
        about = {"key": quote_plus(key, safe="/"), "eTag": etag}
        s3 = {"bucket": {"name": self.run.deployment.input_bucket}, "object": about}
        self.queue.fill(json.dumps({"requestPayload": {"Records": [{"s3": s3}]}}))

    def failures(self, *words: str, **environ: str) -> Any:
        """What the command does."""
        return self.account.run(SCRIPT, self.run.deployment, *words, **environ)

    def missing(self, *words: str) -> list[str]:
        """The keys that `missing` lists."""
        lines = self.failures("missing", "--json", "--older-than", "0", *words).stdout.splitlines()
        return [json.loads(line)["key"] for line in lines]


@pytest.fixture
def bucket(account: Account, run: Run, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Empty buckets and an empty failure queue, whose one server needs no waiting."""
    monkeypatch.setattr("deploy.parts.failed_events.WAIT_S", 0)
    return Bucket(account, run)


def test_what_has_neither_answer_nor_message_is_listed(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN more than a page of uploads, answered, failed, skipped, and neither
    monkeypatch.setattr("deploy.parts.missing.PAGE", 3)
    for key in ("a.mp4", "a.mov", "b/ü b+c.mp4", "z/output-00.mp4"):
        bucket.answer(key, bucket.upload(key))
    for key in ("bad.mp4", "b/ü bad+.mp4", "no suffix"):
        bucket.fail(key, bucket.upload(key))
    for key in ("photo.jpg", "folder/"):
        bucket.upload(key)
    lost = ["lost/ü b+c.mp4", "lost/\x1b[31m.MOV", "unnamed"]
    for key in lost:
        bucket.upload(key)
    # AND an answer and a message of earlier versions, whose keys have new ones
    bucket.answer("again.mp4", bucket.upload("again.mp4", b"earlier"))
    bucket.fail("worse.mp4", bucket.upload("worse.mp4", b"earlier"))
    etag = bucket.upload("again.mp4", b"later")
    bucket.upload("worse.mp4", b"later")
    # AND a message about another bucket's object, and one that is not Lambda's
    bucket.queue.fill("hello")

    done = bucket.failures("missing", "--older-than", "0")

    assert done.returncode == 1
    lines = done.stdout.splitlines()
    prefix = f"s3://{bucket.run.deployment.input_bucket}"
    shown = ["again.mp4", r"lost/\x1b[31m.MOV", "lost/ü b+c.mp4", "unnamed", "worse.mp4"]
    assert [line.split("  ")[1] for line in lines] == [f"{prefix}/{key}" for key in shown]
    assert "  5 bytes  only an earlier version's answer" in lines[0]
    assert "  7 bytes  no answer" in lines[1]
    assert ": 5 of 12 videos." in done.stderr
    assert done.stderr.endswith("redrive --missing --older-than 0\n")
    assert bucket.queue.counts() == (5, 0)
    first = json.loads(
        bucket.failures("missing", "--older-than", "0", "--json").stdout.splitlines()[0]
    )
    assert (first["key"], first["etag"]) == ("again.mp4", etag)
    assert first["answer_etag"] not in (etag, None)


def test_what_may_still_be_tried_is_under_way(bucket: Bucket) -> None:
    bucket.upload("new.mp4")

    done = bucket.failures("missing")

    assert (done.returncode, done.stdout) == (0, "")
    assert "Still under way: 1 more, uploaded within the last 66 minutes" in done.stderr


@pytest.mark.parametrize(("age", "found"), [(-30, []), (30, ["a.mp4"])])
def test_an_upload_is_missing_once_all_retries_are_over(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, age: int, found: list[str]
) -> None:
    bucket.upload("a.mp4")
    limit_s = under_way_s(bucket.run.deployment)
    assert limit_s == 3600 + 280 + 60
    later = datetime.now(timezone.utc) + timedelta(seconds=limit_s + age)
    monkeypatch.setattr("deploy.parts.missing._time_of", lambda page: later)

    search = Search(bucket.run, Reported(bucket.run.deployment.input_bucket), limit_s)

    assert [upload.key for upload in search] == found


def test_missing_uploads_are_sent_to_the_splitter_after_asking(bucket: Bucket) -> None:
    create_splitter(bucket.run, LOGS)
    etag = bucket.upload("ü b+c.mp4")
    words = ("redrive", "--missing", "--older-than", "0")

    dry = bucket.failures(*words, "--dry-run")
    asked = bucket.failures(*words)
    assert received_keys(bucket.run, 0) == []
    sent = bucket.failures(*words, "--yes")

    uri = f"s3://{bucket.run.deployment.input_bucket}/ü b+c.mp4"
    assert f"Would redrive {uri}" in dry.stderr
    assert "Send 1 upload to the splitter? [y/N]" in asked.stderr
    assert asked.returncode == 1
    assert f"redrive {uri}" in sent.stderr
    assert received_keys(bucket.run, 1) == ["%C3%BC+b%2Bc.mp4"]
    # THEN its failure is known by the version
    bucket.fail("ü b+c.mp4", etag)
    assert bucket.missing() == []
    assert ": 0 of 1 video." in bucket.failures(*words, "--yes").stderr


def test_what_lambda_does_not_take_is_named(bucket: Bucket) -> None:
    bucket.upload("a.mp4")

    done = bucket.failures("redrive", "--missing", "--older-than", "0", "--yes")

    assert done.returncode == 1
    assert "Invoke failed: ResourceNotFoundException: Function not found" in done.stderr
    assert "redrive s3" not in done.stderr


def test_uploads_that_wait_in_a_queue_are_under_way(bucket: Bucket) -> None:
    sqs, name = bucket.queue.sqs, bucket.run.deployment.upload_queue
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="{}")
    bucket.upload("a.mp4")

    done = bucket.failures("missing")

    assert (done.returncode, done.stdout) == (0, "")
    assert f"Perhaps still under way: 1 more, as '{name}' has 1 upload. Run" in done.stderr
    # An age that somebody names decides.
    assert bucket.missing() == ["a.mp4"]


def test_hidden_messages_are_mentioned(bucket: Bucket) -> None:
    bucket.fail("a.mp4", bucket.upload("a.mp4"))
    bucket.queue.sqs.receive_message(QueueUrl=bucket.queue.url, VisibilityTimeout=60)

    said = bucket.failures("missing", "--older-than", "0").stderr
    assert "has hidden 1 message, which" in said
    assert ": 1 of 1 video." in said


def test_progress_is_reported(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.parts.missing.NOTE_EVERY_S", 0)
    for number in range(3):
        bucket.upload(f"{number}.mp4")

    assert "2 videos looked at" in bucket.failures("missing", "--older-than", "0").stderr


@pytest.mark.parametrize(
    "words",
    [
        ("list", "--missing"),
        ("list", "--older-than", "1"),
        ("redrive", "--older-than", "1"),
        ("redrive", "--json"),
        ("redrive", "--yes"),
        ("missing", "some-id"),
        ("redrive", "some-id", "--missing"),
    ],
)
def test_words_that_do_not_go_together_are_refused(
    account: Account, run: Run, words: tuple[str, ...]
) -> None:
    done = account.run(SCRIPT, run.deployment, *words)

    assert done.returncode == 2
    assert "cannot be used with this action" in done.stderr


@pytest.mark.parametrize("needless", ["sqs:SendMessage", "lambda:InvokeFunction"])
def test_the_documented_rights_are_enough_and_each_is_needed(bucket: Bucket, needless: str) -> None:
    create_splitter(bucket.run, LOGS)
    text = (ROOT / "docs/errors.md").read_text()
    (written,) = POLICY.findall(text)
    deployment = bucket.run.deployment
    policy = json.loads(
        written.replace(":P-", f":{deployment.prefix}-")
        .replace("REGION:ACCOUNT", "us-east-1:123456789012")
        .replace(":video-splitting", f":{deployment.splitter.name}")
    )
    iam = bucket.account.client("iam")
    iam.create_user(UserName=deployment.prefix)
    key = iam.create_access_key(UserName=deployment.prefix)["AccessKey"]
    keys = {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }
    bucket.upload("a.mp4")
    bucket.queue.fill("hello")
    bucket.queue.sqs.create_queue(QueueName=deployment.upload_queue)
    if needless == "lambda:InvokeFunction":  # a small account: the splitter reads the queue
        arn = f"arn:aws:sqs:us-east-1:123456789012:{deployment.upload_queue}"
        takes = {"Effect": "Allow", "Action": "sqs:*", "Resource": arn}
        iam.put_role_policy(
            RoleName=deployment.splitter.role,
            PolicyName="queue",
            PolicyDocument=json.dumps({**policy, "Statement": [takes]}),
        )
        bucket.account.client("lambda").create_event_source_mapping(
            EventSourceArn=arn, FunctionName=deployment.splitter.name, Enabled=False
        )

    def run(statements: list[Any]) -> tuple[int, str]:
        document = json.dumps({**policy, "Statement": statements})
        iam.put_user_policy(
            UserName=deployment.prefix, PolicyName="missing", PolicyDocument=document
        )
        done = bucket.failures("redrive", "--missing", "--older-than", "0", "--yes", **keys)
        return done.returncode, done.stderr

    assert run(policy["Statement"])[0] == 0
    # THEN the event went where uploads go
    found = find_queue(bucket.run, deployment.upload_queue)
    assert found
    assert messages_in(found[1]) == (needless == "lambda:InvokeFunction")
    for statement in policy["Statement"]:
        for action in statement["Action"]:
            less = {**statement, "Action": [a for a in statement["Action"] if a != action]}
            others = [s for s in policy["Statement"] if s is not statement]
            status, said = run([*others, less] if less["Action"] else others)
            assert status == (action != needless), action
            assert action == needless or "ermission" in said, said


def measured(bucket: Bucket, count: int) -> tuple[int, float, float]:
    """How many of `count` uploads `missing` lists, its seconds and its peak memory in MB."""
    code = (
        "import resource, runpy, sys, atexit\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "atexit.register(lambda: print(f'PEAK {peak():.0f}', file=sys.stderr))\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    names = ["--prefix", bucket.run.deployment.prefix]
    names += ["--namespace", bucket.run.deployment.namespace]
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / SCRIPT), *names, "missing", "--older-than", "0"],
        env={**os.environ, **bucket.account.aws.environ},
        capture_output=True,
        text=True,
    )
    assert f"of {count:,} videos" in done.stderr, done.stderr
    peak = float(done.stderr.split("PEAK ")[1].split()[0])
    return len(done.stdout.splitlines()), time.monotonic() - started, peak


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ten_thousand_uploads_take_bounded_time_and_memory(bucket: Bucket) -> None:
    def fill(numbers: range, work: Callable[[int], None]) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, numbers))

    def answered(number: int) -> None:
        key = f"{number:05}.mp4"
        if number % 100 == 0:
            bucket.upload(key)
        else:
            bucket.answer(key, bucket.upload(key))

    fill(range(1000), answered)
    few = measured(bucket, 1000)
    fill(range(1000, 10_000), answered)
    many = measured(bucket, 10_000)

    print(f"1,000: {few}, 10,000: {many}")
    assert (few[0], many[0]) == (10, 100)
    assert many[1] < 180
    assert many[2] < few[2] + 30
