"""expected.csv: which name each video should lead to, in the columns video,name."""

from __future__ import annotations

import csv
from collections.abc import Container
from pathlib import Path

from workload.running.options import InputError, check_output_files

FILE_NAME = "expected.csv"
COLUMNS = ["video", "name"]


def read_expected(path: Path) -> dict[str, str]:
    """Video -> name; raises InputError for wrong columns, empty cells and videos named twice.

    Videos are as written, spaces around them too (see `match_videos`); names are without.
    """
    names: dict[str, str] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file, strict=True)
            head = [cell.strip() for cell in next(rows, [])]
            if head != COLUMNS:
                raise InputError(
                    f"{path} starts with {','.join(head) or 'nothing'}: its first line must be "
                    f"{','.join(COLUMNS)}"
                )
            for row in rows:
                if not row:
                    continue
                if len(row) != 2 or not all(cell.strip() for cell in row):
                    raise InputError(
                        f"Line {rows.line_num} of {path} is {','.join(row)!r}: write a video and a "
                        'name, and "quotes" around a name that has a comma.'
                    )
                video, name = row[0], row[1].strip()
                if video in names:
                    raise InputError(
                        f"Line {rows.line_num} of {path} names {video} again: leave one line a "
                        "video."
                    )
                names[video] = name
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"Cannot read {path}: {error}. It must be a CSV file in UTF-8.") from error
    return names


def match_videos(names: dict[str, str], known: Container[str]) -> dict[str, str]:
    """`names` by videos that are `known`: spaces around one are left out where that finds it.

    Raises InputError if that names a video twice.
    """
    matched: dict[str, str] = {}
    for written, name in names.items():
        video = written if written in known or written.strip() not in known else written.strip()
        if video in matched:
            raise InputError(f"The expected names have {video!r} twice: leave one line a video.")
        matched[video] = name
    return matched


def write_expected(names: dict[str, str], path: Path) -> None:
    """Write what `read_expected` reads; raises InputError if `path` cannot be written."""
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(names.items())
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror}.") from error


def some(names: list[str], limit: int = 5) -> str:
    """The first few of `names` and how many more there are."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")


def place_expected(folder: Path, wanted: Path | None, names: dict[str, str]) -> Path:
    """Where to write the run's expected.csv: `wanted`, or the current folder.

    Raises InputError where that would lose something: `wanted`, the user's --expected-out, is
    overwritten, another file only if all it says is in `names`.
    """
    path = wanted or Path(FILE_NAME)
    if path.resolve() == (folder / FILE_NAME).resolve():
        raise InputError(
            f"The copies' expected names would overwrite those of the videos in {path}: pass "
            "another file to --expected-out."
        )
    check_output_files(path)
    if wanted is None and path.exists():
        try:
            lost = read_expected(path).items() - names.items()
        except InputError:
            lost = {("", "")}
        if lost:
            raise InputError(
                f"{path} is here already and says other things than this run's would: pass "
                f"--expected-out {path} to overwrite it, or another file to keep it."
            )
    return path
