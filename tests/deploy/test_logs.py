"""logs.py prints both functions' lines; status.py --video tells a video's path from them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import Any

import botocore.client
import pytest

from deploy.functions import LOG_DAYS
from deploy.logs import followed
from deploy.parts import log_search
from deploy.parts.log_search import SENT_DAYS, video_key
from deploy.parts.video_path import read_path
from pipeline.cli import Run
from pipeline.log_lines import Line
from pipeline.settings import Deployment
from tests.deploy.conftest import Account, aws_of

ID = "11111111-2222-3333-4444-555555555555"


class Logs:
    """A deployment of which only the buckets, the queue and the logs exist."""

    def __init__(self, account: Account) -> None:
        self.account, self.deployment = account, account.deployment(beside=True)
        self.now = time.time()
        for bucket in self.deployment.buckets:
            account.client("s3").create_bucket(Bucket=bucket)
        account.client("sqs").create_queue(QueueName=self.deployment.failure_queue)
        for function in self.deployment.functions:
            for number in "12":
                names = {"logGroupName": function.log_group, "logStreamName": number}
                if number == "1":
                    account.client("logs").create_log_group(logGroupName=function.log_group)
                account.client("logs").create_log_stream(**names)

    def put(self, function: str, after_s: float, *lines: Any, stream: str = "1") -> None:
        """Log lines, each a text or a step's fields, so long after now, or before."""
        group = {f.key: f.log_group for f in self.deployment.functions}[function]
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        when = int((self.now + after_s) * 1000)
        self.account.client("logs").put_log_events(
            logGroupName=group,
            logStreamName=stream,
            logEvents=[{"timestamp": when + n, "message": text} for n, text in enumerate(texts)],
        )

    def step(self, name: str, key: str = "v.mp4", request: str = ID, **more: Any) -> dict[str, Any]:
        """A line of the splitter."""
        video = f"s3://{self.deployment.input_bucket}/{key}"
        ids = {"function_request_id": request, "correlation_id": request}
        return {"step": name, "message": name, "level": "INFO", "video": video, **ids, **more}

    def embed(self, key: str = "v.jpg", request: str = ID) -> dict[str, Any]:
        """A line of the recognizer."""
        frame = f"{self.deployment.stage_1_bucket}/{key}"
        faces = [{"name": "Ann", "distance": 0.1}]
        ids = {"function_request_id": "own", "correlation_id": request}
        return {"step": "embed", "message": "embed", "frame": frame, "faces": faces, **ids}

    def run(self, *words: str) -> list[str]:
        """What logs.py prints."""
        done = self.account.run("deploy/logs.py", self.deployment, *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def path(self, *words: str) -> dict[str, Any]:
        """What status.py --video prints as JSON."""
        words = (*(words or ("--video", "v.mp4")), "--json")
        done = self.account.run("deploy/status.py", self.deployment, *words)
        found: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (found["state"] != "answered")
        return found

    def upload(self, key: str = "v.mp4") -> str:
        """Put a video, and move the clock of the log to that moment; return its ETag."""
        s3, bucket = self.account.client("s3"), self.deployment.input_bucket
        etag: str = s3.put_object(Bucket=bucket, Key=key, Body=b"x")["ETag"].strip('"')
        self.now = s3.head_object(Bucket=bucket, Key=key)["LastModified"].timestamp()
        return etag


@pytest.fixture
def logs(account: Account) -> Logs:
    return Logs(account)


def test_both_functions_lines_come_in_order_of_time(logs: Logs) -> None:
    logs.put("video-splitting", -60, logs.step("start"), stream="2")
    logs.put("video-splitting", -50, "START RequestId: r", "[ERROR] Oops: \x1b[2J")
    logs.put("face-recognition", -55, logs.embed())

    first, second, third = logs.run()

    assert "video-splitting" in first
    assert "face-recognition" in second
    assert "faces=Ann 0.1" in second
    # What a terminal would obey is escaped, and without a terminal nothing is colored
    assert third.endswith(r"ERROR    Oops: \x1b[2J")
    assert "\x1b" not in first + second + third
    assert first.split()[0] == datetime.fromtimestamp(
        int((logs.now - 60) * 1000) / 1000, timezone.utc
    ).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_one_video_is_followed_through_both_functions(logs: Logs) -> None:
    other = "99999999-0000-0000-0000-000000000000"
    logs.put("video-splitting", -60, f"START RequestId: {ID}", logs.step("start"))
    logs.put(
        "face-recognition",
        -59,
        "START RequestId: own",
        logs.embed(),
        "[ERROR] Oops",
        "REPORT RequestId: own\tDuration: 1 ms",
    )
    logs.put("video-splitting", -58, logs.step("video", ms=2000), f"REPORT RequestId: {ID}")
    logs.put(
        "video-splitting",
        -59,
        f"START RequestId: {other}",
        logs.step("start", "v2.mp4", other),
        stream="2",
    )
    logs.put("face-recognition", -58, logs.embed("v2.jpg", other), stream="2")

    lines = [json.loads(line) for line in logs.run("v.mp4", "--json")]

    assert [line["message"] for line in lines] == [
        *("start", "embed", "Oops", "Invocation ended", "video", "Invocation ended"),
    ]
    assert {line["correlation_id"] for line in lines} == {ID}
    assert logs.run(f"s3://{logs.deployment.input_bucket}/v2.mp4", "--since", "2m")


@pytest.fixture
def bucket_run(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(logs.deployment, aws_of(logs.account, monkeypatch))


def put_sent(logs: Logs, days: float, key: str) -> str:
    """Put a file as recognize.py did so many days ago; return its key."""
    when = datetime.now(timezone.utc) - timedelta(days=days)
    key = f"recognize/{when:%Y%m%d-%H%M%S}-{key}"
    logs.account.client("s3").put_object(Bucket=logs.deployment.input_bucket, Key=key, Body=b"x")
    return key


def test_a_file_that_recognize_py_has_sent_goes_by_its_name(logs: Logs, bucket_run: Run) -> None:
    s3, bucket = logs.account.client("s3"), logs.deployment.input_bucket
    # The later one of two that are found by different searches, and of two that are not
    old = put_sent(logs, 20, "ffff/sent.mp4")
    assert video_key(bucket_run, "sent.mp4") == old
    put_sent(logs, 0.1, "ffff/sent.mp4")
    time.sleep(1.1)  # S3's times are whole seconds
    last = put_sent(logs, 0.2, "0000/sent.mp4")  # of a machine in another time zone
    s3.put_object(Bucket=bucket, Key="own/sent.mp4", Body=b"x")

    assert video_key(bucket_run, "sent.mp4") == last
    assert video_key(bucket_run, "own/sent.mp4") == "own/sent.mp4"
    assert video_key(bucket_run, "ent.mp4") == "ent.mp4"
    s3.put_object(Bucket=bucket, Key="sent.mp4", Body=b"x")
    assert video_key(bucket_run, "sent.mp4") == "sent.mp4"


def test_a_name_is_looked_for_as_far_back_as_logs_are_kept(
    logs: Logs, bucket_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SENT_DAYS[-1] == LOG_DAYS
    put_sent(logs, 40, "0000/old.mp4")
    put_sent(logs, 0, "0000/new.mp4")
    real = vars(botocore.client.BaseClient)["_make_api_call"]
    listed: list[str] = []

    def make_api_call(client: Any, name: str, params: Any) -> Any:
        answer = real(client, name, params)
        listed.extend(item["Key"].split("/")[-1] for item in answer.get("Contents", []))
        return answer

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", make_api_call)

    assert video_key(bucket_run, "new.mp4").endswith("/new.mp4")
    assert listed == ["new.mp4"]
    assert video_key(bucket_run, "old.mp4") == "old.mp4"
    assert "old.mp4" not in listed


def test_a_name_is_a_key_where_videos_cannot_be_listed(account: Account, logs: Logs) -> None:
    logs.put("video-splitting", -60, logs.step("start"))
    no_bucket = account.run("deploy/logs.py", account.deployment(beside=True), "v.mp4")
    iam, name = account.client("iam"), logs.deployment.prefix
    allow = {"Effect": "Allow", "Action": "logs:FilterLogEvents", "Resource": "*"}
    iam.create_user(UserName=name)
    iam.put_user_policy(
        UserName=name,
        PolicyName="logs",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allow]}),
    )
    keys = iam.create_access_key(UserName=name)["AccessKey"]
    only_logs = account.run(
        "deploy/logs.py",
        logs.deployment,
        "v.mp4",
        AWS_ACCESS_KEY_ID=keys["AccessKeyId"],
        AWS_SECRET_ACCESS_KEY=keys["SecretAccessKey"],
    )

    assert (no_bucket.returncode, only_logs.returncode) == (0, 0)
    assert "'v.mp4' is taken for a key" in no_bucket.stderr
    assert "NoSuchBucket" in no_bucket.stderr
    assert "It takes s3:GetObject" in only_logs.stderr
    assert len(only_logs.stdout.splitlines()) == 1


def test_a_search_for_a_video_reads_only_the_times_in_which_it_was_worked_on(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in (-7200, -60):
        logs.put("video-splitting", at, logs.step("start"))
        logs.put("video-splitting", at + 1, logs.step("video", ms=1000))
    read = []
    real = log_search.all_lines

    def all_lines(aws: Any, deployment: Deployment, start: float, end: float) -> Iterator[Line]:
        read.append(end - start)
        return real(aws, deployment, start, end)

    monkeypatch.setattr(log_search, "all_lines", all_lines)

    assert len(logs.run("v.mp4")) == 4
    assert [round(seconds) for seconds in read] == [5, 5]


def test_nothing_to_show_says_where_to_look(logs: Logs) -> None:
    done = logs.account.run("deploy/logs.py", logs.deployment, "v.mp4")

    assert done.returncode == 0
    assert "No lines about" in done.stderr
    assert "deploy/status.py" in done.stderr


def test_a_denied_right_is_named(logs: Logs) -> None:
    secret = logs.account.client("iam")
    name = f"{logs.deployment.prefix}-nobody"
    secret.create_user(UserName=name)
    keys = secret.create_access_key(UserName=name)["AccessKey"]
    environ = {
        "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
    }
    done = logs.account.run("deploy/logs.py", logs.deployment, **environ)

    assert done.returncode == 1
    assert "It needs logs:FilterLogEvents on the group." in done.stderr


def test_following_prints_late_lines_once() -> None:
    log = [Line(when, "f", "INFO", f"{when}") for when in (1.0, 2.0)]
    clock = {"now": 10.0}

    def read(start: float, end: float) -> Iterator[Line]:
        return iter(
            [line for line in sorted(log, key=lambda x: x.when) if start <= line.when <= end]
        )

    def sleep(_: float) -> None:
        clock["now"] += 2
        # A line that arrives late, and one that is so new that others may still come before it
        log.extend(Line(w, "f", "INFO", f"{w}") for w in (clock["now"] - 5, clock["now"] - 1))

    found = [line.message for line in islice(followed(read, 0, sleep, lambda: clock["now"]), 8)]

    assert found == ["1.0", "2.0", "7.0", "9.0", "11.0", "13.0", "15.0", "17.0"]


def test_an_answered_video(logs: Logs) -> None:
    etag = logs.upload()
    logs.put("video-splitting", 0.1, logs.step("start"), logs.step("frames", ms=60, frames=1))
    logs.put("face-recognition", 0.2, logs.embed())
    logs.put("video-splitting", 0.3, logs.step("video", ms=200, frames=1, looks=1))
    logs.account.client("s3").put_object(
        Bucket=logs.deployment.output_bucket,
        Key="v.txt",
        Body=b"Ann",
        Metadata={"source-etag": etag},
    )

    found = logs.path()

    assert (found["state"], found["reason"].split()[0]) == ("answered", "Ann")
    assert [m["what"] for m in found["moments"]] == [
        *("uploaded", "started", "split", "recognized", "answered"),
    ]


def test_a_video_that_waits_for_a_retry(logs: Logs) -> None:
    logs.upload()
    oops = logs.step("video", error="StoreRefused: no", ms=5)
    logs.put("video-splitting", 0.1, logs.step("start"), oops)

    found = logs.path()

    assert found["state"] == "waiting for a retry"
    assert found["reason"].startswith("StoreRefused: no (attempt 1 of 3; the next in about ")


@pytest.mark.parametrize(
    ("requests", "state", "reason"),
    [
        ([ID] * 3, "failed", "Oops (its event is no longer in the failure queue)"),
        ([ID] * 3 + ["redriven"], "waiting for a retry", "Oops (attempt 1 of 3; "),
    ],
)
def test_an_event_that_was_sent_again_has_all_its_attempts(
    logs: Logs, bucket_run: Run, requests: list[str], state: str, reason: str
) -> None:
    logs.upload()
    for number, request in enumerate(requests):
        lines = [logs.step(s, request=request, error="Oops") for s in ("start", "video")]
        logs.put("video-splitting", 0.1 + number, *lines)

    found = read_path(bucket_run, "v.mp4", lambda _: None, time.time())

    assert found.state == state
    assert found.reason.startswith(reason)


@pytest.mark.parametrize(
    ("lines", "state", "reason"),
    [
        ([], "uploaded", "the splitter has not begun"),
        (["queued", "start"], "working", "attempt 1 of 3, started"),
        (["start", "frames"], "working", "attempt 1 of 3, frames taken, not yet recognized"),
        (["start", "Task timed out after 3 seconds"], "waiting for a retry", "Task timed out"),
        (["start", "REPORT RequestId: r\tStatus: error"], "waiting for a retry", "error (attempt"),
        (["start", "video"], "failed", "it was answered, but the answer has been deleted"),
    ],
)
def test_where_a_video_is(
    logs: Logs, bucket_run: Run, lines: list[str], state: str, reason: str
) -> None:
    logs.upload()
    made = [line if " " in line else logs.step(line, ms=1) for line in lines]
    logs.put("video-splitting", 0.1, f"START RequestId: {ID}", *made)

    found = read_path(bucket_run, "v.mp4", lambda _: None, time.time())

    assert found.state == state
    assert reason in found.reason


def test_a_video_in_the_failure_queue(logs: Logs) -> None:
    logs.upload("ü v.mp4")
    sqs = logs.account.client("sqs")
    url = sqs.get_queue_url(QueueName=logs.deployment.failure_queue)["QueueUrl"]
    for key, ago_s in (("other.mp4", 0), ("%C3%BC+v.mp4", 600), ("%C3%BC+v.mp4", 0)):
        when = datetime.fromtimestamp(logs.now - ago_s, timezone.utc).isoformat()
        s3 = {"bucket": {"name": logs.deployment.input_bucket}, "object": {"key": key}}
        record = {
            "requestPayload": {"Records": [{"eventTime": when, "s3": s3}]},
            "responsePayload": {"errorType": "Bad", "errorMessage": f"{key} {ago_s}"},
        }
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps(record))

    found = logs.path("--video", "ü v.mp4")

    assert found["state"] == "failed"
    assert found["reason"].startswith("Bad: %C3%BC+v.mp4 0 (message ")
    # AND a list and a look are JSON, one object per line
    listed, shown = (
        [
            json.loads(line)
            for line in logs.account.run(
                "deploy/failures.py", logs.deployment, action, "--json"
            ).stdout.splitlines()
        ]
        for action in ("list", "show")
    )
    video = f"s3://{logs.deployment.input_bucket}/ü v.mp4"
    assert [entry["videos"] for entry in listed].count([video]) == 2
    assert {tuple(entry) for entry in listed} == {("message_id", "time", "videos", "reason")}
    assert [len(record) for record in shown] == [2, 2, 2]
    # AND the messages can be read at once by others
    count = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
    assert count["Attributes"]["ApproximateNumberOfMessages"] == "3"


def test_a_video_that_is_not_there(logs: Logs) -> None:
    assert logs.path()["state"] == "missing"


def test_an_object_that_is_not_a_video(logs: Logs) -> None:
    logs.upload("a.txt")
    assert logs.path("--video", "a.txt")["state"] == "skipped"
