"""The three buckets, from outside: whether they can be used, what they hold, emptying them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import botocore.exceptions

from pipeline.aws import Aws, AwsError, error_code
from pipeline.cli import script_command
from pipeline.settings import Deployment

SKEW_REQUESTS = 60  # at 50 ms each, three turns of a second


def bucket_exists(aws: Aws, bucket: str) -> bool:
    """Whether `bucket` exists in this account; raises AwsError if it is another's or elsewhere."""
    # STS first: it says in words what is wrong with credentials, the answer to HEAD has no body.
    owner = aws.account_id
    try:
        answer = aws.client("s3").head_bucket(Bucket=bucket, ExpectedBucketOwner=owner)
    except botocore.exceptions.ClientError as error:
        if error_code(error) in ("404", "NoSuchBucket"):
            return False
        if error_code(error) in ("403", "AccessDenied"):
            raise AwsError(
                f"Cannot see bucket '{bucket}': it belongs to another account, or these "
                "credentials lack s3:ListBucket. Check --prefix and --profile."
            ) from error
        raise
    region = answer.get("BucketRegion") or aws.region
    if region != aws.region:
        raise AwsError(
            f"Bucket '{bucket}' is in region {region}, not {aws.region}: pass --region {region}."
        )
    return True


def require_buckets(aws: Aws, deployment: Deployment) -> None:
    """Raise AwsError unless all three buckets are there."""
    missing = [bucket for bucket in deployment.buckets if not bucket_exists(aws, bucket)]
    if missing:
        raise AwsError(
            f"There is no bucket {', '.join(map(repr, missing))}: check --prefix, or make it with "
            f"{script_command(aws, deployment, 'createS3.py')}"
        )


def objects(s3: Any, bucket: str, prefix: str = "") -> Iterator[dict[str, Any]]:
    """Every object of `bucket` whose key starts with `prefix`, 1000 a request, none kept here."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    for page in pages:
        yield from page.get("Contents", [])


def head(s3: Any, bucket: str, key: str) -> dict[str, Any] | None:
    """What S3 says of an object, None if there is none; raises AwsError if it may not be read."""
    try:
        answer: dict[str, Any] = s3.head_object(Bucket=bucket, Key=key)
    except botocore.exceptions.ClientError as error:
        if error_code(error) == "404":
            return None
        if error_code(error) == "403":  # the answer to a HEAD has no body that says more
            raise AwsError(
                f"Cannot read s3://{bucket}/{key}: HeadObject failed: 403: Forbidden. It takes "
                f"s3:GetObject on '{bucket}': ask for this permission, or pass another --profile."
            ) from error
        raise
    return answer


def count(s3: Any, bucket: str) -> int:
    """How many objects `bucket` holds."""
    return sum(1 for _ in objects(s3, bucket))


def empty(s3: Any, bucket: str) -> int:
    """Delete every object of `bucket`, 1000 a request, and return how many there were.

    Raises AwsError naming the first object that S3 refuses to delete.
    """
    deleted = 0
    while True:
        keys = [{"Key": o["Key"]} for o in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
        if not keys:
            return deleted
        answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
        for refused in answer.get("Errors", []):
            raise AwsError(
                f"Cannot delete s3://{bucket}/{refused['Key']}: {refused.get('Code')}: "
                f"{refused.get('Message')}. {deleted} objects of the bucket are deleted."
            )
        deleted += len(keys)


def measure_skew(
    read_date: Callable[[], str | None],
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> float:
    """S3's clock minus ours in seconds, to about the time of a request.

    `read_date` gives the Date header of an answer, which has whole seconds: asked until the second
    turns, for then S3's clock is known exactly. If none turns, the middle of its second is taken.
    """
    before: tuple[float, float] | None = None  # S3's second, and our clock when it was read
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


def s3_skew(s3: Any, bucket: str) -> float:
    """`measure_skew` against S3 itself, by requests for `bucket`."""

    def read_date() -> str | None:
        headers = s3.head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPHeaders"]
        return headers.get("date")  # type: ignore[no-any-return]

    return measure_skew(read_date)
