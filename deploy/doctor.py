#!/usr/bin/env python3
"""Checks what deploying needs and what is deployed; each failed check says how to fix it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.requirements import INSTALL, missing_packages

MISSING = missing_packages()
if MISSING:
    print(f"FAILED Python and boto3: {MISSING}\n       -> {INSTALL}")
    raise SystemExit(1)

import click

from deploy.layer import zip_option
from deploy.parts.checks import Check, account_check, check
from deploy.parts.checks_after import checks_after
from deploy.parts.checks_before import checks_before
from deploy.parts.deployed import is_deployed
from deploy.parts.monitoring import alarms_option
from pipeline.cli import Run, counted, deployment_options, set_option
from pipeline.names import printable_lines

MARKS = {"ok": "ok    ", "warning": "WARN  ", "failed": "FAILED"}


@click.command()
@partial(deployment_options, only_reads=True)
@zip_option
@set_option
@alarms_option
@click.option("--before", "when", flag_value="before", help="Check only what deploying needs.")
@click.option("--after", "when", flag_value="after", help="Check only what is deployed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(run: Run, zip_path: Path, has_alarms: bool, when: str | None, as_json: bool) -> None:
    """Check what deploying needs and what is deployed: python3 deploy/doctor.py --prefix 1225111111

    Without --before or --after, it checks both, or only the former if nothing is deployed.
    """
    checks: list[Check] = []
    if when == "before":
        checks = checks_before(run, zip_path)
    elif when == "after":
        checks = [account_check(run)]
        checks += checks_after(run, zip_path, has_alarms) if checks[0].result == "ok" else []
    else:
        # Fails without valid credentials; the check of the credentials then reports that.
        deployed = check("deployed", lambda: str(is_deployed(run))).detail == "True"
        checks = checks_before(run, zip_path, deployed)
        checks += checks_after(run, zip_path, has_alarms) if deployed else []
    if as_json:
        click.echo(json.dumps([asdict(done) for done in checks], indent=2))
    for done in checks if not as_json else []:
        click.echo(f"{MARKS[done.result]} {done.name}: {printable_lines(done.detail)}")
        if done.fix:
            click.echo(f"       -> {printable_lines(done.fix)}")
    failed = sum(done.result == "failed" for done in checks)
    click.echo(f"{counted(len(checks), 'check')}, {failed} failed", err=True)
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
