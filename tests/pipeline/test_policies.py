"""Policy documents: least privilege, per resource."""

from __future__ import annotations

import pytest

from pipeline.policies import (
    Policy,
    lambda_trust,
    recognizer_permissions,
    splitter_permissions,
    tls_only,
)
from pipeline.settings import Deployment

DEPLOYMENT = Deployment("demo")
PLACE = ("eu-west-1", "123456789012", "aws")
POLICIES = [
    splitter_permissions(DEPLOYMENT, *PLACE),
    recognizer_permissions(DEPLOYMENT, *PLACE),
]


@pytest.mark.parametrize("policy", POLICIES)
def test_every_statement_allows_named_actions_on_named_resources(policy: Policy) -> None:
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        assert not [action for action in statement["Action"] if "*" in action]
        for resource in statement["Resource"]:
            assert "demo-" in resource or "face-recognition" in resource or "video-" in resource


def test_the_splitter_cannot_write_to_the_bucket_that_starts_it() -> None:
    writes = [s for s in POLICIES[0]["Statement"] if "s3:PutObject" in s["Action"]]

    assert writes
    assert not [r for s in writes for r in s["Resource"] if "demo-input" in r]


def test_the_splitter_can_invoke_only_the_recognizer() -> None:
    (call,) = [s for s in POLICIES[0]["Statement"] if "lambda:InvokeFunction" in s["Action"]]
    arn = "arn:aws:lambda:eu-west-1:123456789012:function:face-recognition"

    assert call["Resource"] == [arn, f"{arn}:*"]


def test_the_recognizer_may_keep_unknown_faces_only_if_asked_for() -> None:
    keeping = Deployment("demo", settings={"face-recognition": {"KEEP_EMBEDDINGS": "1"}})
    (added,) = [
        statement
        for statement in recognizer_permissions(keeping, *PLACE)["Statement"]
        if statement not in POLICIES[1]["Statement"]
    ]

    assert added["Resource"] == ["arn:aws:s3:::demo-stage-1/*.faces.json"]
    assert added["Action"] == ["s3:PutObject", "s3:DeleteObject"]


def test_only_lambda_can_assume_the_roles() -> None:
    (statement,) = lambda_trust()["Statement"]

    assert statement["Principal"] == {"Service": "lambda.amazonaws.com"}


def test_arns_name_the_partition() -> None:
    policy = splitter_permissions(DEPLOYMENT, "cn-north-1", "123456789012", "aws-cn")
    resources = [r for s in policy["Statement"] for r in s["Resource"]]

    assert resources
    assert all(r.startswith("arn:aws-cn:") for r in resources)
    assert tls_only("b", "aws-cn")["Statement"][0]["Resource"] == [
        "arn:aws-cn:s3:::b",
        "arn:aws-cn:s3:::b/*",
    ]
