"""Options, output and error handling shared by every script."""

from __future__ import annotations

import errno
import functools
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from pipeline.aws import AWS_ERRORS, Aws, explain
from pipeline.settings import Deployment, UserError

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

    Every script runs inside it. Any other error is a bug in these scripts and keeps its traceback.
    """

    def __enter__(self) -> None:
        """Do nothing: all the work is in __exit__."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise click.ClickException for errors of AWS, boto3, the settings or the machine."""
        text = readable(error)
        if text is not None:
            raise click.ClickException(text) from error


def readable(error: BaseException | None) -> str | None:
    """Return what to tell the user about an error, in one line; None if it is a bug."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, AWS_ERRORS):
        return explain(error)
    # click ends quietly when the reader of a pipe has gone.
    if isinstance(error, OSError) and error.errno != errno.EPIPE:
        return _machine(error)
    return None


# What to do about the errors of the operating system; any other speaks for itself.
OS_ADVICE = {
    errno.ENOSPC: "The disk is full: free some space, or set TMPDIR to a folder with more.",
    errno.EDQUOT: "Your quota of the disk is used up: free some space, or set TMPDIR.",
    errno.EFBIG: "The file may not grow further: check the limits (ulimit -f) and the disk.",
    errno.EACCES: "Check the permissions of the file and its folder.",
    errno.EPERM: "Check the permissions of the file and its folder.",
    errno.EROFS: "Choose a folder that can be written to.",
    errno.ENOENT: "Check the path.",
    errno.ENOTDIR: "Check the path.",
    errno.EISDIR: "Name a file, not a folder.",
    errno.ENOMEM: "End other programs, or use a machine with more memory.",
}


def _machine(error: OSError) -> str:
    """Return one line for an error of the operating system: what, where, what to do."""
    where = ", ".join(str(name) for name in (error.filename, error.filename2) if name)
    what = error.strerror or str(error) or type(error).__name__
    text = f"{where or 'Cannot go on'}: {what}"
    advice = OS_ADVICE.get(error.errno or 0, "")
    return f"{text}. {advice}" if advice else text
