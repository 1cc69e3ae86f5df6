"""Command lines that look and fail like those of the other scripts, without click.

The image has no click, and enroll.py and models.py run there as well.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

# As in pyproject.toml, which the image does not have; a test compares them.
VERSION = "0.1.0"
STDOUT = 1  # the file descriptor


class _Help(argparse.HelpFormatter):
    """Help as click writes it: "Usage:", and options without their usage in full."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=80)

    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: Any = None) -> None:
        """Name the program, "[OPTIONS]" and the arguments."""
        words = [self._prog, "[OPTIONS]" if any(a.option_strings for a in actions) else ""]
        for action in actions:
            if not action.option_strings:
                name = _name(action)
                words.append(f"[{name}]" if action.nargs == "?" else name)
        text = " ".join(word for word in words if word)
        # The prefix is "" where argparse asks for a subcommand's own name.
        self._add_item(lambda: f"{'Usage: ' if prefix is None else prefix}{text}\n\n", [])

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return _name(action)
        names = ", ".join(action.option_strings)
        return names if action.nargs == 0 else f"{names} {_name(action)}"


def _name(action: argparse.Action) -> str:
    if isinstance(action, argparse._SubParsersAction):
        return "COMMAND ..."
    if action.choices:
        return f"[{'|'.join(map(str, action.choices))}]"
    if isinstance(action.metavar, tuple):
        return " ".join(action.metavar)
    return str(action.metavar or action.dest.upper())


class Parser(argparse.ArgumentParser):
    """An ArgumentParser with -h, --help and --version whose help and errors look like click's."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=_Help, add_help=False, allow_abbrev=False, **settings)
        self._positionals.title, self._optionals.title = "Arguments", "Options"

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Add what every command has, after its other options."""
        if "--help" not in self._option_string_actions:
            version = f"video-face-recognition {VERSION}"
            what = "Show the version and exit."
            self.add_argument("--version", action="version", version=version, help=what)
            what = "Show this message and exit."
            self.add_argument("-h", "--help", action="help", help=what)
        return super().parse_known_args(args, namespace)

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print help; argparse itself hides that it cannot."""
        (file or sys.stderr).write(message)

    def error(self, message: str) -> NoReturn:
        """Print the usage and the error, and exit with status 2."""
        formatter = self._get_formatter()
        formatter.add_usage(None, self._actions, self._mutually_exclusive_groups)
        usage = formatter.format_help().strip()
        print(f"{usage}\nTry '{self.prog} --help' for help.\n\nError: {message}", file=sys.stderr)
        raise SystemExit(2)


def run(main: Callable[[], int]) -> NoReturn:
    """Run a command and exit; like click, end quietly when the reader of a pipe has gone."""
    try:
        try:
            raise SystemExit(main())
        finally:
            print(end="", flush=True)
    except KeyboardInterrupt:
        print("\nAborted!", file=sys.stderr)
    except OSError as error:
        if error.errno != errno.EPIPE:
            print(f"Error: {error.filename or 'Cannot go on'}: {error.strerror}", file=sys.stderr)
        # Python would try again to write the rest, and exit with 120.
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
    raise SystemExit(1)
