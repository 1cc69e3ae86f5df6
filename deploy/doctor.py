#!/usr/bin/env python3
"""Checks what deploying needs, and what was deployed; every failed check says how to mend it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import click

from deploy.layer import zip_option
from deploy.parts.checks import Check, check
from deploy.parts.checks_after import checks_after
from deploy.parts.checks_before import checks_before
from deploy.parts.overrides import read_overrides, set_option
from pipeline.aws import read_or_none
from pipeline.cli import Run, deployment_options

MARKS = {"ok": "ok    ", "warning": "WARN  ", "failed": "FAILED"}


def is_deployed(run: Run) -> bool:
    """Whether either function exists."""
    client = run.aws.client("lambda")
    return any(
        read_or_none(
            lambda name=function.name: client.get_function_configuration(  # type: ignore[misc]
                FunctionName=name
            ),
            "ResourceNotFoundException",
        )
        is not None
        for function in run.deployment.functions
    )


@click.command()
@deployment_options
@zip_option
@set_option
@click.option("--before", "when", flag_value="before", help="Only what deploying needs.")
@click.option("--after", "when", flag_value="after", help="Only what was deployed.")
def main(run: Run, zip_path: Path, settings: tuple[str, ...], when: str | None) -> None:
    """Check a deployment before and after: python deploy/doctor.py --prefix 1225111111

    Without --before or --after: what deploying needs, and what was deployed if anything was.
    """
    overrides = read_overrides(settings)
    checks: list[Check] = []
    if when == "before":
        checks = checks_before(run, zip_path, overrides)
    elif when == "after":
        checks = checks_after(run, zip_path)
    else:
        # Without credentials it cannot be told; the check of these says so.
        deployed = check("deployed", lambda: str(is_deployed(run))).detail == "True"
        checks = checks_before(run, zip_path, overrides, deployed)
        checks += checks_after(run, zip_path) if deployed else []
    for done in checks:
        click.echo(f"{MARKS[done.result]} {done.name}: {done.detail}")
        if done.fix:
            click.echo(f"       -> {done.fix}")
    failed = sum(done.result == "failed" for done in checks)
    click.echo(f"{len(checks)} checks, {failed} failed", err=True)
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
