"""Options, output and error handling shared by every script."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import botocore.exceptions
import click

from pipeline.aws import Aws, AwsError, explain
from pipeline.settings import Deployment, SettingsError

T = TypeVar("T")


def script_command(aws: Aws, deployment: Deployment, script: str, *more: str) -> str:
    """Return a command line that runs `script` on the same deployment, to copy and paste."""
    return shlex.join(["python3", script, *deployment.options, *aws.options, *more])


@dataclass
class Run:
    """One run of a script on a deployment. Progress goes to stderr, results to stdout."""

    deployment: Deployment
    aws: Aws
    dry_run: bool = False
    changes: int = 0  # with --dry-run, the changes that would be made

    def note(self, text: str) -> None:
        """Print a line of progress."""
        click.echo(f"  {text}", err=True)

    def kept(self, thing: str) -> None:
        """Report that `thing` is already as it should be."""
        self.note(f"kept    {thing}")

    def command(self, script: str, *more: str) -> str:
        """Return a command line that runs another script on the same deployment."""
        return script_command(self.aws, self.deployment, script, *more)

    def aws_command(self, *words: str) -> str:
        """Return an AWS CLI command line for the same account and region, to copy and paste."""
        return shlex.join(["aws", *words, *self.aws.options])

    def change(self, verb: str, thing: str, call: Callable[[], T]) -> T | None:
        """Run `call` and report the change to `thing`; with --dry-run, only report it.

        `verb` is an infinitive such as "create". Returns the result of `call`, or None in a dry
        run.
        """
        if self.dry_run:
            self.changes += 1
            self.note(f"Would {verb} {thing}")
            return None
        result = call()
        self.changes += 1
        self.note(f"{verb:7} {thing}")
        return result


def deployment_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the shared options to a click command, which gets a `Run` as its first argument."""

    @click.option("--prefix", required=True, help="Start of every bucket name, e.g. 1225111111.")
    @click.option("--namespace", default="", help="Lets deployments share an account.")
    @click.option("--region", help="AWS region; default: that of the profile or CloudShell.")
    @click.option("--profile", help="AWS CLI profile with the credentials to use.")
    @click.option("--endpoint-url", help="Endpoint of another AWS, such as the local one.")
    @click.option("--dry-run", is_flag=True, help="Print what would be done; change nothing.")
    @functools.wraps(function)
    def command(
        prefix: str,
        namespace: str,
        region: str | None,
        profile: str | None,
        endpoint_url: str | None,
        dry_run: bool,
        **options: Any,
    ) -> None:
        with clear_errors():
            deployment = Deployment(prefix, namespace)
            aws = Aws(region=region, profile=profile, endpoint_url=endpoint_url)
            function(Run(deployment, aws, dry_run), **options)

    return command


class clear_errors:
    """Turn errors that a user can act on into one clear message and exit status 1.

    Any other error is a bug in these scripts and keeps its traceback.
    """

    def __enter__(self) -> None:
        """Do nothing: all the work is in __exit__."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise click.ClickException for errors of AWS, the settings or the network."""
        if isinstance(error, (AwsError, SettingsError)):
            raise click.ClickException(str(error)) from error
        if isinstance(error, (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError)):
            raise click.ClickException(explain(error)) from error
