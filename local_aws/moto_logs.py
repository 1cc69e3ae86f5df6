"""moto's CloudWatch Logs: Lambda's lines in it, and repairs of how it filters them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.logs import models
from moto.logs.exceptions import InvalidParameterException
from moto.logs.models import LogsBackend, logs_backends
from moto.logs.responses import LogsResponse

from local_aws.errors import CannotDeliver
from local_aws.log_filters import InvalidPattern, parse
from local_aws.moto_iam import check_role
from local_aws.moto_patch import Method, refuse, wrap_method


def put_log_lines(
    account_id: str,
    region: str,
    role_arn: str,
    group: str,
    stream: str,
    lines: Sequence[tuple[int, str]],
) -> None:
    """Add lines (epoch ms, text) to a stream. As Lambda does, create it and its group if missing.

    Raise CannotDeliver if the role may not do this. A request over HTTP would be judged by the same
    policies; it took a quarter of the server's time.
    """
    # Rights to a group end in ":*" in policies, as CloudWatch Logs says in DescribeLogGroups.
    group_arn = f"arn:aws:logs:{region}:{account_id}:log-group:{group}:log-stream:"
    arn = f"{group_arn}{stream}"
    logs = logs_backends[account_id][region]
    try:
        if group not in logs.groups:
            check_role(role_arn, "logs:CreateLogGroup", group_arn)
            logs.create_log_group(group, {})
        if stream not in logs.groups[group].streams:
            check_role(role_arn, "logs:CreateLogStream", arn)
            logs.create_log_stream(group, stream)
        check_role(role_arn, "logs:PutLogEvents", arn)
        # CloudWatch Logs refuses empty messages.
        events = [{"timestamp": when, "message": text or " "} for when, text in lines]
        logs.put_log_events(group, stream, events)
    except JsonRESTError as error:
        raise CannotDeliver(f"log group {group}: {error.message}") from error


class _Filter:
    """What moto's EventMessageFilter is, for all patterns."""

    def __init__(self, pattern: str | None) -> None:
        self.matches = parse(pattern or "")


def read_filter_patterns() -> None:
    """moto takes any event for one that fits a pattern with JSON, ?, - or a regular expression."""
    models.EventMessageFilter = _Filter

    @wrap_method(LogsBackend, "filter_log_events")
    def filter_log_events(find: Method, backend: Any, *args: Any, **settings: Any) -> Any:
        try:
            return find(backend, *args, **settings)
        except InvalidPattern as error:
            raise InvalidParameterException(f"Invalid filter pattern: {error}") from error


def filter_log_events_in_order() -> None:
    """moto answers stream by stream, and ignores logStreamNamePrefix and logGroupIdentifier."""

    @wrap_method(LogsResponse, "filter_log_events")
    def filter_log_events(_: Method, response: Any) -> str:
        def given(name: str) -> Any:
            return response._get_param(name)

        group = given("logGroupName") or group_name(given("logGroupIdentifier") or "")
        names, prefix = given("logStreamNames") or [], given("logStreamNamePrefix")
        if prefix and group in response.logs_backend.groups:
            streams = response.logs_backend.groups[group].streams
            names = [name for name in streams if name.startswith(prefix)] or [prefix]
        times = (given("startTime"), given("endTime"))
        page = (given("limit"), given("nextToken"), given("filterPattern"), True)
        events, token, searched = response.logs_backend.filter_log_events(
            group, names, *times, *page
        )
        answer = {"events": events, "nextToken": token, "searchedLogStreams": searched}
        return json.dumps({name: value for name, value in answer.items() if value is not None})


def refuse_queries_and_subscriptions() -> None:
    """moto ignores `filter` and `stats` in queries, and the filter's pattern in subscriptions."""
    refuse(LogsResponse, "start_query", "put_subscription_filter")


def group_name(identifier: str) -> str:
    """The name of the log group that an ARN or a name identifies."""
    return identifier.partition(":log-group:")[2].removesuffix(":*") or identifier
