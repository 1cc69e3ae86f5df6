#!/usr/bin/env python3
"""The workload generator: uploads videos and measures how long the answers take."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.requirements import require_packages

require_packages()

import click

from pipeline.aws import MAX_CONNECTIONS, Aws, AwsError
from pipeline.cli import counted
from pipeline.names import printable, printable_lines
from pipeline.settings import Deployment
from workload.running.buckets import require_buckets
from workload.running.clear_buckets import clear, say_what_clear_would_do
from workload.running.drive import Drive
from workload.running.expected import FILE_NAME, expected_path, first_few, write_expected
from workload.running.input_errors import InputError
from workload.running.options import (
    INTERRUPTED,
    check_output_files,
    deadline_option,
    finite,
    workload_options,
)
from workload.running.outputs import with_answers
from workload.running.progress import drive_with_progress
from workload.running.run import WorkloadRun, save
from workload.running.run_text import result_text
from workload.running.videos import (
    Upload,
    expected_of,
    find_videos,
    folder_expected,
    plan,
    skipped_notes,
)


def note(text: str) -> None:
    """Report progress on stderr."""
    click.echo(printable_lines(text), err=True)


def check_report_packages() -> None:
    """Raise InputError if the report's packages are missing, before anything is uploaded."""
    try:
        for package in ("jinja2", "matplotlib", "PIL"):
            importlib.import_module(package)
    except ImportError as error:
        raise InputError(
            f"--report needs packages that are not installed ({error}): python3 -m pip "
            "install jinja2 matplotlib pillow, or leave --report out. Nothing was uploaded."
        ) from error


@click.command()
@workload_options
@click.option(
    "--testcase-folder",
    "--testcase_folder",
    "folder",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of videos, optionally with an expected.csv (video,name).",
)
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    help="Upload this many copies, named test_00.mp4, test_01.mp4 ..., instead of each video once.",
)
@click.option(
    "--expected-out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the expected names of the uploads here. With --repeat and an expected.csv in the "
    "folder, the default is expected.csv in the current folder.",
)
@click.option(
    "--interval", type=click.FloatRange(min=0), callback=finite, help="Seconds between uploads."
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    callback=finite,
    help="Uploads per second, instead of --interval.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, MAX_CONNECTIONS // 2),
    default=8,
    show_default=True,
    help="Parallel uploads.",
)
@click.option("--wait/--no-wait", default=True, help="Whether to wait for answers; default: wait.")
@deadline_option("Seconds to wait for answers after the last upload.")
@click.option(
    "--clear", "is_clear", is_flag=True, help="Empty the three buckets first, after asking."
)
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask before --clear.")
@click.option(
    "--run",
    "run_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the run as JSON, for grade.py and report.py.",
)
@click.option(
    "--report",
    "report_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write an HTML report.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be uploaded, but change nothing.")
def main(
    aws: Aws,
    deployment: Deployment,
    folder: Path,
    repeat: int | None,
    expected_out: Path | None,
    interval: float | None,
    rate: float | None,
    concurrency: int,
    wait: bool,
    deadline: float,
    is_clear: bool,
    is_sure: bool,
    run_file: Path | None,
    report_file: Path | None,
    dry_run: bool,
) -> None:
    """Upload videos and time their answers: workload/generate.py --prefix P --testcase-folder DIR

    Exits with status 1 if an answer is missing at the deadline or is not the expected one, and 130
    after Ctrl-C. An output from before the run counts only if it was made from the same content.
    """
    if interval is not None and rate is not None:
        raise click.UsageError("Pass either --interval or --rate, not both.")
    if report_file is not None:
        if not wait:
            raise click.UsageError("--report needs the answers: remove --no-wait.")
        check_report_packages()
    check_output_files(run_file, report_file)
    videos = find_videos(folder)
    for line in skipped_notes(folder):
        note(line)
    uploads = plan(videos, repeat, _known(folder, videos))
    expected_file = _expected_file(folder, uploads, repeat, expected_out)
    require_buckets(aws, deployment)
    if dry_run:
        if is_clear:
            say_what_clear_would_do(aws, deployment, note)
        for upload in uploads:
            target = f"s3://{deployment.input_bucket}/{upload.key}"
            note(printable(f"Would upload {upload.path} to {target}"))
        return
    if is_clear:
        clear(aws, deployment, note, confirmed=is_sure)
    if expected_file is not None:
        write_expected(*expected_file)
        note(f"Expected names of the uploads: {expected_file[1]} (for grade.py --expected)")
    pace = interval if interval is not None else 1 / rate if rate is not None else 0.0
    drive = Drive(aws, deployment, uploads, concurrency, pace, note)
    note(f"Uploading {counted(len(uploads), 'video')} to s3://{deployment.input_bucket}/ ...")
    is_interrupted = False
    try:
        drive_with_progress(drive, len(uploads), wait, deadline)
    except KeyboardInterrupt:
        is_interrupted = True
        note("\nStopped. Results so far:")
    finally:  # also after an error, so that nothing learned is lost
        run = drive.result()
        if run_file is not None:
            save(run, run_file)  # before anything that may fail
        if wait:
            run = _with_answers(aws, deployment, run)
        if run_file is not None:
            save(run, run_file)
            note(f"Run: {run_file} (for grade.py --run)")
        click.echo(result_text(run, len(uploads), drive.has_read_queue))
    if is_interrupted:
        raise SystemExit(INTERRUPTED)
    if report_file is not None:
        # Imported late: it imports matplotlib, which takes about a second.
        from workload.report import write_report

        write_report(aws, deployment, run, report_file)
        note(f"Report: {report_file}")
    if wait and not run.score.is_good:
        raise SystemExit(1)


def _known(folder: Path, videos: list[Path]) -> dict[str, str] | None:
    """The names in the folder's expected.csv, None without one; notes which it does not list."""
    known = folder_expected(folder, videos)
    unnamed = [] if known is None else [v.name for v in videos if v.name not in known]
    if unnamed:
        note(f"{folder / FILE_NAME} does not list {first_few(unnamed)}")
    return known


def _expected_file(
    folder: Path, uploads: list[Upload], repeat: int | None, wanted: Path | None
) -> tuple[dict[str, str], Path] | None:
    """The expected names to write, and where to; None if there is nothing to write."""
    if not (folder / FILE_NAME).exists():
        if wanted is not None:
            raise InputError(f"--expected-out needs {folder / FILE_NAME}, which does not exist.")
        return None
    if repeat is None and wanted is None:
        return None
    names = expected_of(uploads)
    return names, expected_path(folder, wanted, names)


def _with_answers(aws: Aws, deployment: Deployment, run: WorkloadRun) -> WorkloadRun:
    """`with_answers`, or the run as it is with a note if these credentials may not read them."""
    try:
        return with_answers(aws, deployment, run)
    except AwsError as error:
        note(f"{error} It is not known whether the answers are right.")
        return run


if __name__ == "__main__":
    main()
