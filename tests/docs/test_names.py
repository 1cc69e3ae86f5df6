"""Files, modules, settings and make targets named in the documentation exist."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import ROOT, page, pages, project_files, words

FILE = re.compile(r"\.?[\w-][\w./-]*\.(py|sh|md|toml|yml|css|j2|json|txt|csv)")
FOLDER = re.compile(r"\.?[\w-][\w./-]*/")
# Objects, files and folders of a user's, and what the commands write.
EXAMPLES = re.compile(
    r"(test_|dir/|people/|videos/|a\.m|build/|\.venv|licenses/|s3://)"
    r"|(expected\.csv|run\.json|report\.html)$|\.txt$(?<!requirements\.txt)(?<!requirements-dev\.txt)"
)
IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def is_there(name: str, files: set[str]) -> bool:
    """Whether a file or folder has this path, or a path that ends with it."""
    if name.endswith("/"):
        return any(f"/{name}" in f"/{file}" for file in files)
    return any(f"/{file}".endswith(f"/{name}") for file in files)


def test_every_file_and_folder_named_exists() -> None:
    files = project_files()
    named = {
        (page.path.name, word)
        for page in pages()
        for span in page.spans
        for word in words(span)
        if (FILE.fullmatch(word) or FOLDER.fullmatch(word)) and not EXAMPLES.match(word)
    }

    assert len(named) > 50
    assert sorted((p, word) for p, word in named if not is_there(word, files)) == []


def test_the_tree_in_contributing_exists() -> None:
    section = page("CONTRIBUTING.md").section("Where things are")
    named = re.findall(r"^([\w./-]+) {2,}", section, re.MULTILINE)

    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_table_of_the_local_aws_names_its_modules() -> None:
    rows = re.findall(
        r"^\| (`.+?) \|", page("ARCHITECTURE.md").section("The local AWS"), re.MULTILINE
    )
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}

    there = {path.stem for path in (ROOT / "local_aws").glob("*.py")} - {"__init__"}
    assert named == there


@pytest.mark.parametrize(
    "title", [title for title in page("CONTRIBUTING.md").sections() if title.startswith("Add a")]
)
def test_how_to_extend_names_what_the_files_define(title: str) -> None:
    spans = re.findall(r"`([^`]+)`", page("CONTRIBUTING.md").section(title))
    files = [file for file in project_files() if any(is_there(span, {file}) for span in spans)]
    names = {span for span in spans if IDENTIFIER.fullmatch(span)}
    content = "\n".join(
        (ROOT / file).read_text(encoding="utf-8") for file in files if file[:6] != "tests/"
    )

    assert names
    assert sorted(name for name in names if not defines(content, name)) == []


def defines(content: str, name: str) -> bool:
    """Whether a module with this content defines or imports the name, or has a setting of it."""
    found = (
        rf"(?:def|class) {name}\b|{name}(?:: [^=\n]+)? = ",
        rf"from [\w.]+ import .*\b{name}\b|Setting\(\w+, \"{name}\"",
    )
    return re.search(rf"^\s*(?:{'|'.join(found)})", content, re.MULTILINE) is not None


def test_every_make_target_and_variable_named_exists() -> None:
    lines = [line for page in pages() for line in (*page.spans, *page.commands)]
    calls = [words(line)[1:] for line in lines if line.startswith("make ")]
    named = {word for call in calls for word in call if IDENTIFIER.match(word)}
    targets = {word for word in named if "=" not in word and word == word.lower()}
    variables = {word.partition("=")[0] for word in named if "=" in word}

    assert {"demo", "local", "image", "test", "check", "bench"} <= targets
    assert targets <= TARGETS
    assert {"PEOPLE", "VIDEOS", "MODEL", "PYTHON"} <= variables
    assert [name for name in variables if f"$({name})" not in MAKEFILE] == []
