"""Commands in the documentation can be run as they are pasted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.commands import (
    LAYER,
    click_command,
    is_click,
    options,
    required,
    script_in,
    scripts,
)
from tests.docs.pages import ROOT, page, pages, words

OURS = re.compile(r"(python3 |\.venv/bin/python |\./)")
# Options of docker and pip.
OTHERS = {"--provenance", "--sbom", "--no-deps"}


def command_lines() -> list[str]:
    """Every line of a code block, and every code span, that runs a command of ours."""
    lines = [line for each in pages() for line in (*each.commands, *each.spans)]
    return [line for line in lines if script_in(words(line))]


def test_commands_run_python3_because_a_machine_may_have_no_python() -> None:
    ours = "|".join((*COMMAND_FOLDERS, "createS3", "-m"))
    without_3 = re.compile(rf"(?<![\w./$-])python (?={ours})")
    texts = {path: path.read_text() for path in ROOT.rglob("*") if is_shipped(path)}

    assert len(texts) > 100
    assert [str(path) for path, text in texts.items() if without_3.search(text)] == []


COMMAND_FOLDERS = ("deploy/", "workload/", "face-recognition/", "bench/")


def is_shipped(path: Path) -> bool:
    """Whether a file is text of the project that users may see."""
    top = path.relative_to(ROOT).parts[0]
    return path.suffix in (".py", ".md", ".sh") and top not in (".venv", "build", "tests", ".git")


def named(given: list[str]) -> list[str]:
    """The options among words, without their values."""
    return [word.partition("=")[0] for word in given if re.match(r"--[a-z]", word)]


def test_every_command_line_of_ours_names_a_script_that_exists() -> None:
    lines = [line for each in pages() for line in (*each.commands, *each.spans) if OURS.match(line)]
    of_others = [
        line for line in lines if re.search(r"-m (pytest|pip|tests\.faults\.table)\b", line)
    ]

    assert len(lines) > 30
    assert [line for line in lines if line not in of_others and not script_in(words(line))] == []


@pytest.mark.parametrize("line", sorted(set(command_lines())))
def test_a_command_line_has_options_that_exist(line: str) -> None:
    found = script_in(words(line))
    assert found
    script, given = found

    assert [option for option in named(given) if option not in options(script)] == []


@pytest.mark.parametrize(
    "line", sorted(line for line in page("README.md").commands if script_in(words(line)))
)
def test_a_command_line_of_the_readme_lacks_nothing(line: str) -> None:
    found = script_in(words(line))
    assert found
    script, given = found

    assert required(script) <= set(named(given))
    if is_click(script):
        command = click_command(script)
        context = command.make_context(script, [], resilient_parsing=True)
        values, rest, _ = command.make_parser(context).parse_args(list(given))
        assert rest == [], "words that no argument takes"
        assert [value for value in values.values() if str(value).startswith("--")] == []


def test_every_option_mentioned_belongs_to_a_command() -> None:
    spans = {span for each in pages() for span in each.spans if span.startswith("--")}
    mentioned = {option for span in spans for option in named(words(span))}
    there = {option for script in scripts() for option in options(script)} | OTHERS

    assert len(mentioned) > 20
    assert sorted(mentioned - there) == []


def test_the_layer_script_prints_its_options() -> None:
    assert {"--output", "--arch", "--force", "--help"} <= options(LAYER)
