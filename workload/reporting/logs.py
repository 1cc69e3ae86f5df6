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
    """The events of `function` from `start` to `end`, in seconds since the epoch.

    `pattern` leaves out events on the server. There are none where the function has never run.
    Raises AwsError when the log may not be read.
    """
    pages = (
        aws.client("logs")
        .get_paginator("filter_log_events")
        .paginate(
            logGroupName=function.log_group,
            startTime=int(start * 1000),
            endTime=int(end * 1000),
            filterPattern=pattern,
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
            "It takes logs:FilterLogEvents on it."
        ) from error
