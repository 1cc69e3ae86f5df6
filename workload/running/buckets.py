"""What a client sees of the buckets: whether they exist, their objects, and S3's clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from pipeline.aws import Aws, AwsError
from pipeline.bucket_admin import bucket_exists
from pipeline.bucket_admin import head as head
from pipeline.cli import script_command
from pipeline.settings import Deployment

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectTypeDef

SKEW_REQUESTS = 60  # 50 ms apart, so the second changes three times


def require_buckets(aws: Aws, deployment: Deployment) -> None:
    """Raise AwsError unless all three buckets exist."""
    missing = [bucket for bucket in deployment.buckets if not bucket_exists(aws, bucket)]
    if missing:
        raise AwsError(
            f"There is no bucket {' or '.join(map(repr, missing))}: check --prefix, or run "
            f"{script_command(aws, deployment, 'createS3.py')}"
        )


def objects(s3: S3Client, bucket: str, prefix: str = "") -> Iterator[ObjectTypeDef]:
    """Yield the objects of `bucket` whose keys start with `prefix`, listing 1,000 per request."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    for page in pages:
        yield from page.get("Contents", [])


def count(s3: S3Client, bucket: str) -> int:
    """Return the number of objects in `bucket`."""
    return sum(1 for _ in objects(s3, bucket))


def measure_skew(
    read_date: Callable[[], str | None],
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> float:
    """Return S3's clock minus ours in seconds, accurate to about the time of a request.

    `read_date` returns the Date header of a response, in whole seconds. It is called until the
    second changes, because S3's clock is known exactly then; if it never changes, the middle of
    its second is assumed.
    """
    before: tuple[float, float] | None = None  # S3's second, and our clock when we read it
    for _ in range(SKEW_REQUESTS):
        sent = clock()
        date = read_date()
        middle = (sent + clock()) / 2
        if date is None:
            return 0.0
        second = parsedate_to_datetime(date).timestamp()
        if before is not None and second == before[0] + 1:
            return second - (before[1] + middle) / 2
        before = (second, middle)
        sleep(0.05)
    assert before is not None  # noqa: S101
    return before[0] + 0.5 - before[1]


def s3_skew(s3: S3Client, bucket: str) -> float:
    """Run `measure_skew` against S3, with requests for `bucket`."""

    def read_date() -> str | None:
        return s3.head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPHeaders"].get("date")

    return measure_skew(read_date)
