"""The messages in docs/errors.md are those that the program prints."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.docs.pages import ROOT, page, project_files

VARIES = "\N{BULLET}"  # stands where a message has a value
SECTION = "From this project"


def documented() -> list[str]:
    """The code in the first column of the table of our own errors."""
    section = page("docs/errors.md").section(SECTION)
    cells = re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)
    return [
        span for cell in cells for span in re.findall(r"`([^`]+)`", cell) if span != "P-failures"
    ]


@cache
def texts() -> list[str]:
    """Every text in the program's code, and the name of every class."""
    found = []
    for name in sorted(project_files()):
        if name.endswith(".py") and not name.startswith("tests/"):
            found += _texts_of(ast.parse((ROOT / name).read_text(encoding="utf-8")))
    return found


def _texts_of(tree: ast.AST) -> list[str]:
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            found.append(node.name)
        elif isinstance(node, ast.JoinedStr):
            parts = (
                part.value if isinstance(part, ast.Constant) else VARIES for part in node.values
            )
            found.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and id(node) not in docstrings:
            found.append(str(node.value))
    return found


def test_the_table_is_read() -> None:
    assert len(documented()) > 12
    assert any(VARIES in text for text in texts())


@pytest.mark.parametrize("message", documented())
def test_a_documented_message_is_one_of_the_programs(message: str) -> None:
    if message in texts():
        return  # the name of an error, for instance
    parts = [re.escape(part) for part in message.split("...")]
    assert max(map(len, parts)) > 10, "too little to be found by"

    pattern = re.compile(".*".join(parts), re.DOTALL)
    assert any(pattern.search(text) for text in texts())
