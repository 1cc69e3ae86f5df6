"""Every command has -h and --version; what only reads has --json and no --dry-run."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from pipeline.settings import NAME, VERSION
from tests.docs.commands import ARGPARSE, LAYER, click_command, is_click, options, scripts
from tests.docs.pages import ROOT, page

READ_ONLY = (
    *("deploy/status.py", "deploy/doctor.py", "deploy/logs.py"),
    *("workload/grade.py", "workload/report.py", "workload/results.py"),
)
JSON = (
    *("deploy/status.py", "deploy/doctor.py", "deploy/logs.py", "deploy/failures.py"),
    *("workload/grade.py", "workload/recognize.py", "workload/results.py"),
)
FOR_USERS = [s for s in scripts() if s.startswith(("createS3.py", "deploy/", "workload/"))]

BENCHMARKS = sorted(
    path.name
    for path in (ROOT / "bench").glob("*.py")
    if 'if __name__ == "__main__"' in path.read_text(encoding="utf-8")
)


def said(script: str, word: str) -> str:
    """What a command prints for a word; it must end well."""
    if is_click(script):
        done = CliRunner().invoke(click_command(script), [word])
        assert done.exit_code == 0, done.output
        return done.output
    program = [ROOT / script] if script == LAYER else [sys.executable, ROOT / script]
    return subprocess.run([*program, word], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("script", scripts())
def test_a_command_prints_its_help_and_version(script: str) -> None:
    short = said(script, "-h")

    assert "--version" in short
    assert "-h, --help" in short
    assert "('" not in short  # a tuple of Python
    assert said(script, "--version") == f"{NAME} {VERSION}\n"


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_that_is_asked_for_its_version_does_not_start(name: str) -> None:
    command = [sys.executable, str(ROOT / "bench" / name), "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout == f"{NAME} {VERSION}\n"


def test_the_version_is_the_projects() -> None:
    stated = (ROOT / "pyproject.toml").read_text(encoding="utf-8")

    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)
    assert f'\nversion = "{VERSION}"\n' in stated
    assert f"## [{VERSION}]" in page("CHANGELOG.md").text


@pytest.mark.parametrize("script", FOR_USERS)
def test_what_writes_can_run_dry_and_what_reads_can_print_json(script: str) -> None:
    there = options(script)

    if script in READ_ONLY:
        assert "--dry-run" not in there
    if script != "workload/report.py":  # its output is a file
        assert "--dry-run" in there or "--json" in there
    if script in JSON:
        assert "--json" in there


@pytest.mark.parametrize("script", ARGPARSE)
@pytest.mark.parametrize("words", [["--nosuch"], ["--output"], ["nosuch", "x", "y"]])
def test_a_mistake_looks_the_same_without_click(script: str, words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / script, *words], capture_output=True, text=True, check=False
    )
    usage, hint, empty, error = done.stderr.splitlines()

    name = script.partition("/")[2]
    assert done.returncode == 2
    assert usage.startswith(f"Usage: {name} [OPTIONS] ")
    assert hint == f"Try '{name} --help' for help."
    assert (empty, error[:7]) == ("", "Error: ")


def test_the_lines_in_the_documentation_complete_options() -> None:
    text = page("docs/settings.md").text
    (loop,) = re.findall(r"```\n(for script in createS3\.py.*?done)\n```", text, re.DOTALL)
    one = loop.replace("createS3.py deploy/[a-z]*.py workload/[a-z]*.py", "deploy/logs.py")
    assert one != loop
    asked = (
        f"{one.replace('python3', sys.executable)}\n"
        "function=$(complete -p logs.py | sed 's/.*-F \\([^ ]*\\) .*/\\1/')\n"
        "COMP_WORDS=(deploy/logs.py --fo) COMP_CWORD=1\n"
        "$function deploy/logs.py\n"
        'echo "${COMPREPLY[@]}"\n'
    )
    path = f"{ROOT / '.venv' / 'bin'}:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", "-c", asked], cwd=ROOT, env={"PATH": path}, capture_output=True, text=True
    )

    assert done.stdout.splitlines()[-1] == "--follow", done.stdout + done.stderr
