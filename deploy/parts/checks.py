"""The result of one of the doctor's checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.cli import Run, readable


@dataclass(frozen=True)
class Check:
    """One check: what was checked, the result, and how to fix it.

    `result` is "ok", "warning" (deploying works, with the limitation in `detail`) or "failed".
    """

    name: str
    result: str
    detail: str
    fix: str = ""


def account_check(run: Run) -> Check:
    """Check that the credentials work; nothing else can be checked on AWS if they do not."""
    return check(
        "credentials and region",
        lambda: f"account {run.aws.account_id}, region {run.aws.region}",
        "Run this in AWS CloudShell, run aws configure, or pass --profile NAME.",
    )


def passed(name: str, detail: str) -> Check:
    """Return a check that passed."""
    return Check(name, "ok", detail)


def check(name: str, look: Callable[[], str], fix: str = "") -> Check:
    """Run `look`, which returns what it found or raises; an error makes the check fail."""
    try:
        return passed(name, look())
    except Exception as error:
        text = readable(error)
        if text is None:
            raise
        return Check(name, "failed", text, fix)
