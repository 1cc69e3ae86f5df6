"""`make demo`: run sample videos, or your own, through the whole pipeline and print the answers."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from local_aws.process import StartError
from pipeline.cli import about_options, clear_errors
from pipeline.keys import output_key
from pipeline.names import printable
from pipeline.setting_table import read_words
from pipeline.settings import Deployment
from samples.clips import ffmpeg_from, make_people, make_videos
from samples.packages import SampleError, fetch_photos
from samples.stack import BUILD, GALLERY, Stack, client_side, running, say
from samples.undisturbed import undisturbed
from workload.report import write_report
from workload.reporting.recognized import Recognized, recognized
from workload.running.drive import Drive
from workload.running.input_errors import InputError
from workload.running.latency import text_table, without_empty
from workload.running.options import check_output_files, seconds_option
from workload.running.outputs import read_output, side_by_side
from workload.running.progress import drive_with_progress
from workload.running.run import VideoRun, WorkloadRun
from workload.running.videos import find_videos, folder_expected, plan

UPLOADS_AT_ONCE = 4
# Lambda waits one minute, then two: too long for a demo that shows why a video failed.
RETRY_DELAYS = "2,4"


@dataclass(frozen=True)
class Row:
    """One video of the run, and what its output says; None if no answer came."""

    sent: VideoRun
    found: Recognized | None = None

    @property
    def video(self) -> str:
        """The video's name."""
        return self.sent.key

    @property
    def answer(self) -> str | None:
        """The text of the answer."""
        return self.found.answer if self.found else None

    def cells(self) -> tuple[str, ...]:
        """Its cells in the table."""
        sent, found = self.sent, self.found
        expected = ", ".join((sent.expected or "").split("\n"))
        seconds = "" if sent.latency_s is None else f"{sent.latency_s:.1f}"
        if found is None:
            return (sent.key, expected, "", "", "", "", seconds, sent.outcome.value)
        distance = "" if found.distance is None else f"{found.distance:g}"
        figures = (distance, str(len(found.faces) or ""), str(found.frames), seconds)
        return (sent.key, expected, found.said, *figures, sent.outcome.value)


def run_videos(
    stack: Stack, videos: list[Path], expected: dict[str, str], limit: float
) -> tuple[WorkloadRun, list[Row]]:
    """Upload the videos and wait up to `limit` seconds; return the run and one row per video."""
    aws, bucket = client_side(stack.aws), stack.deployment.output_bucket
    drive = Drive(aws, stack.deployment, plan(videos, None, expected), UPLOADS_AT_ONCE, 0, say)
    drive_with_progress(drive, len(videos), wait=True, deadline_s=limit)
    run = drive.result()
    keys = [video.key for video in run.videos if video.answered is not None]
    s3 = aws.client("s3")
    outputs = dict(side_by_side(lambda key: read_output(s3, bucket, output_key(key)), keys))
    rows = []
    for video in run.videos:
        output = outputs.get(video.key)
        sent = replace(video, answer=output.text if output else None)
        rows.append(Row(sent, recognized(output) if output else None))
    return replace(run, videos=tuple(row.sent for row in rows)), rows


def table(rows: list[Row]) -> str:
    """The answers as a table of text columns, wrong ones first, and why videos failed."""
    head = ("video", "expected", "answer", "distance", "faces", "frames", "seconds", "")
    ordered = sorted(rows, key=lambda row: row.sent.outcome.rank)
    made = text_table(*without_empty(head, [row.cells() for row in ordered]))
    failures = [printable(f"{r.video}: {r.sent.failure}") for r in ordered if r.sent.failure]
    return "\n".join([made, *failures])


def keep_earlier(report: Path) -> Path | None:
    """Rename an earlier report at this path by its time, so that it is kept; return its name."""
    if not report.is_file():
        return None
    when = time.strftime("%Y%m%d-%H%M%S", time.localtime(report.stat().st_mtime))
    return report.rename(report.with_name(f"{report.stem}-{when}{report.suffix}"))


def demonstrate(
    prefix: str,
    model: str | None,
    people: Path | None,
    videos: Path | None,
    frames: str | None,
    report: Path,
    limit: float,
) -> tuple[Stack, WorkloadRun]:
    """Run the demo, print the table and write the report; return the stack and the run.

    Raises InputError if the user's files cannot be used, SampleError if the samples cannot, and
    SettingsError if `frames` cannot.
    """
    settings = {"video-splitting.FRAMES": frames} if frames else {}
    read_words(tuple(f"{name}={value}" for name, value in settings.items()))  # before anything else
    check_output_files(report)
    folder = BUILD / "samples"
    if people is None and videos is not None and GALLERY.is_file():
        people = GALLERY
    if people is None or videos is None:
        photos = fetch_photos(folder / "photos")
        people = people or make_people(photos, folder / "people")
        videos = videos or make_videos(photos, folder / "videos", ffmpeg_from(BUILD))
    found = find_videos(videos)
    expected = folder_expected(videos, found) or {}
    aws_settings = {"async_retry_delays": RETRY_DELAYS}
    deployment = Deployment(prefix)
    with running(deployment, people, model, settings=settings, aws_settings=aws_settings) as stack:
        say(f"Uploading the videos in {videos} to s3://{stack.deployment.input_bucket}/ ...")
        run, rows = run_videos(stack, found, expected, limit)
        click.echo(table(rows))
        if earlier := keep_earlier(report):
            say(f"The earlier report is kept: {earlier}")
        write_report(client_side(stack.aws), stack.deployment, run, report)
    return stack, run


@click.command()
@about_options
@click.option("--prefix", default="demo", show_default=True, help="Prefix of the bucket names.")
@click.option("--model", help="facenet-vggface2 or sface; default: the first available.")
@click.option(
    "--people",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Photos to enroll, one folder per person; default: the samples, or with --videos the "
    "gallery data.pt, if there is one.",
)
@click.option(
    "--videos",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Videos to upload, with an optional expected.csv; default: the samples.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    default=BUILD / "report.html",
    help="Where to write the report; default: build/report.html. An earlier one is kept beside it.",
)
@click.option("--frames", help="The splitter's FRAMES: auto, or a number of frames per video.")
@seconds_option("--limit", 180.0, "Seconds to wait for all answers.")
def main(**options: Any) -> None:
    """Run videos through the pipeline on this machine: python3 -m samples.demo

    Exits with status 1 if an answer is missing or wrong.
    """
    started = time.monotonic()
    try:
        with undisturbed(), clear_errors():
            stack, run = demonstrate(**options)
    except (InputError, SampleError, StartError) as error:
        raise click.ClickException(str(error)) from error
    seconds = time.monotonic() - started
    click.echo(f"{run.score}, model {stack.model}, {seconds:.0f} s")
    click.echo(f"Report: {options['report']}")
    if not run.score.is_good:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
