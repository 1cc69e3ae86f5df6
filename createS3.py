#!/usr/bin/env python3
"""Creates or updates the three buckets: input, stage-1 and output."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipeline.requirements import require_packages

require_packages()

import botocore.exceptions
import click

from pipeline.aws import AwsError, covers, error_code, read_or_none, tag_list
from pipeline.bucket_admin import bucket_exists, name_taken
from pipeline.cli import Run, deployment_options
from pipeline.policies import tls_only
from pipeline.settings import PROJECT

TAGS = tag_list(PROJECT)
STAGE_1_DAYS = 7


def create_buckets(run: Run, stage_1_days: int = STAGE_1_DAYS) -> None:
    """Create or update the input, stage-1 and output buckets.

    Each bucket blocks public access and ACLs, requires TLS, is encrypted and has tags; frames in
    the stage-1 bucket expire after `stage_1_days`. Tags, policy statements and lifecycle rules that
    somebody else set are kept. Raises AwsError when another account owns a name or a bucket is in
    another region.
    """
    for bucket in run.deployment.buckets:
        _ensure_bucket(run, bucket)
        days = stage_1_days if bucket == run.deployment.stage_1_bucket else None
        for setting in bucket_settings(bucket, run.aws.partition, days):
            _ensure_setting(run, bucket, setting)


def _ensure_bucket(run: Run, bucket: str) -> None:
    if bucket_exists(run.aws, bucket, forbidden=name_taken(bucket)):
        run.kept(f"bucket '{bucket}'")
    else:
        run.change("create", f"bucket '{bucket}'", lambda: _create(run, bucket))


def _create(run: Run, bucket: str) -> None:
    s3 = run.aws.client("s3")
    settings: dict[str, Any] = {"Bucket": bucket, "ObjectOwnership": "BucketOwnerEnforced"}
    if run.aws.region != "us-east-1":  # S3 refuses this region as a constraint
        settings["CreateBucketConfiguration"] = {"LocationConstraint": run.aws.region}
    try:
        s3.create_bucket(**settings)
    except botocore.exceptions.ClientError as error:
        if error_code(error) == "BucketAlreadyExists":
            raise AwsError(name_taken(bucket)) from error
        if error_code(error) != "BucketAlreadyOwnedByYou":
            raise
    s3.get_waiter("bucket_exists").wait(Bucket=bucket)


@dataclass(frozen=True)
class Setting:
    """One setting of a bucket: how to read it, what it should be, how to write it.

    `read` and `write` name S3 client methods. `wanted` turns the result of `read` into the
    arguments of `write`, keeping what somebody else set. `unset` is the error code that `read`
    raises if nothing is set.
    """

    text: str
    read: str
    unset: str
    write: str
    wanted: Callable[[dict[str, Any]], dict[str, Any]]


def with_ours(theirs: list[Any], ours: list[Any], key: str) -> list[Any]:
    """Return `theirs` with each of `ours` replacing the item with the same `key`, or appended."""
    left = {item[key]: item for item in ours}
    return [*(left.pop(item.get(key), item) for item in theirs), *left.values()]


def _policy(current: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    policy = {**ours, **json.loads(current.get("Policy", "{}"))}
    theirs = policy["Statement"] if isinstance(policy["Statement"], list) else [policy["Statement"]]
    policy["Statement"] = with_ours(theirs, ours["Statement"], "Sid")
    return {"Policy": json.dumps(policy)}


def _lifecycle(current: dict[str, Any], ours: list[Any]) -> dict[str, Any]:
    # S3 refuses to mix rules in the older form (a prefix without a filter) with newer ones.
    theirs = [
        {**{k: v for k, v in rule.items() if k != "Prefix"}, "Filter": {"Prefix": rule["Prefix"]}}
        if "Prefix" in rule
        else rule
        for rule in current.get("Rules", [])
    ]
    smallest = "TransitionDefaultMinimumObjectSize"  # reset by a call that omits it
    return {
        "LifecycleConfiguration": {"Rules": with_ours(theirs, ours, "ID")},
        **{name: value for name, value in current.items() if name == smallest},
    }


def bucket_settings(bucket: str, partition: str, expire_days: int | None) -> list[Setting]:
    """Return the settings of a bucket; its objects expire after `expire_days` (None: never)."""
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
    # S3 returns tags and rules without the element that wraps them in a write.
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
            partial(write, Bucket=bucket, **new),
        )


stage_1_days_option = click.option(
    "--stage-1-days",
    type=click.IntRange(min=1),
    default=STAGE_1_DAYS,
    show_default=True,
    help="Delete frames after this many days.",
)


@click.command()
@deployment_options
@stage_1_days_option
def main(run: Run, stage_1_days: int) -> None:
    """Create the input, stage-1 and output buckets: python3 createS3.py --prefix 1225111111"""
    create_buckets(run, stage_1_days)
    for bucket in run.deployment.buckets:
        click.echo(bucket)
    days = () if stage_1_days == STAGE_1_DAYS else ("--stage-1-days", str(stage_1_days))
    click.echo(
        f"Next: ./install_ffmpeg.sh, then {run.command('deploy/failures.py')}\n"
        f"(or all remaining steps in one command: {run.command('deploy/deploy.py', *days)})",
        err=True,
    )


if __name__ == "__main__":
    main()
