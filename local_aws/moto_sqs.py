"""moto's SQS, used with a function's role or as S3, and its repairs."""

from __future__ import annotations

import json
import re
import time
from typing import Any

from moto.core.exceptions import ServiceException
from moto.sqs import models
from moto.sqs.exceptions import MissingParameter, SQSException
from moto.sqs.models import SQSBackend, sqs_backends
from moto.sqs.responses import SQSResponse

from local_aws.errors import CannotDeliver
from local_aws.iam_policy import Request, as_list, is_allowed
from local_aws.iam_requests import TLS
from local_aws.moto_iam import check_role
from local_aws.moto_patch import Method, wrap_method

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
LIMITS = {
    "DelaySeconds": (0, 900),
    "MaximumMessageSize": (1024, 1_048_576),
    "MessageRetentionPeriod": (60, 1_209_600),
    "ReceiveMessageWaitTimeSeconds": (0, 20),
    "VisibilityTimeout": (0, 43_200),
}
IMPOSSIBLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in messages
DOCUMENTS = {"Policy", "RedrivePolicy", "RedriveAllowPolicy"}
OTHER_ATTRIBUTES = {
    "ContentBasedDeduplication",
    "DeduplicationScope",
    "FifoQueue",
    "FifoThroughputLimit",
    "KmsDataKeyReusePeriodSeconds",
    "KmsMasterKeyId",
    "SqsManagedSseEnabled",
}


def refuse_impossible_attributes() -> None:
    """moto ignores unknown attributes of queues, accepts any number, and fails on other texts."""

    def check(attributes: dict[str, Any]) -> None:
        for name, value in attributes.items():
            if name not in LIMITS.keys() | DOCUMENTS | OTHER_ATTRIBUTES:
                raise SQSException("InvalidAttributeName", f"Unknown Attribute {name}.")
            if not _is_possible(name, str(value)):
                text = f"Invalid value for the parameter {name}."
                raise SQSException("InvalidAttributeValue", text)

    @wrap_method(SQSBackend, "create_queue")
    def create_queue(
        create: Method, backend: Any, name: str, tags: Any = None, **attributes: Any
    ) -> Any:
        check(attributes)
        return create(backend, name, tags, **attributes)

    @wrap_method(SQSBackend, "set_queue_attributes")
    def set_queue_attributes(
        change: Method, backend: Any, queue_name: str, attributes: dict[str, Any]
    ) -> Any:
        check(attributes)
        return change(backend, queue_name, attributes)


def refuse_impossible_messages() -> None:
    """moto accepts empty messages, and characters that no message may have."""

    @wrap_method(SQSResponse, "send_message")
    def send_message(send: Method, response: Any) -> Any:
        body = response._get_param("MessageBody")
        if not body:
            raise MissingParameter("MessageBody")
        if IMPOSSIBLE.search(body):
            text = "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | "
            text += "#x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF"
            raise SQSException("InvalidMessageContents", text)
        return send(response)


def _is_possible(name: str, value: str) -> bool:
    try:
        if name in LIMITS:
            return LIMITS[name][0] <= int(value) <= LIMITS[name][1]
        # An empty document removes the one that was set.
        return name not in DOCUMENTS or not value or isinstance(json.loads(value), dict)
    except ValueError:
        return False


def take_messages_in_turn() -> None:
    """Two requests at the same time receive one message twice, or lose one that is being sent."""

    @wrap_method(SQSBackend, "receive_message")
    def receive(
        original: Method, backend: Any, name: str, count: int, wait_s: int, *more: Any
    ) -> Any:
        queue = backend.get_queue(name)
        end = time.monotonic() + wait_s
        while True:
            with queue._messages_lock:
                found = original(backend, name, count, 0, *more)
            left = end - time.monotonic()
            if found or left <= 0:
                return found
            queue.wait_for_messages(min(1, left))

    for name in ("delete_message", "change_message_visibility"):

        @wrap_method(SQSBackend, name)
        def change(
            original: Method, backend: Any, queue_name: str, *more: Any, **named: Any
        ) -> Any:
            with backend.get_queue(queue_name)._messages_lock:
                return original(backend, queue_name, *more, **named)


def read_retention_alone() -> None:
    """For each message that is received, moto counts all messages of the queue nine times."""

    def is_valid(backend: Any, queue_name: str, message: Any) -> bool:
        kept_s = int(backend.get_queue(queue_name).message_retention_period)
        return bool(message.sent_timestamp / 1000 + kept_s > time.time())

    SQSBackend.is_message_valid_based_on_retention_period = is_valid
    models.unix_time_millis = lambda: time.time() * 1000


def send_message(role_arn: str, queue_arn: str, body: str) -> None:
    """Send a message with the role; raise CannotDeliver if it may not or there is no queue."""
    check_role(role_arn, "sqs:SendMessage", queue_arn)
    _send(queue_arn, body)


def send_from_bucket(bucket: str, queue_arn: str, body: str) -> None:
    """Send an event of the bucket; raise CannotDeliver if the queue's policy does not let S3."""
    if not lets_bucket_send(queue_arn, bucket):
        raise CannotDeliver(
            f"the queue {queue_arn} does not exist, or its policy does not let s3.amazonaws.com "
            f"perform sqs:SendMessage for {bucket}"
        )
    _send(queue_arn, body)


def lets_bucket_send(queue_arn: str, bucket: str) -> bool:
    """Whether the queue exists and its policy lets S3 send events of the bucket."""
    _, _, _, region, account_id, name = queue_arn.split(":")
    queue = sqs_backends[account_id][region].queues.get(name)
    if queue is None or not queue.policy:
        return False
    statements = [
        statement
        for statement in as_list(json.loads(queue.policy)["Statement"])
        if _is_s3(statement.get("Principal"))
    ]
    context = {"aws:sourcearn": f"arn:aws:s3:::{bucket}", "aws:sourceaccount": account_id}
    request = Request("sqs:SendMessage", queue_arn, {**TLS, **context})
    return is_allowed([{"Statement": statements}], request)


def _is_s3(principal: Any) -> bool:
    if isinstance(principal, dict):
        return "s3.amazonaws.com" in as_list(principal.get("Service", []))
    return bool(principal == "*")


def _send(queue_arn: str, body: str) -> None:
    _, _, _, region, account_id, name = queue_arn.split(":")
    try:
        sqs_backends[account_id][region].send_message(name, body)
    except ServiceException as error:
        raise CannotDeliver(f"queue {name}: {error.message}") from error


class Source:
    """A queue that Lambda reads with a function's role."""

    def __init__(self, arn: str) -> None:
        """Read the queue of this ARN."""
        self.arn = arn
        _, _, _, self._region, account_id, self._name = arn.split(":")
        self._backend = sqs_backends[account_id][self._region]

    def wait(self, seconds: float) -> None:
        """Wait until there may be a message, at most so long."""
        queue = self._backend.queues.get(self._name)
        if queue is not None:
            queue.wait_for_messages(seconds)

    @property
    def visibility_s(self) -> float:
        """How long a received message stays hidden."""
        return float(self._backend.get_queue(self._name).visibility_timeout)

    def receive(self, role_arn: str, count: int) -> list[dict[str, Any]]:
        """Up to `count` messages as records of Lambda's event, without waiting.

        Raise CannotDeliver if the role may not receive messages or the queue is gone.
        """
        check_role(role_arn, "sqs:ReceiveMessage", self.arn)
        try:
            seconds = int(self._backend.get_queue(self._name).visibility_timeout)
            received = self._backend.receive_message(self._name, count, 0, seconds)
        except ServiceException as error:
            raise CannotDeliver(f"queue {self._name}: {error.message}") from error
        return [self._record(message) for message in received]

    def delete(self, role_arn: str, records: list[dict[str, Any]]) -> None:
        """Delete what was received; raise CannotDeliver if the role may not."""
        check_role(role_arn, "sqs:DeleteMessage", self.arn)
        for record in records:
            try:
                self._backend.delete_message(self._name, record["receiptHandle"])
            except ServiceException as error:
                raise CannotDeliver(f"queue {self._name}: {error.message}") from error

    def _record(self, message: Any) -> dict[str, Any]:
        """https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html"""
        return {
            "messageId": message.id,
            "receiptHandle": message.receipt_handle,
            "body": message.body,
            "attributes": {
                "ApproximateReceiveCount": str(message.approximate_receive_count),
                "SentTimestamp": str(message.sent_timestamp),
                "SenderId": message.sender_id,
                "ApproximateFirstReceiveTimestamp": str(
                    message.approximate_first_receive_timestamp
                ),
            },
            "messageAttributes": {},
            "md5OfBody": message.body_md5,
            "eventSource": "aws:sqs",
            "eventSourceARN": self.arn,
            "awsRegion": self._region,
        }
