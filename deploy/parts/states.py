"""What state Lambda says a function or a version of it is in: done, still at work, or failed.

https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from deploy.parts.targets import NOT_FOUND
from pipeline.aws import AwsError, read_or_none
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
    """The function as GetFunction gives it once Lambda works on it no more; None: there is none.

    How the work ended is for the caller to see. botocore's waiters fail where an earlier update
    failed, which the next may mend, and wait in vain for a function that is Inactive, which the
    next event wakes. Raises AwsError when `seconds` are over.
    """
    names = {"FunctionName": name, **({"Qualifier": qualifier} if qualifier else {})}
    client, deadline = run.aws.client("lambda"), clock() + seconds
    while True:
        found = read_or_none(lambda: client.get_function(**names), NOT_FOUND)
        config = (found or {}).get("Configuration", {})
        if config.get("State") != "Pending" and config.get("LastUpdateStatus") != "InProgress":
            return found
        if clock() >= deadline:
            raise AwsError(
                f"Lambda is still at work on function '{':'.join(names.values())}' after "
                f"{seconds / 60:.0f} minutes (state {config.get('State')}, last update "
                f"{config.get('LastUpdateStatus')}): run the same command again, which waits on."
            )
        sleep(2)


def has_failed(config: Any) -> bool:
    """Whether Lambda could not make what this is the configuration of: it never runs."""
    return bool(config.get("State") == "Failed")


def update_has_failed(config: Any) -> bool:
    """Whether Lambda gave the last update up: the function runs as it did before."""
    return bool(config.get("LastUpdateStatus") == "Failed")


def reason(config: Any, key: str = "State") -> str:
    """Why it is in its state, or with "LastUpdateStatus" how its last update ended."""
    code, text = config.get(f"{key}ReasonCode"), config.get(f"{key}Reason")
    said = ": ".join(str(part) for part in (code, text) if part)
    return said.rstrip(".") or "Lambda gives no reason"


def ready(run: Run, name: str) -> Any:
    """The function's configuration, when all that was asked for is done; it may be Inactive.

    Raises AwsError, with Lambda's reason, when it could not be done.
    """
    found = at_rest(run, name)
    if found is None:
        raise AwsError(f"Function '{name}' was deleted meanwhile: run the same command again.")
    config = found["Configuration"]
    if has_failed(config):
        raise AwsError(
            f"Lambda could not make function '{name}': {reason(config)}. Mend that and run the "
            "same command again: it deletes the function and makes it anew."
        )
    if update_has_failed(config):
        raise AwsError(
            f"Lambda could not update function '{name}', which runs as it did before: "
            f"{reason(config, 'LastUpdateStatus')}. Mend that and run the same command again."
        )
    return config
