"""`make demo`: run sample videos, or your own, through the whole pipeline and print the answers."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from local_aws.process import StartError
from pipeline.cli import about_options, clear_errors
from pipeline.keys import output_key
from pipeline.names import printable
from pipeline.settings import Deployment
from samples.clips import ffmpeg_from, make_people, make_videos
from samples.packages import SampleError, fetch_photos
from samples.stack import BUILD, GALLERY, Stack, client_side, running, say
from samples.undisturbed import undisturbed
from workload.report import write_report
from workload.reporting.faces import answer_face, faces_in, nearest_in, spoken
from workload.running.drive import Drive
from workload.running.expected import is_expected
from workload.running.input_errors import InputError
from workload.running.latency import text_table
from workload.running.run import WorkloadRun
from workload.running.videos import find_videos, folder_expected, plan

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

UPLOADS_AT_ONCE = 4
# Lambda waits one minute, then two: too long for a demo that shows why a video failed.
RETRY_DELAYS = "2,4"


@dataclass
class Row:
    """One video of the run. `expected` is None if nothing is expected, `answer` if none came.

    `nearest`: the person nearest to an unknown face. `frames`: how many were looked at.
    """

    video: str
    expected: str | None
    answer: str | None = None
    distance: str = ""
    faces: str = ""
    frames: str = ""
    nearest: str = ""
    seconds: float | None = None
    failure: str = ""

    @property
    def is_right(self) -> bool:
        """Whether an answer came and, if one was expected, is the expected one."""
        if self.answer is None or self.expected is None:
            return self.answer is not None
        return is_expected(self.answer, self.expected)

    @property
    def said(self) -> str:
        """The answer as people read it."""
        if self.answer is None:
            return "(missing)"
        return spoken(self.answer, self.nearest, float(self.distance) if self.distance else None)


def run_videos(
    stack: Stack, videos: list[Path], expected: dict[str, str], limit: float
) -> tuple[WorkloadRun, list[Row]]:
    """Upload the videos and wait up to `limit` seconds; return the run and one row per video."""
    aws = client_side(stack.aws)
    drive = Drive(aws, stack.deployment, plan(videos, None), UPLOADS_AT_ONCE, 0, say)
    with click.progressbar(length=len(videos), label="Recognizing", file=sys.stderr) as bar:
        drive.upload_and_wait(limit, lambda: bar.update(drive.settled - bar.pos))
    run = drive.result()
    rows = {video.name: Row(video.name, expected.get(video.name)) for video in videos}
    for video in run.videos:
        row = rows[video.key]
        row.seconds, row.failure = video.latency_s, video.failure
        if video.answered is not None:
            _read_answer(aws.client("s3"), stack.deployment.output_bucket, row)
    return run, list(rows.values())


def _read_answer(s3: S3Client, bucket: str, row: Row) -> None:
    answer = s3.get_object(Bucket=bucket, Key=output_key(row.video))
    row.answer = answer["Body"].read().decode()
    metadata = answer["Metadata"]
    row.distance = metadata.get("distance", "")
    row.faces = str(len(json.loads(metadata["faces"]))) if "faces" in metadata else ""
    row.frames = metadata.get("frames", "1")
    faces = faces_in(row.answer, metadata)
    row.nearest = nearest_in(row.answer, answer_face(faces, metadata), metadata)


def table(rows: list[Row]) -> str:
    """The answers as a table of text columns."""
    head = ("video", "expected", "answer", "distance", "faces", "frames", "seconds", "")
    cells = []
    for row in rows:
        seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
        verdict = (
            "" if row.expected is None and row.is_right else "right" if row.is_right else "WRONG"
        )
        figures = (row.distance, row.faces, row.frames, seconds)
        cells.append((row.video, row.expected or "", row.said, *figures, verdict))
    failures = [printable(f"{row.video}: {row.failure}") for row in rows if row.failure]
    return "\n".join([text_table(head, cells), *failures])


def demonstrate(
    prefix: str,
    model: str | None,
    people: Path | None,
    videos: Path | None,
    report: Path,
    limit: float,
) -> tuple[Stack, list[Row]]:
    """Run the demo, print the table and write the report; return the stack and one row per video.

    Raises InputError if the user's files cannot be used, SampleError if the samples cannot.
    """
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
    with running(Deployment(prefix), people, model, aws_settings=aws_settings) as stack:
        say(f"Uploading the videos in {videos} to s3://{stack.deployment.input_bucket}/ ...")
        run, rows = run_videos(stack, found, expected, limit)
        click.echo(table(rows))
        write_report(client_side(stack.aws), stack.deployment, run, report)
    return stack, rows


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
    help="Where to write the report; default: build/report.html.",
)
@click.option("--limit", default=180.0, show_default=True, help="Seconds to wait for all answers.")
def main(**options: Any) -> None:
    """Run videos through the pipeline on this machine: python3 -m samples.demo

    Exits with status 1 if an answer is missing or wrong.
    """
    started = time.monotonic()
    try:
        with undisturbed(), clear_errors():
            stack, rows = demonstrate(**options)
    except (InputError, SampleError, StartError) as error:
        raise click.ClickException(str(error)) from error
    wrong = sum(not row.is_right for row in rows)
    seconds = time.monotonic() - started
    click.echo(f"{len(rows) - wrong} of {len(rows)} right, model {stack.model}, {seconds:.0f} s")
    click.echo(f"Report: {options['report']}")
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
