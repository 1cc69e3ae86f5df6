"""How people's names are written, compared and shown, in the scripts and in the recognizer."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.answers import NO_FACE, UNKNOWN
from pipeline.names import (
    RESERVED,
    name_fault,
    name_key,
    normalized,
    printable,
    printable_lines,
)


def test_the_recognizers_copy_is_the_same(root: Path) -> None:
    copies = [root / "pipeline" / "names.py", root / "face-recognition" / "person_name.py"]

    one, two = (ast.parse(path.read_text(encoding="utf-8")).body[1:] for path in copies)

    assert list(map(ast.dump, one)) == list(map(ast.dump, two))


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Ada", "Ada"),
        (" Ada  Lovelace ", "Ada Lovelace"),
        ("Ada\u00a0\u3000Lovelace", "Ada Lovelace"),
        ("A\u0308nn", "\u00c4nn"),
        ("\u00c4nn", "\u00c4nn"),
        ("ada", "ada"),  # the case is the user's choice
        ("", ""),
    ],
)
def test_a_name_is_written_in_one_form(written: str, name: str) -> None:
    assert normalized(written) == name


@given(st.text())
def test_a_normalized_name_stays_as_it_is_and_keeps_its_key(text: str) -> None:
    assert normalized(normalized(text)) == normalized(text)
    assert name_key(normalized(text)) == name_key(text)
    assert name_key(name_key(text)) == name_key(text)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("Ada", "ADA", True),
        ("A\u0308nn", "\u00e4nn", True),
        ("Ada  Lee", " ada lee", True),
        ("Stra\u00dfe", "STRASSE", True),
        ("\uff21da", "Ada", True),  # a full-width letter
        ("A\u200bda", "Ada", True),  # a zero-width space
        ("Ada Lee", "AdaLee", False),
        ("Ann", "\u00c4nn", False),
        ("Ada", "Ada 2", False),
    ],
)
def test_twins_have_the_same_key(one: str, other: str, is_same: bool) -> None:
    assert (name_key(one) == name_key(other)) == is_same


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("Ada Lovelace", ""),
        ("Unknown Soldier", ""),
        ("No Face Fred", ""),
        ("\u0645\u06cc\u200c\u062e", ""),  # Persian needs its zero-width non-joiner
        ("unknown", "'unknown' is reserved for another answer"),
        ("UnKnown ", "reserved"),
        ("NO  FACE", "reserved"),
        ("Un\u200bknown", "reserved"),
        ("Ada\nBob", "control character"),
        ("Ada\tBob", "control character"),
        ("Ada\x7f", "control character"),
        ("Ada\u2028Bob", "control character"),
        ("Ada\u202eevoL", "reading direction"),
        ("", "shows nothing"),
        (" \u3000", "shows nothing"),
        ("\u200b", "shows nothing"),
        ("J\udcf6rg", "not UTF-8"),
    ],
)
def test_some_names_are_refused(name: str, fault: str) -> None:
    assert fault in name_fault(name)
    assert bool(fault) == bool(name_fault(name))


def test_the_reserved_names_are_the_answers() -> None:
    assert {name_key(UNKNOWN), name_key(NO_FACE)} == set(RESERVED)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\u00c4nn \u5f20\u4f1f a\u00a0b", "\u00c4nn \u5f20\u4f1f a\u00a0b"),
        ("\x1b[31mAda", r"\x1b[31mAda"),
        ("\x9b31mAda", r"\x9b31mAda"),  # the same as one character
        ("Ada\nBob\r\tC\x00\x7f", r"Ada\nBob\r\tC\x00\x7f"),
        ("a\u2028b\u2029c\x85", r"a\u2028b\u2029c\x85"),
        ("\u202egnp.mp4", r"\u202egnp.mp4"),
        ("1\udcf6.jpg", r"1\udcf6.jpg"),
        ("\u0645\u06cc\u200c\u0631", "\u0645\u06cc\u200c\u0631"),  # Persian needs this joiner
    ],
)
def test_text_is_shown_in_one_line_without_control_characters(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_what_is_printable_is_one_line_and_stays_as_it_is(text: str) -> None:
    shown = printable(text)

    assert len(shown.splitlines()) <= 1
    assert printable(shown) == shown
    shown.encode()
    assert printable_lines(f"{text}\n{text}").endswith(f"\n{printable_lines(text)}")
