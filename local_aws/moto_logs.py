"""Lambda's log lines, recorded in moto's CloudWatch Logs."""

from __future__ import annotations

from collections.abc import Sequence

from moto.core.exceptions import JsonRESTError
from moto.logs.models import logs_backends

from local_aws.errors import CannotDeliver
from local_aws.moto_iam import check_role


def put_log_lines(
    account_id: str,
    region: str,
    role_arn: str,
    group: str,
    stream: str,
    lines: Sequence[tuple[int, str]],
) -> None:
    """Add lines (epoch ms, text) to a stream, which is created if it does not exist.

    Raise CannotDeliver if the role may not do this or the group does not exist. A request over HTTP
    would be judged by the same policies; it took a quarter of the server's time.
    """
    arn = f"arn:aws:logs:{region}:{account_id}:log-group:{group}:log-stream:{stream}"
    logs = logs_backends[account_id][region]
    try:
        if group in logs.groups and stream not in logs.groups[group].streams:
            check_role(role_arn, "logs:CreateLogStream", arn)
            logs.create_log_stream(group, stream)
        check_role(role_arn, "logs:PutLogEvents", arn)
        # CloudWatch Logs refuses empty messages.
        events = [{"timestamp": when, "message": text or " "} for when, text in lines]
        logs.put_log_events(group, stream, events)
    except JsonRESTError as error:
        raise CannotDeliver(f"log group {group}: {error.message}") from error
