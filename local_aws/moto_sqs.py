"""moto's SQS, used with a function's role."""

from __future__ import annotations

from moto.core.exceptions import ServiceException
from moto.sqs.models import sqs_backends

from local_aws.errors import CannotDeliver
from local_aws.moto_iam import check_role


def send_message(role_arn: str, queue_arn: str, body: str) -> None:
    """Send a message with the role; raise CannotDeliver if it may not or there is no queue."""
    _, _, _, region, account_id, name = queue_arn.split(":")
    check_role(role_arn, "sqs:SendMessage", queue_arn)
    try:
        sqs_backends[account_id][region].send_message(name, body)
    except ServiceException as error:
        raise CannotDeliver(f"queue {name}: {error.message}") from error
