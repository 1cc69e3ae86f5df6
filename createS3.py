#!/usr/bin/env python3
"""Create the three buckets: input, stage-1 and output. Run it as often as you like."""

from __future__ import annotations

import json
from typing import Any

import botocore.exceptions
import click

from pipeline.aws import AwsError, error_code, retry_while
from pipeline.cli import Run, deployment_options
from pipeline.policies import tls_only

TAGS = [{"Key": "project", "Value": "video-face-recognition"}]


def create_buckets(run: Run, stage_1_days: int = 7) -> None:
    """Create or update the input, stage-1 and output buckets.

    Each gets: all public access blocked, ACLs off, TLS only, encryption at rest, tags; the stage-1
    bucket's frames expire after `stage_1_days`. Raises AwsError when a name is taken by another
    account or the bucket is in another region.
    """
    for bucket in run.deployment.buckets:
        _ensure_bucket(run, bucket)
        _secure(run, bucket)
        days = stage_1_days if bucket == run.deployment.stage_1_bucket else None
        _expire(run, bucket, days)


def _ensure_bucket(run: Run, bucket: str) -> None:
    if _is_ours(run, bucket):
        run.kept(f"bucket '{bucket}'")
    else:
        run.change("create", f"bucket '{bucket}'", lambda: _create(run, bucket))


def _is_ours(run: Run, bucket: str) -> bool:
    """Whether the bucket exists, in this account and region; raises AwsError if it is another's."""
    s3 = run.aws.client("s3")
    try:
        answer = s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=run.aws.account_id)
    except botocore.exceptions.ClientError as error:
        if error_code(error) in ("404", "NoSuchBucket"):
            return False
        if error_code(error) in ("403", "AccessDenied"):
            raise AwsError(_taken(bucket)) from error
        raise
    region = answer.get("BucketRegion") or run.aws.region
    if region != run.aws.region:
        raise AwsError(
            f"Bucket '{bucket}' is in region {region}, not {run.aws.region}: pass --region "
            f"{region}, or use another --prefix."
        )
    return True


def _taken(bucket: str) -> str:
    return (
        f"Cannot create bucket '{bucket}': the name is taken by another account, or these "
        "credentials may not see it. Try another --prefix."
    )


def _create(run: Run, bucket: str) -> None:
    s3 = run.aws.client("s3")
    settings: dict[str, Any] = {"Bucket": bucket, "ObjectOwnership": "BucketOwnerEnforced"}
    if run.aws.region != "us-east-1":  # the one region that must not be named
        settings["CreateBucketConfiguration"] = {"LocationConstraint": run.aws.region}
    try:
        # OperationAborted: a bucket of this name is still being deleted.
        retry_while(
            lambda: s3.create_bucket(**settings), lambda e: error_code(e) == "OperationAborted"
        )
    except botocore.exceptions.ClientError as error:
        if error_code(error) == "BucketAlreadyExists":
            raise AwsError(_taken(bucket)) from error
        if error_code(error) != "BucketAlreadyOwnedByYou":
            raise
    s3.get_waiter("bucket_exists").wait(Bucket=bucket)


def _secure(run: Run, bucket: str) -> None:
    s3 = run.aws.client("s3")
    blocked = dict.fromkeys(
        ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
    )
    encryption = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
    policy = json.dumps(tls_only(bucket, run.aws.partition))

    def secure() -> None:
        s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=blocked)
        s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=encryption)
        s3.put_bucket_policy(Bucket=bucket, Policy=policy)
        s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": TAGS})

    run.change("secure", f"bucket '{bucket}': no public access, TLS only, encrypted", secure)


def _expire(run: Run, bucket: str, days: int | None) -> None:
    """Expire frames after `days` (None: never); leave no unfinished upload behind to be paid."""
    rules: list[dict[str, Any]] = [
        {
            "ID": "unfinished-uploads",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
        }
    ]
    text = f"bucket '{bucket}': unfinished uploads end after a day"
    if days is not None:
        rules.append(
            {
                "ID": "frames",
                "Status": "Enabled",
                "Filter": {"Prefix": ""},
                "Expiration": {"Days": days},
            }
        )
        text += f", frames after {days} days"
    s3 = run.aws.client("s3")
    run.change(
        "expire",
        text,
        lambda: s3.put_bucket_lifecycle_configuration(
            Bucket=bucket, LifecycleConfiguration={"Rules": rules}
        ),
    )


@click.command()
@deployment_options
@click.option(
    "--stage-1-days",
    type=click.IntRange(min=1),
    default=7,
    show_default=True,
    help="Delete frames after so many days.",
)
def main(run: Run, stage_1_days: int) -> None:
    """Create the input, stage-1 and output buckets: python createS3.py --prefix 1225111111"""
    create_buckets(run, stage_1_days)
    for bucket in run.deployment.buckets:
        click.echo(bucket)
    click.echo(
        "Next: ./install_ffmpeg.sh, then python deploy/deploy.py "
        f"--prefix {run.deployment.prefix} --image-uri URI",
        err=True,
    )


if __name__ == "__main__":
    main()
