"""Options that several commands share, including the course documents' spellings."""

from __future__ import annotations

import functools
import math
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import click

from pipeline.aws import Aws
from pipeline.cli import about_options, clear_errors, config_option, is_given, select
from workload.running.input_errors import InputError

F = TypeVar("F", bound=Callable[..., Any])

INTERRUPTED = 130  # the exit status a shell reports for a command ended by Ctrl-C
DOCUMENTS_REGION = "us-east-1"  # the documents' commands pass keys but no region
ECHO_S = 1.0  # programs that run others pass Ctrl-C on, so that it comes twice


class CtrlC:
    """Raises KeyboardInterrupt for Ctrl-C, unless it did so less than ECHO_S ago.

    A second one would interrupt what the first one has begun, such as saving a run.
    """

    def __init__(self) -> None:
        """Start without any."""
        self._last = -math.inf  # when it last raised

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        """Handle the signal."""
        now = time.monotonic()
        if now - self._last >= ECHO_S:
            self._last = now
            raise KeyboardInterrupt


def key_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add --access_key and --secret_key to a click command."""
    secret = click.option("--secret_key", "--secret-key", "secret_key", help="Secret key.")
    access = click.option(
        "--access_key",
        "--access-key",
        "access_key",
        help="Access key. Prefer --profile: keys on a command line show up in the shell's "
        "history and in process lists.",
    )
    return access(secret(function))


def seconds_option(name: str, default: float, meaning: str) -> Callable[[F], F]:
    """Return the option `name`, a finite number of seconds; `meaning` is its help."""
    return click.option(
        name,
        type=click.FloatRange(min=0),
        callback=finite,
        default=default,
        show_default=True,
        help=meaning,
    )


def deadline_option(meaning: str) -> Callable[[F], F]:
    """Return the option --deadline, in seconds; `meaning` is its help."""
    return seconds_option("--deadline", 300.0, meaning)


prices_option = click.option(
    "--prices",
    "prices_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help='JSON file of prices to override, such as {"lambda_gb_second": 0.0000133334}.',
)


def workload_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that select the deployment; the command gets `aws, deployment` first."""

    @about_options
    @click.option("--prefix", "--asu_id", "prefix", help="What every bucket name starts with.")
    @click.option("--namespace", default="", help="The deployment's namespace, if it has one.")
    @click.option("--region", help="AWS region; default: the region of the profile or CloudShell.")
    @click.option("--profile", help="AWS CLI profile whose credentials to use.")
    @click.option("--endpoint-url", help="URL of another AWS, such as the local one.")
    @config_option
    @key_options
    @functools.wraps(function)
    def command(access_key: str | None, secret_key: str | None, **values: Any) -> None:
        # A shell makes background jobs ignore SIGINT, but a run must be stoppable there as well.
        signal.signal(signal.SIGINT, CtrlC())
        try:
            with clear_errors():
                deployment, _ = select(values)
                del values["prefix"], values["namespace"]
                region, profile = values.pop("region"), values.pop("profile")
                keys = both_keys(access_key, secret_key, profile)
                if keys and not region and "AWS_DEFAULT_REGION" not in os.environ:
                    region = os.environ.get("AWS_REGION", DOCUMENTS_REGION)
                    click.echo(f"No --region given: using {region}.", err=True)
                aws = Aws(region, None if keys else profile, values.pop("endpoint_url"), keys)
                function(aws, deployment, **values)
        except KeyboardInterrupt:
            click.echo("\nStopped.", err=True)
            raise SystemExit(INTERRUPTED) from None

    return command


def both_keys(
    access_key: str | None, secret_key: str | None, profile: str | None
) -> tuple[str, str] | None:
    """Both keys, or None; they override a profile from the deployment's file.

    Raises click.UsageError, which never shows a key.
    """
    if access_key is None and secret_key is None:
        return None
    if not access_key or not secret_key:
        raise click.UsageError("--access_key and --secret_key go together: pass both or neither.")
    if profile and is_given("profile"):
        raise click.UsageError("Pass either --profile or --access_key and --secret_key, not both.")
    # https://docs.aws.amazon.com/IAM/latest/APIReference/API_AccessKey.html
    if not re.fullmatch(r"\w{16,128}", access_key, re.ASCII):
        raise click.UsageError(
            "--access_key is not an access key: it should be 16 to 128 letters and digits, such as "
            "AKIA... The AWS console shows it under IAM, Users, Security credentials."
        )
    return access_key, secret_key


def check_output_files(*paths: Path | None, are_replaced: bool = True) -> None:
    """Raise InputError unless a file can be written at each of `paths`.

    One that is to be replaced by a new file must not be a device, such as /dev/stdout.
    """
    for path in paths:
        if path is None:
            continue
        if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
            raise InputError(f"Cannot write {path}: its folder must exist and be writable.")
        if are_replaced and path.exists() and not path.is_file():
            raise InputError(f"Cannot write {path}: it is not a regular file. Name another one.")


def finite(_context: click.Context, option: click.Parameter, value: float | None) -> float | None:
    """An option's value, checked here because click's ranges accept nan and inf."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter("use a finite number", param=option)
    return value
