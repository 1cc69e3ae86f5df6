#!/usr/bin/env python3
"""The results: every answer in the output bucket, as a table, CSV or JSON."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.requirements import require_packages

require_packages()

import click

from pipeline.answers import UNKNOWN
from pipeline.aws import Aws
from pipeline.keys import frame_key
from pipeline.names import name_key, printable_lines
from pipeline.settings import Deployment
from pipeline.since import moment
from workload.reporting.answer_rows import COLUMNS, FIELDS, as_cells, as_csv, as_fields, utc
from workload.reporting.recognized import Recognized, Seen, frame_time, recognized, seen
from workload.running.buckets import head, objects, require_buckets
from workload.running.expected import quoted
from workload.running.latency import TextTable
from workload.running.options import workload_options
from workload.running.outputs import Output, read_output, side_by_side
from workload.running.progress import clear_line, progress_bar

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Row = tuple[Recognized, list[Seen]]

AT_ONCE = 500  # rows of a table that are aligned together


def note(text: str) -> None:
    """Report progress on stderr."""
    click.echo(printable_lines(text), err=True)


@click.command()
@workload_options
@click.option("--person", help="Only videos in which this person was recognized, and when.")
@click.option("--unknown", is_flag=True, help=f"Only videos whose answer is {UNKNOWN}.")
@click.option(
    "--since",
    callback=moment,
    help="Only answers from then on: 90s, 10m, 2h, 1d ago, or 2026-11-27T09:30:00Z (UTC).",
)
@click.option("--csv", "is_csv", is_flag=True, help="Print CSV.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def main(
    aws: Aws,
    deployment: Deployment,
    person: str | None,
    unknown: bool,
    since: float | None,
    is_csv: bool,
    is_json: bool,
) -> None:
    """List the answers: workload/results.py --prefix P [--person Ada]

    Changes nothing.
    """
    if is_csv and is_json:
        raise click.UsageError("Pass either --csv or --json, not both.")
    require_buckets(aws, deployment)
    wanted = None if person is None else name_key(person)
    rows = results(aws, deployment, since, wanted, unknown)
    with closing(rows):
        shown = _as_json(rows) if is_json else _as_csv(rows) if is_csv else _as_table(rows)
    if not shown:
        about = f" with {person}" if person else ""
        about += f" that is {UNKNOWN}" if unknown else ""
        about += "" if since is None else f" since {utc(since)}"
        note(f"There is no answer{about} in s3://{deployment.output_bucket}/.")


def results(
    aws: Aws, deployment: Deployment, since: float | None, wanted: str | None, unknown: bool
) -> Generator[Row, None, None]:
    """Yield each answer that is wanted, in order of key, with the people seen in the video.

    `wanted`: a person, as `name_key` writes them; then only that one is told. Reads outputs side by
    side, and holds a few at a time. Raises AwsError if one cannot be read.
    """
    s3, bucket = aws.client("s3"), deployment.output_bucket
    # For the bar's length, answers are counted first, which takes one request per thousand.
    count = sum(1 for _ in answer_keys(s3, bucket, since)) if sys.stderr.isatty() else 0
    read = partial(_row, s3, deployment, wanted, unknown)
    with progress_bar("Reading", count) as bar:
        for _, row in side_by_side(read, answer_keys(s3, bucket, since)):
            bar.update(1)
            if row is not None:
                yield row


def answer_keys(s3: S3Client, bucket: str, since: float | None) -> Iterator[str]:
    """Yield the keys of the answers, or of those from `since` (epoch seconds) on."""
    for item in objects(s3, bucket):
        if item["Key"].endswith(".txt") and item["LastModified"].timestamp() >= (since or 0):
            yield item["Key"]


def _row(
    s3: S3Client, deployment: Deployment, wanted: str | None, unknown: bool, key: str
) -> Row | None:
    """One answer; None if it is not wanted or has been deleted meanwhile."""
    output: Output | None = read_output(s3, deployment.output_bucket, key)
    if output is None:
        return None
    found = recognized(output)
    if unknown and UNKNOWN not in found.answer.split("\n"):
        return None
    if wanted is None:
        return found, seen(found)
    people = [one for one in seen(found) if name_key(one.name) == wanted]
    if people and people[0].first is None:  # one frame was enough, and has the time
        frame = head(s3, deployment.stage_1_bucket, frame_key(found.video))
        at = None if frame is None else frame_time(found, frame["ETag"], frame["Metadata"])
        people = [one for one in seen(found, at) if name_key(one.name) == wanted]
    return (found, people) if people else None


def _as_table(rows: Iterator[Row]) -> int:
    count, table = 0, TextTable(COLUMNS)
    while batch := [as_cells(*row) for row in islice(rows, AT_ONCE)]:
        clear_line()
        click.echo(table.lines(batch))
        count += len(batch)
    return count


def _as_csv(rows: Iterator[Row]) -> int:
    count, writer = 0, csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(FIELDS)
    for row in rows:
        writer.writerow([quoted(cell) for cell in as_csv(*row)])
        count += 1
    return count


def _as_json(rows: Iterator[Row]) -> int:
    """Print an array, element by element."""
    count = 0
    click.echo("[", nl=False)
    for count, row in enumerate(rows, start=1):
        click.echo(",\n" if count > 1 else "\n", nl=False)
        click.echo(json.dumps(as_fields(*row), ensure_ascii=False), nl=False)
    click.echo("\n]" if count else "]")
    return count


if __name__ == "__main__":
    main()
