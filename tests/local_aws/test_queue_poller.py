"""Functions that read queues: batches, failed items, limits, and events of S3 in between."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from local_aws.executor import Executor
from local_aws.function import FunctionSpec, Result
from local_aws.moto_mappings import Mapping
from local_aws.process import LocalAWS
from local_aws.queue_poller import Poller, failures
from tests.local_aws.conftest import Cloud
from tests.local_aws.test_concurrency import SPEC

VISIBILITY_S = 3
# Notes each message and when it was worked on. A message "bad" fails.
WORKS = (
    "import boto3, json, time\ns3 = boto3.client('s3')\n"
    "def handler(event, context):\n"
    "    began, failed = time.time(), []\n"
    "    time.sleep(SECONDS)\n"
    "    for record in event['Records']:\n"
    "        if record['body'] == 'bad':\n"
    "            failed.append({'itemIdentifier': record['messageId']})\n"
    "    note = {'began': began, 'ended': time.time(), 'records': event['Records']}\n"
    "    s3.put_object(Bucket='BUCKET', Key=context.aws_request_id, Body=json.dumps(note))\n"
    "    RETURN\n"
)
REPORTS = "return {'batchItemFailures': failed}"
RAISES = "raise RuntimeError('always')"


@pytest.fixture(scope="module")
def wide() -> Iterator[Cloud]:
    """A server that runs more than two invocations at once."""
    with LocalAWS(max_concurrency=6) as aws:
        yield Cloud(aws)


class Reader:
    """A queue, its dead-letter queue, and a function that reads it and notes what it got."""

    def __init__(
        self, cloud: Cloud, end: str = REPORTS, seconds: float = 0, **mapping: Any
    ) -> None:
        """Make them all."""
        self.cloud, self.bucket = cloud, cloud.name("bucket")
        cloud.client("s3").create_bucket(Bucket=self.bucket)
        self.dead, dead_arn = self.queue()
        redrive = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 2})
        self.url, self.arn = self.queue(RedrivePolicy=redrive)
        code = WORKS.replace("BUCKET", self.bucket).replace("RETURN", end)
        self.function = cloud.function(code.replace("SECONDS", str(seconds)), Timeout=VISIBILITY_S)
        answer = cloud.client("lambda").create_event_source_mapping(
            EventSourceArn=self.arn,
            FunctionName=self.function,
            FunctionResponseTypes=["ReportBatchItemFailures"],
            **mapping,
        )
        self.uuid: str = answer["UUID"]

    def queue(self, **attributes: str) -> tuple[str, str]:
        """The URL and ARN of a new queue."""
        name, sqs = self.cloud.name("queue"), self.cloud.client("sqs")
        attributes = {"VisibilityTimeout": str(VISIBILITY_S), **attributes}
        url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        return url, f"arn:aws:sqs:us-east-1:123456789012:{name}"

    def send(self, *bodies: str) -> None:
        """Send messages."""
        entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies)]
        self.cloud.client("sqs").send_message_batch(QueueUrl=self.url, Entries=entries)

    def notes(self) -> list[dict[str, Any]]:
        """What the function noted, in order."""
        s3 = self.cloud.client("s3")
        keys = [o["Key"] for o in s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])]
        bodies = [s3.get_object(Bucket=self.bucket, Key=key)["Body"] for key in keys]
        return sorted(map(json.load, bodies), key=lambda note: float(note["began"]))

    def bodies(self) -> list[str]:
        """The messages that the function got."""
        return [record["body"] for note in self.notes() for record in note["records"]]

    def left(self) -> int:
        """How many messages are in the queue, hidden ones included."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.cloud.client("sqs").get_queue_attributes(
            QueueUrl=self.url, AttributeNames=names
        )
        return sum(int(found["Attributes"][name]) for name in names)


def eventually(look: Callable[[], Any], seconds: float = 30) -> Any:
    """Wait until `look` returns something true, and return that."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def test_only_failed_messages_come_back_and_end_in_the_dead_letter_queue(wide: Cloud) -> None:
    reader = Reader(wide, BatchSize=3)

    reader.send("good", "bad", "fine")

    receive = wide.client("sqs").receive_message
    (dead,) = receive(QueueUrl=reader.dead, WaitTimeSeconds=20)["Messages"]
    assert dead["Body"] == "bad"
    assert sorted(reader.bodies()) == ["bad", "bad", "fine", "good"]
    assert reader.left() == 0
    first, *_, last = [r for n in reader.notes() for r in n["records"] if r["body"] == "bad"]
    assert first["eventSource"] == "aws:sqs"
    assert first["eventSourceARN"] == reader.arn
    assert [r["attributes"]["ApproximateReceiveCount"] for r in (first, last)] == ["1", "2"]
    times = [n["began"] for n in reader.notes() if "bad" in [r["body"] for r in n["records"]]]
    assert times[1] - times[0] > VISIBILITY_S - 1


@pytest.mark.slow
def test_an_error_returns_the_whole_batch(wide: Cloud) -> None:
    reader = Reader(wide, end=RAISES)

    reader.send("a", "b")

    receive = wide.client("sqs").receive_message
    dead = set[str]()
    while len(dead) < 2:
        answer = receive(QueueUrl=reader.dead, WaitTimeSeconds=20, MaxNumberOfMessages=10)
        dead |= {message["Body"] for message in answer["Messages"]}
    assert sorted(reader.bodies()) == ["a", "a", "b", "b"]


def test_maximum_concurrency_limits_the_invocations(wide: Cloud) -> None:
    reader = Reader(wide, seconds=0.4, BatchSize=1, ScalingConfig={"MaximumConcurrency": 2})

    reader.send(*"abcdefgh")

    notes = eventually(lambda: len(found := reader.notes()) == 8 and found)
    ends = [(n["began"], 1) for n in notes] + [(n["ended"], -1) for n in notes]
    running = [sum(step for _, step in sorted(ends)[: at + 1]) for at in range(len(ends))]
    assert max(running) == 2


def test_an_upload_reaches_the_function_through_a_queue(wide: Cloud) -> None:
    reader, s3, bucket = Reader(wide), wide.client("s3"), wide.name("source")
    s3.create_bucket(Bucket=bucket)
    notify = {"QueueConfigurations": [{"QueueArn": reader.arn, "Events": ["s3:ObjectCreated:*"]}]}
    put = s3.put_bucket_notification_configuration

    # GIVEN a queue whose policy does not let S3 send, THEN the notification is refused
    with pytest.raises(ClientError, match="Unable to validate the following destination"):
        put(Bucket=bucket, NotificationConfiguration=notify)

    # WHEN it does, THEN a test event and then the upload's arrive
    wide.let_buckets_send(reader.url, reader.arn)
    put(Bucket=bucket, NotificationConfiguration=notify)
    s3.put_object(Bucket=bucket, Key="a b/ü.mp4", Body=b"x", Metadata={"k": "v"})

    eventually(lambda: len(reader.bodies()) == 2)
    bodies = [json.loads(body) for body in reader.bodies()]
    test = next(body for body in bodies if body.get("Event") == "s3:TestEvent")
    assert test["Bucket"] == bucket
    (record,) = next(body for body in bodies if "Records" in body)["Records"]
    assert record["s3"]["object"]["key"] == "a+b/%C3%BC.mp4"
    assert record["s3"]["object"]["sequencer"]
    assert record["userIdentity"]["principalId"]


@pytest.mark.slow
def test_a_disabled_or_deleted_mapping_reads_nothing(wide: Cloud) -> None:
    reader, client = Reader(wide), wide.client("lambda")

    client.update_event_source_mapping(UUID=reader.uuid, Enabled=False)
    assert client.get_event_source_mapping(UUID=reader.uuid)["State"] == "Disabled"
    time.sleep(1.5)  # it may be waiting for a message
    reader.send("one")
    time.sleep(0.5)
    assert reader.left() == 1
    client.update_event_source_mapping(UUID=reader.uuid, Enabled=True)
    eventually(lambda: reader.bodies() == ["one"])

    client.delete_event_source_mapping(UUID=reader.uuid)
    time.sleep(1.5)
    reader.send("two")
    time.sleep(0.5)
    assert reader.left() == 1
    listed = client.list_event_source_mappings(EventSourceArn=reader.arn)["EventSourceMappings"]
    assert listed == []
    for call in (client.get_event_source_mapping, client.delete_event_source_mapping):
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            call(UUID=reader.uuid)


def test_messages_are_read_with_the_functions_role(wide: Cloud) -> None:
    reader = Reader(wide)
    role = wide.client("lambda").get_function(FunctionName=reader.function)["Configuration"]["Role"]

    wide.permit(role, [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}])
    time.sleep(1.5)
    reader.send("unread")

    text = f"is not authorized to perform: sqs:ReceiveMessage on resource: {reader.arn}"
    eventually(lambda: text in wide.aws.log_path.read_text())
    assert reader.left() == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queue": "nobody"}, "The specified queue does not exist"),
        ({"role": []}, "does not have permissions to call ReceiveMessage on SQS"),
        ({"timeout": 31}, "Queue visibility timeout: 30 seconds is less than Function timeout: 31"),
        ({"BatchSize": 11}, "Maximum batch window in seconds must be greater than 0"),
        ({"twice": True}, "already exists. Please update or delete the existing mapping"),
        ({"ScalingConfig": {"MaximumConcurrency": 1001}}, "between 2 and 1000"),
    ],
)
def test_a_mapping_that_cannot_work_is_refused(
    cloud: Cloud, change: dict[str, Any], message: str
) -> None:
    queue, client = cloud.name("queue"), cloud.client("lambda")
    cloud.client("sqs").create_queue(QueueName=queue)
    role = {"Role": cloud.role(change["role"])} if "role" in change else {}
    name = cloud.function("", Timeout=change.get("timeout", 3), **role)
    queue = change.get("queue", queue)
    settings = {
        "EventSourceArn": f"arn:aws:sqs:us-east-1:123456789012:{queue}",
        "FunctionName": name,
        **{key: value for key, value in change.items() if key[0].isupper()},
    }
    if "twice" in change:
        client.create_event_source_mapping(**settings)

    with pytest.raises(ClientError, match=message) as refused:
        client.create_event_source_mapping(**settings)

    conflict = refused.value.response["Error"]["Code"] == "ResourceConflictException"
    assert conflict == ("twice" in change)


def test_rights_on_mappings_are_judged_one_by_one(wide: Cloud) -> None:
    reader = Reader(wide)
    arn = f"arn:aws:lambda:us-east-1:123456789012:event-source-mapping:{reader.uuid}"
    keys = wide.assume(
        [{"Effect": "Allow", "Action": "lambda:GetEventSourceMapping", "Resource": arn}]
    )
    client = wide.client("lambda", keys)

    assert client.get_event_source_mapping(UUID=reader.uuid)["UUID"] == reader.uuid
    with pytest.raises(ClientError, match="lambda:DeleteEventSourceMapping on resource: " + arn):
        client.delete_event_source_mapping(UUID=reader.uuid)
    with pytest.raises(ClientError, match="lambda:CreateEventSourceMapping"):
        client.create_event_source_mapping(EventSourceArn=reader.arn, FunctionName=reader.function)


class Faulty:
    """A mapping, a queue with three messages, and an executor; both fail the first time."""

    queue_arn = "arn:aws:sqs:us-east-1:123456789012:faulty"
    exists = is_enabled = reports_failures = True
    function, batch_size, window_s, max_concurrency, visibility_s = "f", 1, 0, None, 5

    def __init__(self) -> None:
        """Nothing has been read."""
        self.looks, self.calls = iter(["fault", "a", "b", "c"]), iter(["fault"])
        self.deleted = queue.Queue[str]()

    def receive(self, role_arn: str, count: int) -> list[dict[str, Any]]:
        """The next message; none in the end."""
        look = next(self.looks, None)
        if look == "fault":
            raise OSError("receiving failed")
        return [{"messageId": look}] if look else []

    def delete(self, role_arn: str, records: list[dict[str, Any]]) -> None:
        """Note what is done."""
        self.deleted.put(records[0]["messageId"])

    def wait(self, seconds: float) -> None:
        """Wait for a message."""
        time.sleep(0.05)

    def invoke(self, spec: FunctionSpec, payload: bytes) -> Result:
        """Fail the first time."""
        if next(self.calls, None):
            raise OSError("invoking failed")
        return Result(b"{}", "1")


def test_an_error_that_nobody_expected_stops_no_poller(caplog: pytest.LogCaptureFixture) -> None:
    faulty, stop = Faulty(), threading.Event()
    poller = Poller(cast("Mapping", faulty), cast("Executor", faulty), lambda *_: SPEC, 1, stop)
    poller._source = cast("Any", faulty)
    thread = threading.Thread(target=poller.run, daemon=True)
    thread.start()

    deleted = [faulty.deleted.get(timeout=10) for _ in range(2)]

    stop.set()
    thread.join(10)
    assert deleted == ["b", "c"]  # SQS will show "a" again
    for text in ("polling QUEUE failed", "a batch of QUEUE was left in the queue"):
        assert text.replace("QUEUE", faulty.queue_arn) in caplog.text


@pytest.mark.parametrize(
    ("answer", "failed"),
    [
        (b"null", ""),
        (b"{}", ""),
        (b'{"batchItemFailures": []}', ""),
        (b'{"batchItemFailures": null}', ""),
        (b'{"batchItemFailures": [{"itemIdentifier": "a"}]}', "a"),
        (b'{"batchItemFailures": [{"itemIdentifier": ""}]}', "ab"),
        (b'{"batchItemFailures": [{"itemIdentifier": null}]}', "ab"),
        (b'{"batchItemFailures": [{"itemIdentifier": "c"}]}', "ab"),
        (b'{"batchItemFailures": [{"id": "a"}]}', "ab"),
        (b'["a"]', "ab"),
        (b"not JSON", "ab"),
    ],
)
def test_lambdas_rules_for_reported_failures(answer: bytes, failed: str) -> None:
    records = [{"messageId": "a"}, {"messageId": "b"}]

    assert failures(Result(answer, "1"), records, reported=True) == set(failed)
    assert failures(Result(answer, "1"), records, reported=False) == set()
    assert failures(Result(answer, "1", "Unhandled"), records, reported=False) == {"a", "b"}
