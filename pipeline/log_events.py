"""Reads the functions' log groups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import botocore.exceptions

from pipeline.aws import NOT_FOUND, Aws, AwsError, error_code, explain
from pipeline.settings import Function

if TYPE_CHECKING:
    from mypy_boto3_logs.type_defs import FilteredLogEventTypeDef


def read_events(
    aws: Aws, function: Function, start: float, end: float, pattern: str = ""
) -> Iterator[FilteredLogEventTypeDef]:
    """The log events of `function` from `start` to `end`, in seconds since the epoch, in order.

    `pattern` filters them on the server. A function that has never run has no events.
    Raises AwsError if these credentials may not read the log.
    """
    pages = (
        aws.client("logs")
        .get_paginator("filter_log_events")
        .paginate(
            logGroupName=function.log_group,
            startTime=int(start * 1000),
            endTime=int(end * 1000),
            filterPattern=pattern,
            interleaved=True,  # AWS always does this
        )
    )
    try:
        for page in pages:
            yield from page["events"]
    except botocore.exceptions.ClientError as error:
        if error_code(error) == NOT_FOUND:
            return
        raise AwsError(
            f"Cannot read the log group '{function.log_group}': {explain(error)} "
            "It needs logs:FilterLogEvents on the group."
        ) from error
