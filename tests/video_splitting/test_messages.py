"""Uploads that waited in a queue: S3's event is inside a message, and each one fails alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from pipeline.failure_record import failed_videos, failure_reason, parse
from tests.video_splitting.test_failures import Context, log_lines

RECEIVES = 3


class Queues:
    """A queue of uploads and the failure queue, on a real SQS server."""

    def __init__(self, sqs: Any, name: str) -> None:
        self.sqs = sqs
        self.failures = sqs.create_queue(QueueName=f"{name}-failures")["QueueUrl"]
        dead = {"deadLetterTargetArn": self.arn(self.failures), "maxReceiveCount": RECEIVES}
        self.uploads = sqs.create_queue(
            QueueName=f"{name}-uploads", Attributes={"RedrivePolicy": json.dumps(dead)}
        )["QueueUrl"]

    def arn(self, url: str) -> str:
        answer = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return str(answer["Attributes"]["QueueArn"])

    def event(self, *bodies: Any) -> dict[str, Any]:
        """Send messages, and receive them as Lambda hands them over."""
        for body in bodies:
            text = body if isinstance(body, str) else json.dumps(body)
            self.sqs.send_message(QueueUrl=self.uploads, MessageBody=text)
        return self.receive()

    def receive(self) -> dict[str, Any]:
        found = self.sqs.receive_message(
            QueueUrl=self.uploads, MaxNumberOfMessages=10, AttributeNames=["All"]
        ).get("Messages", [])
        records = [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
                "eventSource": "aws:sqs",
                "eventSourceARN": self.arn(self.uploads),
            }
            for message in found
        ]
        return {"Records": records}

    def failed(self) -> list[dict[str, Any]]:
        found = self.sqs.receive_message(QueueUrl=self.failures, MaxNumberOfMessages=10)
        return [parse(message["Body"]) for message in found.get("Messages", [])]


@pytest.fixture
def queues(world: Any, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queues]:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", store_url)
    made = Queues(boto3.client("sqs", endpoint_url=store_url), world.input)
    monkeypatch.setenv("FAILURE_QUEUE_URL", made.failures)
    yield made
    for url in (made.uploads, made.failures):
        made.sqs.delete_queue(QueueUrl=url)


def again(answer: dict[str, Any]) -> list[str]:
    """The messages that Lambda leaves in the queue."""
    assert list(answer) == ["batchItemFailures"]
    return [item["itemIdentifier"] for item in answer["batchItemFailures"]]


def test_only_what_may_succeed_later_comes_back(
    world: Any, queues: Queues, clip: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a good video, a text and a video that is gone, each in its message
    world.put("a b+ü.mp4", clip)
    world.put("text.mp4", b"only text" * 50)
    keys = ("a b+ü.mp4", "text.mp4", "gone.mp4")
    event = queues.event(*(world.event(key) for key in keys))
    hidden: list[Any] = []
    client = world.module.sqs()
    monkeypatch.setattr(client, "change_message_visibility", lambda **call: hidden.append(call))

    answer = world.module.handler(event, Context())

    # THEN only the one that is gone comes back, after a minute
    assert again(answer) == [event["Records"][2]["messageId"]]
    (call,) = hidden
    assert call["QueueUrl"].endswith(f"/{world.input}-uploads")
    assert (call["ReceiptHandle"], call["VisibilityTimeout"]) == (
        event["Records"][2]["receiptHandle"],
        60,
    )
    # AND the good one is answered, and the text reported at once
    assert world.keys(world.output) == ["a b+ü.txt"]
    (record,) = queues.failed()
    assert [video.key for video in failed_videos(record)] == ["text.mp4"]
    assert failure_reason(record).startswith("UnreadableVideo: ")
    assert record["requestContext"]["condition"] == "PermanentFailure"
    # AND the log says how long each one waited for its turn
    waits = [line for line in log_lines(capsys) if line["step"] == "queued"]
    assert [line["video"] for line in waits] == [f"s3://{world.input}/{key}" for key in keys]
    assert all(0 <= line["ms"] < 60_000 for line in waits)


def test_an_upload_that_fails_for_the_last_time_is_reported_with_its_error(
    world: Any, queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a video that is gone, and no pause between two attempts
    monkeypatch.setattr(world.module.messages, "FIRST_RETRY_S", 0)
    event = queues.event(world.event("gone.mp4"))
    for _ in range(RECEIVES - 1):
        assert again(world.module.handler(event, Context())) == [event["Records"][0]["messageId"]]
        assert queues.failed() == []
        event = queues.receive()

    answer = world.module.handler(event, Context())

    assert again(answer) == []
    (record,) = queues.failed()
    assert record["requestPayload"] == world.event("gone.mp4")
    assert failure_reason(record).startswith(f"VideoGone: s3://{world.input}/gone.mp4")
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == RECEIVES


def test_pauses_double_up_to_a_quarter_of_an_hour(
    world: Any, queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden: list[int] = []
    client = world.module.sqs()
    monkeypatch.setattr(
        client, "change_message_visibility", lambda **call: hidden.append(call["VisibilityTimeout"])
    )
    monkeypatch.setattr(world.module.messages.Messages, "_most_receives", lambda *_: 100)
    event = queues.event(world.event("gone.mp4"))

    for receives in (1, 2, 3, 4, 5, 9):
        event["Records"][0]["attributes"]["ApproximateReceiveCount"] = str(receives)
        world.module.handler(event, Context())

    assert hidden == [60, 120, 240, 480, 900, 900]


def test_s3s_test_event_is_done_with(world: Any, queues: Queues) -> None:
    event = queues.event({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": world.input})

    assert again(world.module.handler(event, Context())) == []
    assert queues.failed() == []


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("hello", "NotAnEvent: The message 'hello' is not JSON: not from S3."),
        ("[1]", "NotAnEvent: The message '[1]' is not a JSON object: not from S3."),
        ('{"a": 1}', "UnexpectedEvent: No Records in the event "),
        ('{"Records": [{"s3": {}}]}', "UnexpectedEvent: A record of the event names no object: "),
    ],
)
def test_a_message_that_is_no_event_is_a_failure_that_says_so(
    world: Any, queues: Queues, body: str, error: str
) -> None:
    event = queues.event(body)

    assert again(world.module.handler(event, Context())) == []
    (record,) = queues.failed()
    assert failure_reason(record).startswith(error)
    if body.startswith("{"):
        assert record["requestPayload"] == json.loads(body)
    else:  # `failures.py redrive` leaves what holds no event
        assert "requestPayload" not in record
        assert record["message"] == body


def test_an_error_that_nobody_expects_is_reported_too(
    world: Any, queues: Queues, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(world.module, "splitter", lambda _: 1 / 0)
    event = queues.event(world.event("a.mp4"))
    event["Records"][0]["attributes"]["ApproximateReceiveCount"] = str(RECEIVES)

    assert again(world.module.handler(event, Context())) == []
    (record,) = queues.failed()
    reason = f"Unforeseen: s3://{world.input}/a.mp4: ZeroDivisionError: division by zero"
    assert failure_reason(record) == reason
    (line,) = [line for line in log_lines(capsys) if line["step"] == "message"]
    assert line["error"] == reason


@pytest.mark.parametrize("url", ["", "http://127.0.0.1/123456789012/no-such-queue"])
def test_without_a_queue_for_reports_it_is_left_to_sqs(
    world: Any, queues: Queues, monkeypatch: pytest.MonkeyPatch, capsys: Any, url: str
) -> None:
    monkeypatch.setenv("FAILURE_QUEUE_URL", url)
    world.put("text.mp4", b"only text" * 50)
    event = queues.event(world.event("text.mp4"))

    # the permanent failure cannot be sent, so it is a failure like any other
    assert again(world.module.handler(event, Context())) == [event["Records"][0]["messageId"]]
    (line,) = [line for line in log_lines(capsys) if line["step"] == "message"]
    assert line["error"].startswith("UnreadableVideo: ")
    assert ("refused" in line) == bool(url)


def test_what_sqs_moves_to_the_failure_queue_itself_is_understood(
    world: Any, queues: Queues
) -> None:
    event = world.event("a b.mp4")
    event["Records"][0]["eventTime"] = "2026-11-27T09:00:00.000Z"

    record = parse(json.dumps(event))

    assert [video.key for video in failed_videos(record)] == ["a b.mp4"]
    assert failure_reason(record).startswith("the splitter never finished")
    assert record["requestPayload"] == event
    assert record["timestamp"] == "2026-11-27T09:00:00.000Z"


def test_waiting_is_counted_from_the_sending(world: Any, queues: Queues, capsys: Any) -> None:
    event = queues.event(world.event("gone.mp4"))
    sent = int((time.time() - 90) * 1000)
    event["Records"][0]["attributes"]["SentTimestamp"] = str(sent)

    world.module.handler(event, Context())

    (line,) = [line for line in log_lines(capsys) if line["step"] == "queued"]
    assert 90_000 <= line["ms"] < 100_000
