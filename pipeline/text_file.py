"""Read a text file that a user named, which may be anything."""

from __future__ import annotations

import os
import stat
from pathlib import Path

MAX_BYTES = 100_000_000  # far more than any text here needs


def read_text(path: Path, encoding: str = "utf-8", newline: str | None = None) -> str:
    """The text of a regular file; /dev/null is empty.

    Raises OSError or UnicodeDecodeError. Opening a FIFO would wait for a writer, and a device such
    as /dev/zero has no end.
    """
    if str(path) == os.devnull:
        return ""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is not a regular file")
    if status.st_size > MAX_BYTES:
        raise OSError(f"it has {status.st_size:,} bytes, and {MAX_BYTES:,} are allowed")
    with path.open(encoding=encoding, newline=newline) as file:
        return file.read()
