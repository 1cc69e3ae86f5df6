"""What a check of the doctor comes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import botocore.exceptions

from pipeline.aws import AwsError, explain


@dataclass(frozen=True)
class Check:
    """One check: what was looked at, how it came out, and what to do about it.

    `result` is "ok", "warning" (deploying works, with what `detail` says) or "failed".
    """

    name: str
    result: str
    detail: str
    fix: str = ""


def passed(name: str, detail: str) -> Check:
    """A check that found what it should."""
    return Check(name, "ok", detail)


def check(name: str, look: Callable[[], str], fix: str = "") -> Check:
    """`look` returns what it found, or raises: then the check failed, with the error's text."""
    try:
        return passed(name, look())
    except AwsError as error:
        return Check(name, "failed", str(error), fix)
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        return Check(name, "failed", explain(error), fix)
