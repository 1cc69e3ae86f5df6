"""How people's names are written, compared and shown: a copy of `pipeline/names.py`."""

from __future__ import annotations

import unicodedata

# The answers that are not a person's name, as `name_key` writes them.
RESERVED = ("unknown", "no face")
# Direction marks make a name read differently from what it is: https://trojansource.codes
DIRECTION_MARKS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def normalized(name: str) -> str:
    """The name in Unicode's form NFC, trimmed, with single spaces inside.

    macOS stores file names in form NFD, so the same name arrives in two forms.
    """
    return " ".join(unicodedata.normalize("NFC", name).split())


def name_key(name: str) -> str:
    """What two spellings of one name have in common: no case, no form, nothing invisible.

    Compatibility caseless matching: https://www.unicode.org/versions/latest/core-spec/chapter-3/
    (definition D146), without format characters such as the zero-width space.
    """
    if name.isascii():
        return normalized(name.lower())  # the same, and a large gallery has a million names
    visible = "".join(char for char in name if unicodedata.category(char) != "Cf")
    folded = unicodedata.normalize("NFKC", visible).casefold()
    return normalized(unicodedata.normalize("NFKC", folded).casefold())


def name_fault(name: str) -> str:
    """Why a person cannot have this name; empty if they can."""
    if not name.isprintable():
        try:
            name.encode()
        except UnicodeEncodeError:
            return "the name is not UTF-8"
        if any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in name):
            return f"the name {name!r} has a control character"
        if not DIRECTION_MARKS.isdisjoint(name):
            return f"the name {name!r} has a character that changes the reading direction"
    key = name_key(name)
    if not key:
        return f"the name {name!r} shows nothing"
    if key in RESERVED:
        return f"{name!r} is reserved for another answer"
    return ""


def printable(text: str) -> str:
    """The text in one line, with what would change how a terminal shows the rest escaped.

    Those are control characters, line breaks, direction marks and undecodable bytes.
    """
    return text if text.isprintable() else "".join(map(_escaped, text))


def printable_lines(text: str) -> str:
    """The text like `printable`, but with its line feeds."""
    return "\n".join(map(printable, text.split("\n")))


def _escaped(char: str) -> str:
    if char in DIRECTION_MARKS or unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp"):
        return char.encode("unicode_escape").decode()
    return char
