"""Differences from AWS that docs/local-aws.md states, where no other test sees them."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError

from tests.local_aws.conftest import ANYTHING, Cloud


def test_policies_of_resources_grant_no_user_anything(cloud: Cloud) -> None:
    admin, bucket = cloud.client("s3"), cloud.name("bucket")
    admin.create_bucket(Bucket=bucket)
    admin.put_object(Bucket=bucket, Key="k", Body=b"x")
    public = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [public]})
    admin.put_bucket_policy(Bucket=bucket, Policy=policy)

    with pytest.raises(ClientError, match="AccessDenied"):
        cloud.client("s3", cloud.assume([])).get_object(Bucket=bucket, Key="k")


def test_a_sessions_own_policy_limits_nothing(cloud: Cloud) -> None:
    nothing = {"Effect": "Deny", "Action": "*", "Resource": "*"}
    session = cloud.client("sts").assume_role(
        RoleArn=cloud.role(ANYTHING),
        RoleSessionName="test",
        Policy=json.dumps({"Version": "2012-10-17", "Statement": [nothing]}),
    )

    assert "Buckets" in cloud.client("s3", session["Credentials"]).list_buckets()
