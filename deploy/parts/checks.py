"""The result of one of the doctor's checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import botocore.exceptions

from pipeline.aws import AwsError, explain


@dataclass(frozen=True)
class Check:
    """One check: what was checked, the result, and how to fix it.

    `result` is "ok", "warning" (deploying works, with the limitation in `detail`) or "failed".
    """

    name: str
    result: str
    detail: str
    fix: str = ""


def passed(name: str, detail: str) -> Check:
    """Return a check that passed."""
    return Check(name, "ok", detail)


def check(name: str, look: Callable[[], str], fix: str = "") -> Check:
    """Run `look`, which returns what it found or raises; an error makes the check fail."""
    try:
        return passed(name, look())
    except AwsError as error:
        return Check(name, "failed", str(error), fix)
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        return Check(name, "failed", explain(error), fix)
