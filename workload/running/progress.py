"""Shows a run's progress in the terminal."""

from __future__ import annotations

import sys

import click

from workload.running.drive import Drive


def drive_with_progress(drive: Drive, planned: int, wait: bool, deadline_s: float) -> None:
    """Run `drive` with a progress bar on stderr. Raises what the upload raises."""

    def counts(_item: object) -> str:
        return f"{drive.uploaded} uploaded"

    with click.progressbar(
        length=planned,
        label="Answered" if wait else "Uploaded",
        file=sys.stderr,
        item_show_func=counts,
        show_pos=True,
    ) as bar:

        def update() -> None:
            bar.update((drive.settled if wait else drive.uploaded) - bar.pos, drive)

        if wait:
            drive.upload_and_wait(deadline_s, update)
        else:
            drive.upload(update)
