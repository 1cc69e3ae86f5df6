"""Searches both functions' logs, in bounded memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import botocore.exceptions
import click

from pipeline.aws import Aws, AwsError, error_code, explain
from pipeline.bucket_admin import head
from pipeline.cli import Run
from pipeline.keys import RECOGNIZED
from pipeline.log_events import read_events
from pipeline.log_lines import Line, OfVideo, in_order, lines_of
from pipeline.settings import Deployment

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# How far back files of recognize.py are looked for: the last ones first, so that a file just sent
# is found at once in a bucket of very many, and as far as logs are kept (deploy/functions.py).
SENT_DAYS = (1, 30)
MARGIN_S = 2.0  # between a line of a handler and Lambda's lines before and after it


def video_key(run: Run, video: str, parameter: str = "VIDEO") -> str:
    """Return the key of a video that is given as a key, as s3://BUCKET/KEY, or by its file's name.

    The name is for the file of this name that recognize.py sent last, unless it is a key.
    Raises click.BadParameter for another bucket than the input bucket.
    """
    bucket = run.deployment.input_bucket
    if not video.startswith("s3://"):
        return video if "/" in video else _named(run, video)
    found, _, key = video[len("s3://") :].partition("/")
    if found != bucket or not key:
        raise click.BadParameter(
            f"{video} is not an object of the input bucket: use s3://{bucket}/KEY.",
            param_hint=f"'{parameter}'",
        )
    return key


def _named(run: Run, name: str) -> str:
    """The key of the file of this name that recognize.py sent last; `name` if there is none.

    These credentials may be allowed to read nothing but logs; then `name` is taken for a key.
    """
    s3, bucket = run.aws.client("s3"), run.deployment.input_bucket
    try:
        if head(s3, bucket, name) is not None:
            return name
        for days in SENT_DAYS:
            if key := _last_sent(s3, bucket, name, days):
                return key
    except AwsError as error:
        reason = str(error)
    except botocore.exceptions.ClientError as error:
        if error_code(error) not in ("AccessDenied", "NoSuchBucket"):
            raise
        reason = explain(error)
    else:
        return name
    run.note(f"'{name}' is taken for a key: recognize.py's videos cannot be searched. {reason}")
    return name


def _last_sent(s3: S3Client, bucket: str, name: str, days: int) -> str | None:
    """The key of the last file of this name in recognize.py's folders of the last `days` days.

    The folders sort by their times, in the time zone of the machine that sent them.
    """
    first = datetime.now(timezone.utc) - timedelta(days=days + 1)
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=f"{RECOGNIZED}/", StartAfter=f"{RECOGNIZED}/{first:%Y%m%d}"
    )
    items = (item for page in pages for item in page.get("Contents", []))
    sent = [item for item in items if item["Key"].endswith(f"/{name}")]
    last = max(sent, key=lambda item: (item["LastModified"], item["Key"]), default=None)
    return last["Key"] if last else None


def all_lines(aws: Aws, deployment: Deployment, start: float, end: float) -> Iterator[Line]:
    """Yield the lines of both functions from `start` to `end` (epoch seconds), in order of time.

    Raises AwsError if these credentials may not read a log.
    """
    return in_order(
        *(
            lines_of(function.key, read_events(aws, function, start, end))
            for function in (deployment.splitter, deployment.recognizer)
        )
    )


def video_lines(
    aws: Aws, deployment: Deployment, key: str, start: float, end: float
) -> Iterator[Line]:
    """Yield the lines about one video, like `all_lines`.

    Only the times at which the splitter's log names the video are read.
    """
    for first, last in spans(aws, deployment, key, start, end):
        is_ours = of_video(deployment, key)
        yield from filter(is_ours, all_lines(aws, deployment, first, min(last, end)))


def of_video(deployment: Deployment, key: str) -> OfVideo:
    """Return what tells the lines about a video from others."""
    return OfVideo(f"s3://{deployment.input_bucket}/{key}", deployment.stage_1_bucket)


def spans(
    aws: Aws, deployment: Deployment, key: str, start: float, end: float
) -> Iterator[tuple[float, float]]:
    """Yield the times, in order, in which the splitter worked on the video.

    One that has not ended is as long as the splitter may run.
    """
    # CloudWatch looks for a phrase; the log has other characters escaped.
    pattern = f'"{key}"' if re.fullmatch(r"[\w./-]+", key, re.ASCII) else ""
    video, timeout_s = f"s3://{deployment.input_bucket}/{key}", deployment.splitter.timeout_s
    events = read_events(aws, deployment.splitter, start, end, pattern)
    span: tuple[float, float] | None = None
    for line in lines_of(deployment.splitter.key, events):
        if line.fields.get("video") != video:
            continue
        began = line.when - _seconds(line) * (line.step != "queued") - MARGIN_S
        ended = line.when + (MARGIN_S if line.step in ("video", "skipped") else timeout_s)
        if span and began > span[1]:
            yield span
            span = None
        if span is None:
            span = (began, ended)
        elif line.step == "video":
            span = (span[0], ended)
        else:
            span = (span[0], max(span[1], ended))
    if span:
        yield span


def _seconds(line: Line) -> float:
    value = line.fields.get("ms", 0)
    return value / 1000 if isinstance(value, (int, float)) else 0.0
