"""How people's names are written and compared."""

from __future__ import annotations

import unicodedata


def normalized(name: str) -> str:
    """The name in Unicode's form NFC, trimmed, with single spaces inside.

    macOS stores file names in form NFD, so the same name arrives in two forms.
    """
    return " ".join(unicodedata.normalize("NFC", name).split())
