"""The options that each of the project's commands has, read without running it."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from functools import cache
from pathlib import Path, PurePosixPath

import click

from tests.docs.pages import ROOT

LAYER = "install_ffmpeg.sh"
ARGPARSE = ("face-recognition/enroll.py", "face-recognition/models.py")
MODULES = ("samples/demo.py", "samples/local.py", "samples/build_image.py", "local_aws/__main__.py")


def scripts() -> list[str]:
    """The path of every command."""
    found = [str(path.relative_to(ROOT)) for path in (ROOT / "createS3.py", *_commands())]
    return [*found, LAYER, *ARGPARSE, *MODULES]


def _commands() -> list[Path]:
    folders = (ROOT / "deploy", ROOT / "workload")
    return [p for folder in folders for p in sorted(folder.glob("*.py")) if p.stem != "__init__"]


def script_in(words: list[str]) -> tuple[str, list[str]] | None:
    """The command of ours that a command line runs, and the words after it; None if it has none."""
    for index, word in enumerate(words):
        if word == "-m" and index + 1 < len(words):
            module = words[index + 1].replace(".", "/")
            for path in (f"{module}.py", f"{module}/__main__.py"):
                if path in MODULES:
                    return path, words[index + 2 :]
        for script in scripts():
            # `enroll.py` and `/var/task/enroll.py` are face-recognition/enroll.py.
            if word.removeprefix("./") == script or PurePosixPath(word).name == _short(script):
                return script, words[index + 1 :]
    return None


def _short(script: str) -> str:
    return PurePosixPath(script).name if script not in MODULES else script


@cache
def options(script: str) -> frozenset[str]:
    """The options of a command, such as --prefix."""
    if script == LAYER:
        return _options_in_help([str(ROOT / LAYER)])
    if script in ARGPARSE:
        return _options_in_help([sys.executable, str(ROOT / script)])
    found = {name for option in click_command(script).params for name in option.opts}
    found |= {name for option in click_command(script).params for name in option.secondary_opts}
    return frozenset(found) | {"--help"}


@cache
def click_command(script: str) -> click.Command:
    """The click command in a script."""
    module = importlib.import_module(script.removesuffix(".py").replace("/", "."))
    command = module.main
    assert isinstance(command, click.Command)
    return command


def required(script: str) -> set[str]:
    """The options that a click command cannot do without; each by its first spelling."""
    if not is_click(script):
        return set()
    return {o.opts[0] for o in click_command(script).params if o.required and "--" in o.opts[0]}


def is_click(script: str) -> bool:
    """Whether a command is a click command."""
    return script != LAYER and script not in ARGPARSE


def _options_in_help(command: list[str]) -> frozenset[str]:
    """The options that a command's own help names; models.py has them after a subcommand."""
    found = set[str]()
    for words in (["--help"], ["fetch", "--help"] if command[-1].endswith("models.py") else []):
        if words:
            usage = subprocess.run([*command, *words], capture_output=True, text=True, check=True)
            found |= set(re.findall(r"--[a-z][\w-]*", usage.stdout))
    return frozenset(found)
