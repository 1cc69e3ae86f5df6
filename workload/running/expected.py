"""expected.csv: the name expected for each video, in the columns video,name."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Collection
from pathlib import Path

from pipeline.names import normalized, printable
from pipeline.text_file import read_text
from workload.running.input_errors import InputError
from workload.running.options import check_output_files

FILE_NAME = "expected.csv"
COLUMNS = ["video", "name"]
# A spreadsheet takes a cell that begins like this for a formula, unless a ' precedes it:
# https://owasp.org/www-community/attacks/CSV_Injection
FORMULA = re.compile(r"[' ]*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")


def read_expected(path: Path) -> dict[str, str]:
    """Video -> name. Raises InputError for wrong columns, empty cells and repeated videos.

    Videos keep the spaces around them (see `match_videos`). Names are written as a gallery writes
    them (see `as_answer`).
    """
    names: dict[str, str] = {}
    try:
        text = read_text(path, "utf-8-sig", newline="")
        rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        head = [cell.strip() for cell in next(rows, [])]
        if head != COLUMNS:
            raise InputError(
                f"{path} starts with {','.join(head) or 'nothing'}: its first line must be "
                f"{','.join(COLUMNS)}"
            )
        for row in rows:
            if not row:
                continue
            row = [_unquoted(cell) for cell in row]
            if len(row) != 2 or not all(cell.strip() for cell in row):
                raise InputError(
                    f"Line {rows.line_num} of {path} is {','.join(row)!r}: write a video and a "
                    'name, and put "quotes" around a name with a comma.'
                )
            video, name = row[0], as_answer(row[1])
            if video in names:
                raise InputError(
                    f"Line {rows.line_num} of {path} lists {video} again: keep one line per video."
                )
            names[video] = name
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"Cannot read {path}: {error}. It must be a CSV file in UTF-8.") from error
    return names


def as_answer(text: str) -> str:
    """The name as a gallery writes it (see `normalized`); with FACES=all one name per line."""
    return "\n".join(normalized(line) for line in text.strip().split("\n"))


def is_expected(answer: str, name: str) -> bool:
    """Whether an answer is the expected name, however either is encoded and spaced."""
    return as_answer(answer) == as_answer(name)


def match_videos(names: dict[str, str], known: Collection[str]) -> dict[str, str]:
    """`names`, with each video spelled as the `known` one that it means.

    Only where no known video has the very same name do spaces around it and the Unicode form not
    count. Raises InputError if this results in the same video twice.
    """
    matched: dict[str, str] = {}
    forms: dict[str, list[str]] = {}
    for key in known:
        forms.setdefault(unicodedata.normalize("NFC", key), []).append(key)
    for written, name in names.items():
        video = written
        if written not in known:
            meant = forms.get(unicodedata.normalize("NFC", written.strip()), [])
            video = written.strip() if written.strip() in known else written
            if video not in known and len(meant) == 1:
                video = meant[0]
        if video in matched:
            raise InputError(f"The expected names list {video!r} twice: keep one line per video.")
        matched[video] = name
    return matched


def write_expected(names: dict[str, str], path: Path) -> None:
    """Write a file for `read_expected`. Raises InputError if `path` cannot be written."""
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            # Python's writer does not quote a carriage return by itself when lines end with "\n".
            has_return = any("\r" in cell for row in names.items() for cell in row)
            writer = csv.writer(
                file,
                quoting=csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL,
                lineterminator="\n",
            )
            writer.writerow(COLUMNS)
            writer.writerows([quoted(cell) for cell in row] for row in names.items())
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror}.") from error


def quoted(cell: str) -> str:
    """The cell as a spreadsheet shows it, never as a formula; see `_unquoted`."""
    return f"'{cell}" if FORMULA.match(cell) else cell


def _unquoted(cell: str) -> str:
    """What `quoted` was given, or a cell that somebody else wrote."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def first_few(names: list[str], limit: int = 5) -> str:
    """The first few of `names`, as a terminal shows them, and how many more there are."""
    more = len(names) - limit
    return ", ".join(map(printable, names[:limit])) + (f" and {more} more" if more > 0 else "")


def expected_path(folder: Path, wanted: Path | None, names: dict[str, str]) -> Path:
    """Where to write the copies' expected names: to `wanted`, or to the current folder.

    `wanted`, the user's --expected-out, is overwritten. Raises InputError rather than lose names:
    for the file in `folder`, and for an existing default file with lines that are not in `names`.
    """
    path = wanted or Path(FILE_NAME)
    if path.resolve() == (folder / FILE_NAME).resolve():
        raise InputError(
            f"The copies' expected names would overwrite those of the videos in {path}: pass "
            "another file to --expected-out."
        )
    check_output_files(path, are_replaced=False)
    if wanted is None and path.exists():
        try:
            lost = read_expected(path).items() - names.items()
        except InputError:
            lost = {("", "")}
        if lost:
            raise InputError(
                f"{path} already exists with other names: pass --expected-out {path} to overwrite "
                "it, or another file to keep it."
            )
    return path
