#!/usr/bin/env python3
"""The quickest way to an answer: uploads videos, waits, and prints who is in them."""

from __future__ import annotations

import json
import secrets
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.requirements import require_packages

require_packages()

import click

from pipeline.aws import Aws, AwsError
from pipeline.cli import counted, script_command
from pipeline.keys import RECOGNIZED, frame_key, output_key
from pipeline.names import printable, printable_lines
from pipeline.settings import VIDEO_SUFFIXES, Deployment
from workload.reporting.answer_rows import as_fields, near
from workload.reporting.first_failures import NO_VIDEO, Failed, FirstFailures
from workload.reporting.recognized import Recognized, Seen, frame_time, recognized, seen
from workload.running.buckets import head, require_buckets
from workload.running.drive import Drive
from workload.running.input_errors import InputError
from workload.running.latency import text_table
from workload.running.options import INTERRUPTED, deadline_option, workload_options
from workload.running.outputs import read_output
from workload.running.progress import clear_line, progress_bar
from workload.running.run import VideoRun
from workload.running.videos import Upload, check_video, is_video

AT_ONCE = 8  # uploads
COLUMNS = ("video", "answer", "distance", "people", "seconds")


@dataclass
class Result:
    """What is known of one file: its upload, and its answer or why there is none."""

    path: Path
    sent: VideoRun | None
    found: Recognized | None = None
    people: tuple[Seen, ...] = ()
    failure: str = ""
    saved: tuple[Path, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The result for --json."""
        seconds = self.sent.latency_s if self.sent else None
        fields = as_fields(self.found, self.people) if self.found else {"answer": None}
        return {
            "file": str(self.path),
            **fields,
            "seconds": None if seconds is None else round(seconds, 2),
            "failure": self.failure or None,
            "saved": [str(path) for path in self.saved],
        }

    def cells(self) -> tuple[str, ...]:
        """The cells of COLUMNS."""
        seconds = self.sent.latency_s if self.sent else None
        timed = "" if seconds is None else f"{seconds:.1f}"
        if self.found is None:
            return (str(self.path), "(no answer)", "", "", timed)
        told = ", ".join(map(str, self.people))
        return (str(self.path), self.found.said, near(self.found), told, timed)


def note(text: str) -> None:
    """Report progress on stderr, above a bar if there is one."""
    clear_line()
    click.echo(printable_lines(text), err=True)


@click.command()
@workload_options
@click.argument(
    "videos",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
)
@click.option(
    "--save",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the frames with the boxes of their faces to this folder.",
)
@deadline_option("Seconds to wait for answers after the last upload.")
@click.option("--json", "is_json", is_flag=True, help="Print the results as JSON.")
@click.option("--dry-run", is_flag=True, help="Print what would be uploaded, but change nothing.")
def main(
    aws: Aws,
    deployment: Deployment,
    videos: tuple[Path, ...],
    folder: Path | None,
    deadline: float,
    is_json: bool,
    dry_run: bool,
) -> None:
    """Say who is in videos: workload/recognize.py --prefix P clip.mp4

    Uploads them under names that no other upload has, so that nothing is overwritten. Exits with
    status 1 if a video has no answer, and 130 after Ctrl-C.
    """
    if folder is not None:
        _check_pillow()
        folder.mkdir(parents=True, exist_ok=True)
    uploads = _planned(videos)
    require_buckets(aws, deployment)
    if dry_run:
        for upload in uploads:
            target = f"s3://{deployment.input_bucket}/{upload.key}"
            note(printable(f"Would upload {upload.path} to {target}"))
        return
    drive = Drive(aws, deployment, uploads, AT_ONCE, 0, note)
    place = uploads[0].key.rpartition("/")[0]
    what = counted(len(uploads), "video")
    note(f"Uploading {what} to s3://{deployment.input_bucket}/{place}/ ...")
    is_interrupted, failed = False, dict[str, Failed]()
    try:
        _drive(aws, deployment, drive, uploads, deadline, failed)
    except KeyboardInterrupt:
        is_interrupted = True
        note("Stopped. Results so far:")
    run = {video.key: video for video in drive.result().videos}
    results = []
    for upload in uploads:
        result = Result(upload.path, run.get(upload.key))
        _complete(aws, deployment, result, failed, is_interrupted)
        if folder is not None and result.found is not None:
            _save(aws, deployment, result, folder, upload.key.rpartition("/")[2])
        results.append(result)
    if is_json:
        click.echo(json.dumps([r.as_json() for r in results], indent=1, ensure_ascii=False))
    else:
        click.echo(text_table(COLUMNS, [result.cells() for result in results]))
        is_on_screen = sys.stdout.isatty() and sys.stderr.isatty()
        for result in results:
            if result.failure and not (is_on_screen and _was_told(result, failed)):
                click.echo(printable(f"{result.path}: {result.failure}"))
            for path in result.saved:
                note(f"Saved {path}")
    if is_interrupted:
        raise SystemExit(INTERRUPTED)
    if any(result.found is None for result in results):
        raise SystemExit(1)


def _check_pillow() -> None:
    """Raise InputError if the package for --save is missing, before anything is uploaded."""
    try:
        import PIL  # noqa: F401 - only --save needs it
    except ImportError as error:
        raise InputError(
            f"--save needs a package that is not installed ({error}): python3 -m pip install "
            "pillow, or leave --save out. Nothing was uploaded."
        ) from error


def _planned(videos: tuple[Path, ...]) -> list[Upload]:
    """The uploads, in a new folder. Raises InputError for a file that is not a video."""
    place = f"{RECOGNIZED}/{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
    are_distinct = len({video.name for video in videos}) == len(videos)
    uploads = []
    for number, video in enumerate(videos):
        if not is_video(video):
            suffixes = " ".join(dict.fromkeys(suffix.lower() for suffix in VIDEO_SUFFIXES))
            raise InputError(f"{video} is not named like a video ({suffixes}): rename it.")
        check_video(video)
        # Files of the same name in different folders are told apart by a number.
        name = video.name if are_distinct else f"{number}-{video.name}"
        uploads.append(Upload(f"{place}/{name}", video, video.stat().st_size))
    return uploads


def _drive(
    aws: Aws,
    deployment: Deployment,
    drive: Drive,
    uploads: list[Upload],
    deadline: float,
    failed: dict[str, Failed],
) -> None:
    """Upload, wait, and tell of each failed try as soon as the log has it; keeps it in `failed`."""
    paths = {upload.key: upload.path for upload in uploads}
    log = FirstFailures(aws, deployment, time.time() + drive.skew_s)
    with log, progress_bar("Recognizing", len(uploads)) as bar:

        def update() -> None:
            try:
                new = log.take()
            except AwsError as error:
                note(f"{error} Failures are known only after the last try.")
                new = {}
            for key, failure in new.items():
                if key in paths:
                    _tell(paths[key], failure)
                    if failure.is_final:
                        drive.give_up(key, failure.reason)
                elif key == NO_VIDEO:
                    note(f"The splitter fails before it names a video: {failure.reason}")
                failed[key] = failure
            bar.update(drive.settled - bar.pos)

        drive.upload_and_wait(deadline, update)
        for video in drive.result().videos:
            if video.failure and video.key not in failed:  # the queue knew it before the log
                note(f"{paths[video.key]}: {video.failure} It is not tried again.")
                failed[video.key] = Failed(video.failure, is_final=True)


def _tell(path: Path, failure: Failed) -> None:
    after = (
        "No retry can mend that." if failure.is_final else "AWS tries again in a minute or two ..."
    )
    note(f"{path}: {failure.reason} {after}")


def _was_told(result: Result, failed: dict[str, Failed]) -> bool:
    """Whether `_drive` has told why there is no answer."""
    last = failed.get(result.sent.key) if result.sent else None
    return last is not None and last.reason == result.failure


def _complete(
    aws: Aws,
    deployment: Deployment,
    result: Result,
    failed: dict[str, Failed],
    is_interrupted: bool,
) -> None:
    """Add the answer and when it was seen, or why there is none."""
    s3, sent = aws.client("s3"), result.sent
    if sent is None:
        result.failure = "The upload was stopped."
        return
    if sent.answered is None:
        failure = failed.get(sent.key) or failed.get(NO_VIDEO)
        if is_interrupted:
            results = script_command(aws, deployment, "workload/results.py")
            nothing = f"No answer yet: {results} lists it once it arrives."
        else:
            doctor = script_command(aws, deployment, "deploy/doctor.py")
            nothing = f"No answer yet, and no failure: the log may tell why ({doctor} looks for "
            nothing += "causes)."
        result.failure = sent.failure or (failure.reason if failure else nothing)
        return
    output = read_output(s3, deployment.output_bucket, output_key(sent.key))
    if output is None:
        result.failure = "The answer has since been deleted."
        return
    result.found = recognized(output)
    at = None
    if result.found.frames == 1:
        frame = head(s3, deployment.stage_1_bucket, frame_key(sent.key))
        at = frame and frame_time(result.found, frame["ETag"], frame["Metadata"])
    result.people = tuple(seen(result.found, at))


def _save(aws: Aws, deployment: Deployment, result: Result, folder: Path, name: str) -> None:
    # Imported late: Pillow is not needed without --save.
    from workload.reporting.marked_frames import frames_of, save_frames

    assert result.found is not None  # noqa: S101 - the caller has checked
    frames = frames_of(aws.client("s3"), deployment, result.found)
    saved, bare = save_frames(frames, folder, name)
    result.saved = tuple(saved)
    if not saved:
        note(f"{result.path}: its frame is no longer in s3://{deployment.stage_1_bucket}/.")
    if bare:
        note(
            f"{result.path}: no boxes in {bare} of {counted(len(saved), 'frame')}. Only the "
            "details have them: deploy with --set video-splitting.ANSWERS=txt+json"
        )


if __name__ == "__main__":
    main()
