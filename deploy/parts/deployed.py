"""Looks up what Lambda has: the functions and their versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.aws import NOT_FOUND, read_or_none
from pipeline.cli import Run
from pipeline.settings import Function

if TYPE_CHECKING:
    from mypy_boto3_lambda.type_defs import (
        FunctionConfigurationTypeDef,
        GetFunctionResponseTypeDef,
    )


def get_function(run: Run, function: Function) -> GetFunctionResponseTypeDef | None:
    """Return Lambda's GetFunction response; None if the function does not exist."""
    client = run.aws.client("lambda")
    return read_or_none(lambda: client.get_function(FunctionName=function.name), NOT_FOUND)


def is_deployed(run: Run) -> bool:
    """Return whether at least one of the functions exists."""
    return any(get_function(run, function) is not None for function in run.deployment.functions)


def environment(config: Any) -> dict[str, str]:
    """Return the environment variables in a function's configuration."""
    return dict((config.get("Environment") or {}).get("Variables", {}))


def uses_snapstart(config: Any) -> bool:
    """Return whether versions published with this configuration start from snapshots."""
    return bool((config.get("SnapStart") or {}).get("ApplyOn") == "PublishedVersions")


def function_versions(run: Run, function: Function) -> list[FunctionConfigurationTypeDef]:
    """Return the configurations of all versions, $LATEST included; [] without the function.

    Lambda leaves their states out of this list.
    """
    pages = run.aws.client("lambda").get_paginator("list_versions_by_function")
    versions = read_or_none(
        lambda: [
            v for page in pages.paginate(FunctionName=function.name) for v in page["Versions"]
        ],
        NOT_FOUND,
    )
    return versions or []
