"""The options that each of the project's commands has, read without running it."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
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
        usage = subprocess.run([ROOT / LAYER, "--help"], capture_output=True, text=True, check=True)
        return frozenset(re.findall(r"--[a-z][\w-]*", usage.stdout))
    if script in ARGPARSE:
        return frozenset(_argparse_options(script)) | {"--help"}
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


def _argparse_options(script: str) -> set[str]:
    """What is passed to add_argument: importing these scripts would load torch."""
    calls = (
        node
        for node in ast.walk(ast.parse((ROOT / script).read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument"
    )
    names = [arg.value for call in calls for arg in call.args if isinstance(arg, ast.Constant)]
    return {name for name in names if isinstance(name, str) and name.startswith("--")}
