"""Buckets: whether this account has one, in which region, what is in it, and emptying it."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

import botocore.exceptions

from pipeline.aws import Aws, AwsError, error_code, read_or_none

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import (
        ErrorTypeDef,
        HeadObjectOutputTypeDef,
        ObjectIdentifierTypeDef,
    )

# No request in XML can hold such a key: https://www.w3.org/TR/xml/#charsets
NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def bucket_region(aws: Aws, bucket: str) -> str | None:
    """Return the region of this account's bucket of that name; None if there is no such bucket.

    Raises ClientError 403 when another account owns the bucket or these credentials cannot see it.
    """
    # STS first: it explains what is wrong with credentials; a HEAD response has no body.
    owner = aws.account_id
    answer = read_or_none(
        lambda: aws.client("s3").head_bucket(Bucket=bucket, ExpectedBucketOwner=owner),
        "404",
        "NoSuchBucket",
    )
    if answer is None:
        return None
    # An older boto3 leaves the region in the headers.
    headers = answer["ResponseMetadata"].get("HTTPHeaders", {})
    return answer.get("BucketRegion") or headers.get("x-amz-bucket-region") or aws.region


def name_taken(bucket: str) -> str:
    """Return the error message for a bucket that cannot be created."""
    return (
        f"Cannot create bucket '{bucket}': the name is taken by another account, or these "
        "credentials cannot see the bucket. Try another --prefix."
    )


def bucket_exists(aws: Aws, bucket: str, forbidden: str = "") -> bool:
    """Return whether this account has `bucket` in this region.

    Raises AwsError when the bucket is in another region, or (with the message `forbidden`) when
    another account owns it.
    """
    try:
        region = bucket_region(aws, bucket)
    except botocore.exceptions.ClientError as error:
        if error_code(error) not in ("403", "AccessDenied"):
            raise
        raise AwsError(
            forbidden
            or f"Cannot see bucket '{bucket}': it belongs to another account, or these "
            "credentials lack s3:ListBucket. Check --prefix and --profile."
        ) from error
    if region not in (None, aws.region):
        raise AwsError(
            f"Bucket '{bucket}' is in region {region}, not {aws.region}: pass --region {region}, "
            "or use another --prefix."
        )
    return region is not None


def head(s3: S3Client, bucket: str, key: str) -> HeadObjectOutputTypeDef | None:
    """Return an object's metadata, None if there is no object; raises AwsError if forbidden."""
    try:
        return s3.head_object(Bucket=bucket, Key=key)
    except botocore.exceptions.ClientError as error:
        if error_code(error) == "404":
            return None
        if error_code(error) == "403":  # a HEAD response has no body to explain it
            raise AwsError(
                f"Cannot read s3://{bucket}/{key}: HeadObject failed: 403: Forbidden. It takes "
                f"s3:GetObject on '{bucket}' and, if there is no such object, s3:ListBucket: ask "
                "for these permissions, or pass another --profile."
            ) from error
        raise


def empty_bucket(s3: S3Client, bucket: str, prefix: str = "", with_versions: bool = False) -> int:
    """Delete every object of `bucket`, 1,000 per request, and return how many there were.

    `prefix` spares all keys that do not start with it.
    `with_versions` also deletes older versions and delete markers (each counts as one) and aborts
    unfinished uploads, so that the bucket can be deleted.
    Raises AwsError naming the first object that S3 refuses to delete.
    """
    deleted = 0
    # Always read the first page: a later page's marker may name an object that is already gone.
    while keys := (_versions if with_versions else _objects)(s3, bucket, prefix):
        for refused in _delete_batch(s3, bucket, keys):
            right = "s3:DeleteObjectVersion" if with_versions else "s3:DeleteObject"
            advice = f" It takes {right}." if refused.get("Code") == "AccessDenied" else ""
            raise AwsError(
                f"Cannot delete s3://{bucket}/{refused.get('Key')}: {refused.get('Code')}: "
                f"{refused.get('Message')}.{advice} {deleted} objects of the bucket were deleted."
            )
        deleted += len(keys)
    if with_versions:
        _abort_uploads(s3, bucket, prefix)
    return deleted


def _delete_batch(
    s3: S3Client, bucket: str, batch: list[ObjectIdentifierTypeDef]
) -> list[ErrorTypeDef]:
    """Delete at most 1,000 objects, and return those that S3 refuses to delete."""
    for item in batch:
        if NOT_IN_XML.search(item["Key"]):
            single: Any = item
            s3.delete_object(Bucket=bucket, **single)
    others = [item for item in batch if not NOT_IN_XML.search(item["Key"])]
    if not others:
        return []
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": others, "Quiet": True})
    return answer.get("Errors", [])


def _objects(s3: S3Client, bucket: str, prefix: str) -> list[ObjectIdentifierTypeDef]:
    page = s3.list_objects_v2(Bucket=bucket, Prefix=prefix)
    return [{"Key": entry["Key"]} for entry in page.get("Contents", [])]


def _versions(s3: S3Client, bucket: str, prefix: str) -> list[ObjectIdentifierTypeDef]:
    page = s3.list_object_versions(Bucket=bucket, Prefix=prefix, MaxKeys=1000)
    entries = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
    return [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in entries]


def _abort_uploads(s3: S3Client, bucket: str, prefix: str) -> None:
    pages = s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix)
    for page in pages:
        for upload in page.get("Uploads", []):
            name: Any = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
            # It may have ended since it was listed.
            read_or_none(partial(s3.abort_multipart_upload, Bucket=bucket, **name), "NoSuchUpload")
