"""Progress bars: on stderr, and only in a terminal."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from workload.running.drive import Drive

SHOW_CURSOR = "\x1b[?25h"  # a bar hides it
CLEAR_LINE = "\r\x1b[K"


@contextmanager
def progress_bar(
    label: str, length: int, remark: Callable[[Any], str | None] | None = None
) -> Iterator[Any]:
    """A bar of click's of `length` steps; `remark` makes a text of what `update` was given.

    The cursor is visible again whatever ends it, even Ctrl-C while it is being drawn.
    """
    is_shown = sys.stderr.isatty()
    file = sys.stderr if is_shown else io.StringIO()
    try:
        with click.progressbar(
            length=length, label=label, file=file, item_show_func=remark, show_pos=True
        ) as bar:
            yield bar
    finally:
        if is_shown:
            sys.stderr.write(SHOW_CURSOR)
            sys.stderr.flush()


def clear_line() -> None:
    """Make room for output where a bar was drawn, which is drawn again below it."""
    if sys.stderr.isatty():
        sys.stderr.write(CLEAR_LINE)
        sys.stderr.flush()


def drive_with_progress(drive: Drive, planned: int, wait: bool, deadline_s: float) -> None:
    """Run `drive` with a progress bar. Raises what the upload raises."""
    label = "Answered" if wait else "Uploaded"
    with progress_bar(label, planned, lambda _: f"{drive.uploaded} uploaded") as bar:

        def update() -> None:
            bar.update((drive.settled if wait else drive.uploaded) - bar.pos, drive)

        if wait:
            drive.upload_and_wait(deadline_s, update)
        else:
            drive.upload(update)
