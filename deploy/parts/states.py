"""Waits for Lambda to finish its work on a function, and tells whether it failed.

https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from pipeline.aws import NOT_FOUND, AwsError, read_or_none
from pipeline.cli import Run

READY_S = 600  # a large image takes minutes


def at_rest(
    run: Run,
    name: str,
    qualifier: str | None = None,
    seconds: float = READY_S,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Any:
    """Return GetFunction's response once Lambda has finished updating it; None if it is missing.

    The caller must check how the update ended. botocore's waiters do not do here: they fail when
    an earlier update failed, though the next one may fix that, and never finish for an Inactive
    function, which the next event wakes. Raises AwsError after `seconds`.
    """
    names = {"FunctionName": name, **({"Qualifier": qualifier} if qualifier else {})}
    client, deadline = run.aws.client("lambda"), clock() + seconds
    while True:
        found = read_or_none(partial(client.get_function, **names), NOT_FOUND)
        if found is None:
            return None
        config = found["Configuration"]
        if config.get("State") != "Pending" and config.get("LastUpdateStatus") != "InProgress":
            return found
        if clock() >= deadline:
            raise AwsError(
                f"Lambda is still updating function '{':'.join(names.values())}' after "
                f"{seconds / 60:.0f} minutes (state {config.get('State')}, last update "
                f"{config.get('LastUpdateStatus')}): run the same command again to keep waiting."
            )
        sleep(2)


def has_failed(config: Any) -> bool:
    """Return whether Lambda could not create the function or version: it will never run."""
    return bool(config.get("State") == "Failed")


def update_has_failed(config: Any) -> bool:
    """Return whether the last update failed: the function still runs as before."""
    return bool(config.get("LastUpdateStatus") == "Failed")


def reason(config: Any, key: str = "State") -> str:
    """Return Lambda's reason for the state or, with "LastUpdateStatus", for the last update's."""
    code, text = config.get(f"{key}ReasonCode"), config.get(f"{key}Reason")
    said = ": ".join(str(part) for part in (code, text) if part)
    return said.rstrip(".") or "Lambda gives no reason"


def ready(run: Run, name: str) -> Any:
    """Wait until all changes are applied and return the configuration; it may be Inactive.

    Raises AwsError, with Lambda's reason, if they could not be applied.
    """
    found = at_rest(run, name)
    if found is None:
        raise AwsError(f"Function '{name}' was deleted meanwhile: run the same command again.")
    config = found["Configuration"]
    if has_failed(config):
        raise AwsError(
            f"Lambda could not create function '{name}': {reason(config)}. Fix that and run the "
            "same command again: it deletes the function and creates it again."
        )
    if update_has_failed(config):
        raise AwsError(
            f"Lambda could not update function '{name}', which still runs as before: "
            f"{reason(config, 'LastUpdateStatus')}. Fix that and run the same command again."
        )
    return config
