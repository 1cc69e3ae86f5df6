#!/usr/bin/env python3
"""Create the three buckets: input, stage-1 and output. Run it as often as you like."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import botocore.exceptions
import click

from pipeline.aws import (
    AwsError,
    bucket_region,
    covers,
    error_code,
    read_or_none,
    retry_while,
    tag_list,
)
from pipeline.cli import Run, deployment_options
from pipeline.policies import tls_only
from pipeline.settings import PROJECT

TAGS = tag_list(PROJECT)
STAGE_1_DAYS = 7


def create_buckets(run: Run, stage_1_days: int = STAGE_1_DAYS) -> None:
    """Create or update the input, stage-1 and output buckets.

    Each gets: all public access blocked, ACLs off, TLS only, encryption at rest, tags; the stage-1
    bucket's frames expire after `stage_1_days`. Others' tags, policy statements and lifecycle rules
    stay. Raises AwsError when a name is taken by another account or the bucket is in another
    region.
    """
    for bucket in run.deployment.buckets:
        _ensure_bucket(run, bucket)
        days = stage_1_days if bucket == run.deployment.stage_1_bucket else None
        for setting in bucket_settings(bucket, run.aws.partition, days):
            _ensure_setting(run, bucket, setting)


def _ensure_bucket(run: Run, bucket: str) -> None:
    if is_ours(run, bucket):
        run.kept(f"bucket '{bucket}'")
    else:
        run.change("create", f"bucket '{bucket}'", lambda: _create(run, bucket))


def is_ours(run: Run, bucket: str) -> bool:
    """Whether the bucket exists, in this account and region; raises AwsError if it is another's."""
    try:
        region = bucket_region(run.aws, bucket)
    except botocore.exceptions.ClientError as error:
        if error_code(error) in ("403", "AccessDenied"):
            raise AwsError(_taken(bucket)) from error
        raise
    if region is None:
        return False
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


@dataclass(frozen=True)
class Setting:
    """One setting of a bucket: how to read it, what it should be, how to write it.

    `read` and `write` name S3 client methods; `wanted` makes what `write` takes of what `read`
    gave, and keeps what others set there; `unset` is the error code that `read` raises when
    nothing is set.
    """

    text: str
    read: str
    unset: str
    write: str
    wanted: Callable[[dict[str, Any]], dict[str, Any]]


def with_ours(theirs: list[Any], ours: list[Any], key: str) -> list[Any]:
    """`theirs` with `ours`: in the place of the item with the same `key`, or at the end."""
    left = {item[key]: item for item in ours}
    return [*(left.pop(item.get(key), item) for item in theirs), *left.values()]


def _policy(current: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    policy = {**ours, **json.loads(current.get("Policy", "{}"))}
    theirs = policy["Statement"] if isinstance(policy["Statement"], list) else [policy["Statement"]]
    policy["Statement"] = with_ours(theirs, ours["Statement"], "Sid")
    return {"Policy": json.dumps(policy)}


def _lifecycle(current: dict[str, Any], ours: list[Any]) -> dict[str, Any]:
    # S3 takes no rule of the older form (a prefix without a filter) beside one of today's.
    theirs = [
        {**{k: v for k, v in rule.items() if k != "Prefix"}, "Filter": {"Prefix": rule["Prefix"]}}
        if "Prefix" in rule
        else rule
        for rule in current.get("Rules", [])
    ]
    smallest = "TransitionDefaultMinimumObjectSize"  # set back by a call that leaves it out
    return {
        "LifecycleConfiguration": {"Rules": with_ours(theirs, ours, "ID")},
        **{name: value for name, value in current.items() if name == smallest},
    }


def bucket_settings(bucket: str, partition: str, expire_days: int | None) -> list[Setting]:
    """What every bucket gets; its objects expire after `expire_days` (None: never)."""
    blocked = dict.fromkeys(
        ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
    )
    encryption = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
    expiry = "unfinished uploads end after a day"
    rules: list[dict[str, Any]] = [
        {
            "ID": "unfinished-uploads",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
        }
    ]
    if expire_days is not None:
        expiry += f", objects after {expire_days} days"
        rules.append(
            {
                "ID": "expiry",
                "Status": "Enabled",
                "Filter": {"Prefix": ""},
                "Expiration": {"Days": expire_days},
            }
        )
    return [
        Setting(
            "no public access",
            "get_public_access_block",
            "NoSuchPublicAccessBlockConfiguration",
            "put_public_access_block",
            lambda _: {"PublicAccessBlockConfiguration": blocked},
        ),
        Setting(
            "encrypted",
            "get_bucket_encryption",
            "ServerSideEncryptionConfigurationNotFoundError",
            "put_bucket_encryption",
            lambda _: {"ServerSideEncryptionConfiguration": encryption},
        ),
        Setting(
            "TLS only",
            "get_bucket_policy",
            "NoSuchBucketPolicy",
            "put_bucket_policy",
            lambda current: _policy(current, tls_only(bucket, partition)),
        ),
        Setting(
            "tags",
            "get_bucket_tagging",
            "NoSuchTagSet",
            "put_bucket_tagging",
            lambda current: {
                "Tagging": {"TagSet": with_ours(current.get("TagSet", []), TAGS, "Key")}
            },
        ),
        Setting(
            expiry,
            "get_bucket_lifecycle_configuration",
            "NoSuchLifecycleConfiguration",
            "put_bucket_lifecycle_configuration",
            lambda current: _lifecycle(current, rules),
        ),
    ]


def _ensure_setting(run: Run, bucket: str, setting: Setting) -> None:
    s3 = run.aws.client("s3")
    read, write = getattr(s3, setting.read), getattr(s3, setting.write)
    current = read_or_none(lambda: read(Bucket=bucket), setting.unset, "NoSuchBucket") or {}
    new = setting.wanted(current)
    # Reading gives tags and rules without the element that writing wraps them in.
    wanted = new
    for wrapper in ("Tagging", "LifecycleConfiguration"):
        wanted = wanted.get(wrapper, wanted)
    if "Policy" in wanted:
        same = json.loads(current.get("Policy", "{}")) == json.loads(wanted["Policy"])
    else:
        same = covers(current, wanted)
    if same:
        run.kept(f"bucket '{bucket}': {setting.text}")
    else:
        run.change(
            "set",
            f"bucket '{bucket}': {setting.text}",
            lambda: write(Bucket=bucket, **new),
        )


stage_1_days_option = click.option(
    "--stage-1-days",
    type=click.IntRange(min=1),
    default=STAGE_1_DAYS,
    show_default=True,
    help="Delete frames after so many days.",
)


@click.command()
@deployment_options
@stage_1_days_option
def main(run: Run, stage_1_days: int) -> None:
    """Create the input, stage-1 and output buckets: python createS3.py --prefix 1225111111"""
    create_buckets(run, stage_1_days)
    for bucket in run.deployment.buckets:
        click.echo(bucket)
    days = () if stage_1_days == STAGE_1_DAYS else ("--stage-1-days", str(stage_1_days))
    click.echo(
        f"Next: ./install_ffmpeg.sh, then {run.command('deploy/failures.py')}\n"
        f"(all that is left in one command: {run.command('deploy/deploy.py', *days)})",
        err=True,
    )


if __name__ == "__main__":
    main()
