#!/usr/bin/env python3
"""The workload generator: uploads videos and measures how long their answers take."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import click

from pipeline.aws import MAX_CONNECTIONS, Aws
from pipeline.buckets import empty_bucket
from pipeline.settings import Deployment
from workload.running import buckets
from workload.running.drive import Drive
from workload.running.expected import FILE_NAME, place_expected, some, write_expected
from workload.running.options import (
    INTERRUPTED,
    InputError,
    check_output_files,
    finite,
    workload_options,
)
from workload.running.run import save
from workload.running.run_text import result_text
from workload.running.videos import (
    Upload,
    expected_of,
    find_videos,
    folder_expected,
    plan,
    said_of_mixed_case,
)


def note(text: str) -> None:
    """Progress, on stderr."""
    click.echo(text, err=True)


def check_report_packages() -> None:
    """Raise InputError when the report's packages are missing: said before anything is uploaded."""
    try:
        for package in ("jinja2", "matplotlib"):
            importlib.import_module(package)
        from workload.report import write_report  # type: ignore[import-not-found, unused-ignore] # noqa: F401
    except ImportError as error:
        raise InputError(
            f"--report needs packages that are not here ({error}): pip install jinja2 matplotlib, "
            "or leave --report out. Nothing was uploaded."
        ) from error


def clear(aws: Aws, deployment: Deployment, is_sure: bool) -> None:
    """Empty the three buckets, after asking unless the user `is_sure`."""
    s3 = aws.client("s3")
    counts = {bucket: buckets.count(s3, bucket) for bucket in deployment.buckets}
    if not any(counts.values()):
        note("All three buckets are empty already.")
        return
    what = ", ".join(f"{count} in s3://{bucket}" for bucket, count in counts.items())
    if not is_sure:
        click.confirm(f"Delete all objects ({what})?", abort=True, err=True)
    for bucket in deployment.buckets:
        note(f"Deleted {empty_bucket(s3, bucket)} objects of s3://{bucket}")


@click.command()
@workload_options
@click.option(
    "--testcase-folder",
    "--testcase_folder",
    "folder",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of videos; an expected.csv (video,name) may lie in it.",
)
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    help="Upload so many copies, named test_00.mp4, test_01.mp4 ..., instead of each video once.",
)
@click.option(
    "--expected-out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the uploads' expected names here. With --repeat, and an expected.csv in the "
    "folder, the default is expected.csv in the current folder.",
)
@click.option(
    "--interval", type=click.FloatRange(min=0), callback=finite, help="Seconds between uploads."
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    callback=finite,
    help="Uploads a second, instead of --interval.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, MAX_CONNECTIONS // 2),
    default=8,
    show_default=True,
    help="Uploads side by side.",
)
@click.option("--wait/--no-wait", default=True, help="Wait for the answers (the default), or not.")
@click.option(
    "--deadline",
    type=click.FloatRange(min=0),
    callback=finite,
    default=300.0,
    show_default=True,
    help="Seconds to wait for answers after the last upload.",
)
@click.option("--clear", "is_clear", is_flag=True, help="Empty the three buckets first; asks.")
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
    help="Write a report in HTML.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be uploaded, change nothing.")
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

    Ends with status 1 if an answer is missing at the deadline, 130 after Ctrl-C. An output that was
    there before does not count, unless it is of the same content.
    """
    if interval is not None and rate is not None:
        raise click.UsageError("Pass either --interval or --rate, not both.")
    if report_file is not None:
        if not wait:
            raise click.UsageError("--report needs the answers: leave --no-wait out.")
        check_report_packages()
    check_output_files(run_file, report_file)
    videos = find_videos(folder)
    for line in said_of_mixed_case(folder):
        note(line)
    uploads = plan(videos, repeat)
    expected_file = _expected_file(folder, videos, uploads, repeat, expected_out, dry_run)
    buckets.require_buckets(aws, deployment)
    if dry_run:
        _say_plan(aws, deployment, uploads, is_clear)
        return
    if is_clear:
        clear(aws, deployment, is_sure)
    if expected_file is not None:
        write_expected(*expected_file)
        note(f"Expected names of the copies: {expected_file[1]} (for grade.py --expected)")
    pace = interval if interval is not None else 1 / rate if rate is not None else 0.0
    drive = Drive(aws, deployment, uploads, concurrency, pace, note)
    note(f"Uploading {len(uploads)} videos to s3://{deployment.input_bucket}/ ...")
    is_interrupted = False
    try:
        _drive(drive, len(uploads), wait, deadline)
    except KeyboardInterrupt:
        is_interrupted = True
        note("\nStopped: this is what is known so far.")
    finally:  # also after an error: what is known is not lost
        run = drive.result()
        if run_file is not None:
            save(run, run_file)
            note(f"Run: {run_file} (for grade.py --run)")
        click.echo(result_text(run, len(uploads), drive.has_read_queue))
    if is_interrupted:
        raise SystemExit(INTERRUPTED)
    if report_file is not None:
        from workload.report import write_report

        write_report(aws, deployment, run, report_file)
        note(f"Report: {report_file}")
    if wait and any(video.answered is None for video in run.videos):
        raise SystemExit(1)


def _expected_file(
    folder: Path,
    videos: list[Path],
    uploads: list[Upload],
    repeat: int | None,
    wanted: Path | None,
    dry_run: bool,
) -> tuple[dict[str, str], Path] | None:
    """The expected names to write and where; None if there is nothing to write."""
    known = folder_expected(folder, videos)
    if known is None:
        if wanted is not None:
            raise InputError(f"--expected-out needs {folder / FILE_NAME}, and there is none.")
        return None
    unnamed = [video.name for video in videos if video.name not in known]
    if unnamed:
        note(f"{folder / FILE_NAME} says nothing of {some(unnamed)}")
    if repeat is None and wanted is None:
        return None
    names = expected_of(uploads, known)
    path = place_expected(folder, wanted, names)
    return None if dry_run else (names, path)


def _say_plan(aws: Aws, deployment: Deployment, uploads: list[Upload], is_clear: bool) -> None:
    if is_clear:
        for bucket in deployment.buckets:
            count = buckets.count(aws.client("s3"), bucket)
            note(f"Would delete {count} objects of s3://{bucket}")
    for upload in uploads:
        note(f"Would upload {upload.path} to s3://{deployment.input_bucket}/{upload.key}")


def _drive(drive: Drive, planned: int, wait: bool, deadline: float) -> None:
    """Run `drive` below a progress bar."""
    label = "Answered" if wait else "Uploaded"

    def counts(_item: object) -> str:
        return f"{drive.uploaded} uploaded"

    with click.progressbar(
        length=planned, label=label, file=sys.stderr, item_show_func=counts, show_pos=True
    ) as bar:

        def progress() -> None:
            bar.update((drive.settled if wait else drive.uploaded) - bar.pos, drive)

        if wait:
            drive.upload_and_wait(deadline, progress)
        else:
            drive.upload(progress)


if __name__ == "__main__":
    main()
