"""Every upload ends in an answer, a failure that names it, or a log line that says why not."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import video_errors

from pipeline.failure_record import failed_videos, failure_reason, parse


@pytest.fixture
def queue(world: Any, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The messages in the failure queue, on a real SQS server."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", store_url)
    sqs = boto3.client("sqs", endpoint_url=store_url)
    url = sqs.create_queue(QueueName=world.input)["QueueUrl"]
    monkeypatch.setenv("FAILURE_QUEUE_URL", url)

    def messages() -> list[dict[str, Any]]:
        found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        return [parse(message["Body"]) for message in found]

    yield messages
    sqs.delete_queue(QueueUrl=url)


class Context:
    """Lambda's context object, as the runtime gives it."""

    aws_request_id = "11111111-2222-3333-4444-555555555555"
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:video-splitting"
    function_version = "$LATEST"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


def log_lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_permanent_failure_is_sent_at_once(
    world: Any, queue: Any, clip: Path, capsys: Any
) -> None:
    # GIVEN a good video and a text in one event
    world.put("good.mp4", clip)
    world.put("a b+ü.mp4", b"only text" * 50)
    event = world.event("good.mp4", "a b+ü.mp4")
    # WHEN
    answer = world.module.handler(event, Context())
    # THEN the good one is done and the other one is returned, not raised: no retry can mend it
    assert [video["video"] for video in answer["videos"]] == [f"s3://{world.input}/good.mp4"]
    (failed,) = answer["failed"]
    assert failed["video"] == f"s3://{world.input}/a b+ü.mp4"
    assert failed["error"].startswith("UnreadableVideo: s3://")
    # AND the queue has Lambda's record of it, which holds the event of that video alone
    (record,) = queue()
    assert [video.uri for video in failed_videos(record)] == [failed["video"]]
    assert failure_reason(record) == failed["error"]
    assert record["requestPayload"] == {"Records": [event["Records"][1]]}
    assert record["requestContext"] == {
        "requestId": Context.aws_request_id,
        "functionArn": f"{Context.invoked_function_arn}:$LATEST",
        "condition": "PermanentFailure",
        "approximateInvokeCount": 1,
    }
    assert record["timestamp"].endswith("Z")
    # AND its log line says so
    lines = [line for line in log_lines(capsys) if line["step"] == "video"]
    assert [line.get("retry") for line in lines] == [None, False]


def test_without_a_queue_it_is_raised(world: Any) -> None:
    world.put("a.mp4", b"only text" * 50)
    with pytest.raises(video_errors.UnreadableVideo):
        world.handle("a.mp4")


def test_if_a_retry_can_mend_one_failure_none_is_sent(world: Any, queue: Any) -> None:
    # GIVEN an event with a text and a video that is gone: only the second one may come back
    world.put("a.mp4", b"only text" * 50)
    with pytest.raises(world.module.VideosFailed, match="2 of 2"):
        world.handle("a.mp4", "gone.mp4")
    assert queue() == []


def test_a_queue_that_refuses_the_record_leaves_it_to_lambda(
    world: Any, queue: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("FAILURE_QUEUE_URL", "http://127.0.0.1/123456789012/no-such-queue")
    world.put("a.mp4", b"only text" * 50)
    with pytest.raises(video_errors.UnreadableVideo):
        world.handle("a.mp4")
    (line,) = [line for line in log_lines(capsys) if line["step"] == "report"]
    assert "QueueDoesNotExist" in line["error"]


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("notes", "NotAVideo: .* has no suffix.* ends with one of .mp4 .m4v"),
        ("a.exe", "NotAVideo: .* ends with .exe"),
        ("a" * 1015 + ".mp4", "KeyTooLong: .* 1,040 bytes"),
        ("empty.mp4", "EmptyVideo: "),
    ],
)
def test_what_cannot_be_answered_is_a_failure_that_names_it(
    world: Any, queue: Any, callee: Any, key: str, error: str
) -> None:
    world.put(key, b"")
    world.handle(key)
    (record,) = queue()
    assert [video.key for video in failed_videos(record)] == [key]
    assert re.match(error, failure_reason(record))
    assert callee.payloads == []


@pytest.mark.parametrize("key", ["folder/", "photo.JPG", "a/b.txt", "song.mp3", "x.zip"])
def test_what_is_plainly_no_video_is_a_log_line(
    world: Any, queue: Any, callee: Any, capsys: Any, key: str
) -> None:
    world.put(key, b"x")
    assert world.handle(key) == {"videos": []}
    (line,) = log_lines(capsys)
    assert (line["step"], line["video"]) == ("skipped", f"s3://{world.input}/{key}")
    assert line["reason"]
    assert (queue(), callee.payloads) == ([], [])


@pytest.mark.parametrize("key", ["x.Mp4", "x.MTS", "x.ts", "x.3gp"])
def test_videos_of_any_case_and_container_are_answered(
    world: Any, make: Any, clip: Path, key: str
) -> None:
    kind = {".MTS": "mpegts", ".ts": "mpegts"}.get(Path(key).suffix, "mp4")
    world.put(key, make(f"video.{kind}", "-pix_fmt", "yuv420p", "-f", kind))
    world.handle(key)
    assert world.keys(world.output) == [f"{key}.txt"]


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "aws-chunked"])
def test_a_content_encoding_put_by_mistake_does_no_harm(
    world: Any, clip: Path, encoding: str
) -> None:
    world.s3.put_object(
        Bucket=world.input,
        Key="a.mp4",
        Body=clip.read_bytes(),
        ContentEncoding=encoding,
        ContentType="text/html",
    )
    world.handle("a.mp4")
    assert world.keys(world.output) == ["a.txt"]


def test_a_video_that_really_is_compressed_is_refused(world: Any, queue: Any, clip: Path) -> None:
    body = gzip.compress(clip.read_bytes())
    world.s3.put_object(Bucket=world.input, Key="a.mp4", Body=body, ContentEncoding="gzip")
    world.handle("a.mp4")
    (record,) = queue()
    assert failure_reason(record).startswith("UnreadableVideo: ")
