"""Options, output and error handling shared by every script."""

from __future__ import annotations

import errno
import functools
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import click
from click.core import ParameterSource

from pipeline.aws import AWS_ERRORS, Aws, explain
from pipeline.deployment_file import DEFAULT_PATH, DeploymentFile, read_file, write_file
from pipeline.names import printable, printable_lines
from pipeline.setting_table import DEPLOYMENT, UserError, help_table, merged, read_words, rows
from pipeline.settings import NAME, VERSION, Deployment, SettingsError

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

FILE = "pipeline.deployment_file"  # the key of the file in a click context's meta


def script_command(aws: Aws, deployment: Deployment, script: str, *more: str) -> str:
    """Return a command line that runs `script` on the same deployment, to copy and paste."""
    words = deployment.selected_by
    if words is None:
        words = (*deployment.options, *aws.options)
    return shlex.join(["python3", script, *words, *more])


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: `1 object`, `2,000 objects`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


@dataclass
class Run:
    """One run of a script on a deployment. Progress goes to stderr, results to stdout."""

    deployment: Deployment
    aws: Aws
    dry_run: bool = False
    changes: int = 0  # with --dry-run, the changes that would be made
    path: Path = DEFAULT_PATH  # the deployment's file
    unsaved: dict[str, str] | None = None  # the options to write there

    def save(self) -> None:
        """Write the deployment's file, once, if there is something to write.

        Called when the bucket names are known to be ours, so that no file keeps a prefix that
        cannot be used. Raises SettingsError if the file cannot be written.
        """
        if self.unsaved is None:
            return
        options = {**self.unsaved, **self.deployment.names, "region": self.aws.region}
        self.unsaved = None
        if self.dry_run:
            self.note(f"Would save the settings in {self.path}")
            return
        write_file(self.path, options, self.deployment.settings)
        self.note(f"saved   the settings in {self.path}: later commands need no options")

    def note(self, text: str) -> None:
        """Print a line of progress."""
        click.echo(f"  {printable(text)}", err=True)

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


def about_options(function: F) -> F:
    """Add --version, -h and --help to a click command, after its other options."""
    others = getattr(function, "__click_params__", [])  # the last first
    vars(function)["__click_params__"] = []
    version = click.version_option(VERSION, prog_name=NAME, message="%(prog)s %(version)s")
    command = version(click.help_option("-h", "--help")(function))
    for option in vars(command)["__click_params__"]:
        option.callback = _with_clear_errors(option.callback)
    vars(command)["__click_params__"] += others
    return command


def _with_clear_errors(function: F) -> F:
    """Run `function`, which prints, with its errors told like those of the command itself."""

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        with clear_errors():
            return function(*arguments)

    return cast(F, call)


config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="PIPELINE_CONFIG",
    show_envvar=True,
    is_eager=True,
    expose_value=False,
    callback=lambda context, _, path: _read_defaults(context, path),
    help="File with a deployment's options and settings, which options override; default: "
    "deployment.ini in this checkout.",
)

set_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FUNCTION.NAME=VALUE",
    help="Override a setting of a function. These are the defaults, and what may be set "
    f"(docs/settings.md explains them):\n\n\b\n{help_table()}",
)


def _read_defaults(context: click.Context, path: Path | None) -> None:
    """Make what the file holds the defaults of the command's options."""
    if context.resilient_parsing:
        return
    with clear_errors():
        file = read_file(DEFAULT_PATH if path is None else path)
    context.meta[FILE] = file
    context.default_map = {
        str(option.name): file.options[name]
        for name, option in _options(context)
        if name in file.options
    }


def _options(context: click.Context) -> list[tuple[str, click.Option]]:
    """Return the command's options that a file may hold, each with its name there."""
    return [
        (name, option)
        for name in rows(DEPLOYMENT)
        for option in context.command.params
        if isinstance(option, click.Option) and f"--{name}" in option.opts
    ]


def is_given(name: str) -> bool:
    """Return whether the running command's parameter `name` is on its command line."""
    source = click.get_current_context().get_parameter_source(name)
    return source == ParameterSource.COMMANDLINE


def given_options(values: dict[str, Any]) -> dict[str, str]:
    """Return the options on the command line that a file may hold, as a file holds them."""
    return {
        name: _as_text(values[str(option.name)])
        for name, option in _options(click.get_current_context())
        if is_given(str(option.name))
    }


def _as_text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "", True: "yes", False: "no"}[value]
    return str(value.resolve()) if isinstance(value, Path) else str(value)


def file_for(prefix: str | None, values: dict[str, Any]) -> DeploymentFile:
    """Return the file that was read, or an empty one if it is another prefix's.

    In that case, `values` from the file are set back to the options' own defaults.
    """
    context = click.get_current_context()
    file: DeploymentFile = context.meta[FILE]
    theirs = file.options.get("prefix")
    if prefix is None or theirs in (None, prefix):
        return file
    click.echo(
        f"{file.shown} is for prefix '{theirs}', so it is not used for '{prefix}'.", err=True
    )
    own = context.command.make_context(context.info_name, [], resilient_parsing=True).params
    for _, option in _options(context):
        name = str(option.name)
        if context.get_parameter_source(name) == ParameterSource.DEFAULT_MAP:
            values[name] = own[name]
    return DeploymentFile(file.path, of_other=str(theirs))


def select(
    values: dict[str, Any], words: tuple[str, ...] = (), is_saving: bool = False
) -> tuple[Deployment, DeploymentFile]:
    """Return the deployment that options, --set `words` and the file select, and that file.

    `values` are the command's options; see `file_for`. Raises SettingsError if the file cannot be
    used, and click.UsageError without a prefix.
    """
    file = file_for(values["prefix"] if is_given("prefix") else None, values)
    config = click.get_current_context().get_parameter_source("config")
    if config != ParameterSource.DEFAULT and not (file.is_there or file.of_other or is_saving):
        raise SettingsError(
            f"There is no {file.path}, which --config or PIPELINE_CONFIG names: deploy/deploy.py "
            "writes it."
        )
    if not values["prefix"]:
        raise click.UsageError(
            "Missing option '--prefix'. With --save, later commands do without it."
        )
    selected_by = None
    if file.is_there:
        given = given_options(values)
        path = ("--config", str(file.path)) if is_given("config") else ()
        names = ("prefix", "namespace", "region", "profile", "endpoint-url")
        options = (word for name in names if name in given for word in (f"--{name}", given[name]))
        selected_by = (*path, *options)
    settings = merged(file.settings, read_words(words))
    return Deployment(values["prefix"], values["namespace"], settings, selected_by), file


def _as_it_is(function: F) -> F:
    """Return the function: a decorator that adds nothing."""
    return function


def deployment_options(
    function: Callable[..., None], saves_first: bool = False, only_reads: bool = False
) -> Callable[..., None]:
    """Add the shared options to a click command, which gets a `Run` as its first argument.

    With `saves_first`, Run.save also writes a file that does not exist yet. A command that
    `only_reads` has no --dry-run.
    """
    dry_run_option = click.option(
        "--dry-run", is_flag=True, help="Print what would be done; change nothing."
    )
    maybe_dry_run = _as_it_is if only_reads else dry_run_option

    @about_options
    @click.option("--prefix", help="Start of every bucket name, e.g. 1225111111.")
    @click.option("--namespace", default="", help="Lets deployments share an account.")
    @click.option("--region", help="AWS region; default: that of the profile or CloudShell.")
    @click.option("--profile", help="AWS CLI profile with the credentials to use.")
    @click.option("--endpoint-url", help="Endpoint of another AWS, such as the local one.")
    @config_option
    @click.option("--save", is_flag=True, help="Write the options and settings to that file.")
    @maybe_dry_run
    @functools.wraps(function)
    def command(save: bool, dry_run: bool = False, **values: Any) -> None:
        with clear_errors():
            words = values.pop("settings", ())
            deployment, file = select(values, words, is_saving=save or saves_first)
            if save and file.of_other:
                raise SettingsError(
                    f"{file.path} is for prefix '{file.of_other}': save '{deployment.prefix}' in a "
                    f"separate file, --config {deployment.prefix}.ini."
                )
            is_first = saves_first and not file.is_there and not file.of_other
            options = {**file.options, **given_options(values)} if save or is_first else None
            del values["prefix"], values["namespace"]
            aws = Aws(values.pop("region"), values.pop("profile"), values.pop("endpoint_url"))
            run = Run(deployment, aws, dry_run, path=file.path, unsaved=options)
            function(run, **values)
            run.save()

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
        if isinstance(error, OSError):
            _drop_unwritten()
        if text is not None:
            raise click.ClickException(printable_lines(text)) from error


def _drop_unwritten() -> None:
    """Drop output that cannot be written; Python would try again at its end, and exit with 120.

    As for broken pipes in https://docs.python.org/3/library/signal.html#note-on-sigpipe.
    """
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
