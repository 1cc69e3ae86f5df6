"""The documentation as data: links, headings, code and the commands in it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What a checkout may hold besides the project.
OTHERS = {".git", ".venv", "build"}

FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`]+)`", re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    @cached_property
    def text(self) -> str:
        """All of it."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def prose(self) -> str:
        """The text without its code blocks."""
        return FENCED.sub("", self.text)

    @property
    def links(self) -> list[str]:
        """The targets of its links and pictures."""
        return LINK.findall(self.prose)

    @property
    def anchors(self) -> set[str]:
        """What a link may have after the #, formed as GitHub does."""
        headings = re.findall(r"^#+ (.+)$", self.prose, re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}

    @property
    def spans(self) -> list[str]:
        """The code in backticks, each on one line."""
        return [" ".join(span.split()) for span in SPAN.findall(self.prose)]

    @property
    def commands(self) -> list[str]:
        """The lines of its code blocks, continued lines joined."""
        blocks = (block.split("\n", 1)[1][:-3] for block in FENCED.findall(self.text))
        return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]

    def section(self, title: str) -> str:
        """The text below a heading, up to the next heading of any level."""
        match = re.search(
            rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", self.text, re.MULTILINE | re.DOTALL
        )
        assert match, f"{self.path.name} has no section {title!r}"
        return match[1]

    def sections(self) -> dict[str, str]:
        """Every section by its heading."""
        titles = re.findall(r"^#+ (.+)$", self.prose, re.MULTILINE)
        return {title: self.section(title) for title in titles}


def pages() -> list[Page]:
    """Every Markdown file of the project."""
    return [Page(ROOT / name) for name in sorted(project_files()) if name.endswith(".md")]


def page(name: str) -> Page:
    """The Markdown file with this path."""
    return Page(ROOT / name)


def project_files() -> set[str]:
    """The path of every file of the project, relative to its top folder."""
    found: set[str] = set()
    for top in ROOT.iterdir():
        if top.name in OTHERS:
            continue
        files: Iterator[Path] = iter([top]) if top.is_file() else top.rglob("*")
        found.update(str(path.relative_to(ROOT)) for path in files if path.is_file())
    return {name for name in found if "__pycache__" not in name and "_cache/" not in name}


def words(command: str) -> list[str]:
    """The words of a command line as a shell splits them, without its comment."""
    try:
        return shlex.split(command, comments=True)
    except ValueError:  # prose or JSON with a lone quotation mark
        return command.split()
