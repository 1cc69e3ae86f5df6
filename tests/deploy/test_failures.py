"""Reading and redriving the failure queue, in queues that the local AWS keeps."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from deploy.failures import ensure_queue
from deploy.parts.failed_events import found, queue_url, received
from deploy.parts.redrive import Redrive
from deploy.roles import ensure_roles
from pipeline.aws import AwsError
from pipeline.cli import Run
from pipeline.queue_reader import Sweep
from tests.deploy.conftest import Account
from tests.local_aws.conftest import zipped

LOGS = """
def handler(event, context):
    print("GOT", event["Records"][0]["s3"]["object"]["key"])
"""
FAILS = LOGS + "    raise ValueError('again')\n"


def body(key: str) -> str:
    """Lambda's record of an event about `key`."""
    s3 = {"bucket": {"name": "p-input"}, "object": {"key": key}}
    return json.dumps(
        {
            "timestamp": "2026-11-24T02:30:25.500Z",
            "requestContext": {"condition": "RetriesExhausted"},
            "requestPayload": {"Records": [{"s3": s3}]},
        }
    )


class Queue:
    """The failure queue of a run's deployment."""

    def __init__(self, run: Run) -> None:
        """Create it."""
        ensure_queue(run)
        self.url = queue_url(run)
        self.sqs: Any = run.aws.client("sqs")

    def fill(self, *bodies: str) -> None:
        """Send a message with each body."""
        for start in range(0, len(bodies), 10):
            some = enumerate(bodies[start : start + 10])
            entries = [{"Id": str(n), "MessageBody": text} for n, text in some]
            self.sqs.send_message_batch(QueueUrl=self.url, Entries=entries)

    def counts(self) -> tuple[int, int]:
        """How many messages are visible, and how many are hidden."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)
        visible, hidden = (int(answer["Attributes"][name]) for name in names)
        return visible, hidden


@pytest.fixture
def queue(run: Run) -> Queue:
    """An empty failure queue."""
    return Queue(run)


def create_splitter(run: Run, code: str) -> None:
    """Create a splitter with this code, which is tried once and reports to the queue."""
    roles, client = ensure_roles(run), run.aws.client("lambda")
    splitter = run.deployment.splitter
    run.aws.client("logs").create_log_group(logGroupName=splitter.log_group)
    client.create_function(
        FunctionName=splitter.name,
        Runtime="python3.12",
        Handler="handler.handler",
        Role=roles[splitter.key],
        Code={"ZipFile": zipped({"handler.py": code})},
    )
    client.put_function_event_invoke_config(
        FunctionName=splitter.name,
        MaximumRetryAttempts=0,
        DestinationConfig={"OnFailure": {"Destination": ensure_queue(run)}},
    )


def received_keys(run: Run, count: int) -> list[str]:
    """The keys that the splitter has logged, once there are so many."""
    logs: Any = run.aws.client("logs")
    deadline = time.monotonic() + 30
    keys: list[str] = []
    while len(keys) < count and time.monotonic() < deadline:
        time.sleep(0.1)
        events = logs.filter_log_events(logGroupName=run.deployment.splitter.log_group)["events"]
        keys = [e["message"].split()[1] for e in events if e["message"].startswith("GOT ")]
    return sorted(keys)


def test_a_long_queue_is_listed_at_once_and_left_as_it_was(
    account: Account, run: Run, queue: Queue
) -> None:
    keys = [f"{number:03}.mp4" for number in range(230)]
    queue.fill(*map(body, keys))

    # Twice, since the first one makes what it has hidden visible again.
    for _ in range(2):
        done = account.run("deploy/failures.py", run.deployment, "list")
        assert sorted(line.split("/")[3].split()[0] for line in done.stdout.splitlines()) == keys
        assert "230 failures in" in done.stderr
        assert queue.counts() == (230, 0)

    # The first messages are given before the last are received.
    with received(run) as sweep:
        assert next(found(run, sweep, None))
        assert queue.counts()[0] > 0


def test_keys_and_errors_are_shown_escaped(account: Account, run: Run, queue: Queue) -> None:
    record = json.loads(body("a%1B%5B31m%0Ab.mp4"))
    record["responsePayload"] = {"errorType": "Bad", "errorMessage": "\x1b[2Jgone\nall well"}
    queue.fill(json.dumps(record))

    done = account.run("deploy/failures.py", run.deployment, "list")
    listed = done.stdout
    sent = account.run("deploy/failures.py", run.deployment, "redrive", "--dry-run").stderr

    assert listed.splitlines()[0].endswith(r"a\x1b[31m\nb.mp4  Bad: \x1b[2Jgone\nall well")
    assert len(listed.splitlines()) == 1
    assert f"1 failure in '{run.deployment.failure_queue}'" in done.stderr
    assert r"(s3://p-input/a\x1b[31m\nb.mp4)" in sent
    assert "\x1b" not in listed + sent


def test_a_sweep_ends_although_its_messages_come_back_meanwhile(
    account: Account, run: Run, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.fill(*(body(f"{number}.mp4") for number in range(5)))
    monkeypatch.setattr("deploy.parts.failed_events.HIDDEN_S", 0)

    done = account.run("deploy/failures.py", run.deployment, "list")

    assert len(done.stdout.splitlines()) == 5


def test_progress_is_reported(run: Run, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.fill(*(body(f"{number}.mp4") for number in range(5)))
    monkeypatch.setattr("deploy.parts.failed_events.NOTE_EVERY_S", 0)
    notes: list[str] = []
    monkeypatch.setattr(run, "note", notes.append)

    with received(run) as sweep, pytest.raises(AwsError, match="No message nobody is in the queue"):
        list(found(run, sweep, "nobody"))

    assert "5 messages read" in notes


def test_two_redrives_at_once_send_each_event_once(
    account: Account, run: Run, queue: Queue
) -> None:
    create_splitter(run, LOGS)
    keys = [f"{number:02}.mp4" for number in range(45)]
    queue.fill(*map(body, keys), "not Lambda's")

    with ThreadPoolExecutor(2) as pool:
        runs = [Run(run.deployment, run.aws), Run(run.deployment, run.aws)]
        list(pool.map(redrive_all, runs))

    assert received_keys(run, len(keys)) == keys
    assert queue.counts() == (1, 0)
    # A third has nothing to send.
    again = account.run("deploy/failures.py", run.deployment, "redrive")
    assert "it holds no event" in again.stderr
    assert received_keys(run, len(keys)) == keys


def redrive_all(run: Run) -> None:
    """What the command does."""
    with received(run) as sweep:
        redrive = Redrive(run, sweep)
        for events in found(run, sweep, None):
            redrive.send(events)


def test_an_event_that_fails_again_is_sent_once(account: Account, run: Run, queue: Queue) -> None:
    create_splitter(run, FAILS)
    keys = [f"{number:02}.mp4" for number in range(15)]
    queue.fill(*map(body, keys))

    done = account.run("deploy/failures.py", run.deployment, "redrive")

    assert done.returncode == 0, done.stderr
    assert done.stderr.count("redrive ") == len(keys)
    assert received_keys(run, len(keys)) == keys
    deadline = time.monotonic() + 30
    while queue.counts() != (len(keys), 0) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert queue.counts() == (len(keys), 0)


def test_what_lambda_does_not_take_stays_in_the_queue(
    account: Account, run: Run, queue: Queue
) -> None:
    queue.fill(body("a.mp4"), body("b.mp4"))

    done = account.run("deploy/failures.py", run.deployment, "redrive")

    assert done.returncode == 1
    assert "Invoke failed: ResourceNotFoundException: Function not found" in done.stderr
    assert queue.counts() == (2, 0)


def test_a_message_that_cannot_be_deleted_is_named(
    run: Run, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_splitter(run, LOGS)
    queue.fill(body("a.mp4"))

    def refuse(_: Sweep, events: Any) -> dict[str, str]:
        return {events[0].message_id: "InternalError: try later"}

    monkeypatch.setattr(Sweep, "delete", refuse)
    with pytest.raises(AwsError, match=r"cannot be deleted from '.*-failures': InternalError"):
        redrive_all(run)

    assert queue.counts() == (1, 0)
