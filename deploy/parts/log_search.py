"""Searches both functions' logs, in bounded memory."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from pipeline.aws import Aws
from pipeline.bucket_admin import head
from pipeline.keys import RECOGNIZED
from pipeline.log_events import read_events
from pipeline.log_lines import Line, OfVideo, in_order, lines_of
from pipeline.settings import Deployment

MARGIN_S = 2.0  # between a line of a handler and Lambda's lines before and after it


def video_key(aws: Aws, bucket: str, video: str, parameter: str = "VIDEO") -> str:
    """Return the key of a video that is given as a key, as s3://BUCKET/KEY, or by its file's name.

    The name is for the last file of this name that recognize.py has sent, unless it is a key.
    Raises click.BadParameter for another bucket than the input bucket.
    """
    if not video.startswith("s3://"):
        return _named(aws, bucket, video)
    found, _, key = video[len("s3://") :].partition("/")
    if found != bucket or not key:
        raise click.BadParameter(
            f"{video} is not an object of the input bucket: use s3://{bucket}/KEY.",
            param_hint=f"'{parameter}'",
        )
    return key


def _named(aws: Aws, bucket: str, name: str) -> str:
    """The key of the last file of this name that recognize.py has sent; `name` if there is none."""
    s3 = aws.client("s3")
    if "/" in name or head(s3, bucket, name) is not None:
        return name
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{RECOGNIZED}/")
    keys = (item["Key"] for page in pages for item in page.get("Contents", []))
    return max((key for key in keys if key.endswith(f"/{name}")), default=name)


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
