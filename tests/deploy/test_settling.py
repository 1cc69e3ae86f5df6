"""AWS needs time to notice a change: what it says meanwhile is waited out, and nothing else is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ClientError

from createS3 import create_buckets
from deploy.destroy import destroy
from deploy.failures import ensure_queue
from deploy.functions import ensure_functions
from deploy.layer import ensure_layer
from deploy.parts.s3_trigger import STATEMENT, may_invoke
from deploy.roles import ensure_roles
from deploy.trigger import ensure_trigger
from pipeline.aws import AwsError
from pipeline.cli import Run
from pipeline.settings import Deployment
from tests.deploy.conftest import Account, image_uri


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that retries waited, without the waiting."""
    waited: list[float] = []
    monkeypatch.setattr(
        "pipeline.aws.retry_while.__defaults__", (60, waited.append, time.monotonic)
    )
    return waited


def deploy(run: Run, account: Account, snapstart: bool = False, **overrides: str) -> None:
    names = (run.deployment.prefix, run.deployment.namespace)
    run.deployment = Deployment(*names, {run.deployment.recognizer.key: overrides})
    create_buckets(run)
    queue, roles = ensure_queue(run), ensure_roles(run)
    layer = ensure_layer(run, account.zip_path)
    ensure_functions(run, roles, layer, queue, image_uri(run.deployment), snapstart)


def refuse(run: Run, operation: str, code: str, message: str, times: int = 1) -> list[str]:
    """Let Lambda refuse the first calls of an operation; return a list of the refused calls."""
    refused: list[str] = []

    def answer(**_: object) -> None:
        if len(refused) < times:
            refused.append(operation)
            error: Any = {"Error": {"Code": code, "Message": message}}
            raise ClientError(error, operation)

    events = run.aws.client("lambda").meta.events
    events.register(f"provide-client-params.lambda.{operation}", answer)
    return refused


SETTLING = [
    (
        "PutFunctionEventInvokeConfig",
        "The function's execution role does not have permissions to call SendMessage on arn:q",
    ),
    ("PutFunctionEventInvokeConfig", "The destination ARN arn:aws:sqs:q is invalid."),
    ("CreateFunction", "The role defined for the function cannot be assumed by Lambda."),
    (
        "CreateFunction",
        "Lambda was unable to configure access to your environment variables because the KMS key "
        "is invalid for CreateGrant. Please check your KMS key settings.",
    ),
    (
        "CreateFunction",
        "Lambda does not have permission to access the ECR image. Check the ECR permissions.",
    ),
]


@pytest.mark.parametrize(("operation", "message"), SETTLING)
def test_what_was_written_seconds_ago_is_awaited(
    run: Run, account: Account, waits: list[float], operation: str, message: str
) -> None:
    refused = refuse(run, operation, "InvalidParameterValueException", message, times=2)

    deploy(run, account)

    assert refused == [operation] * 2
    assert waits == [2, 2]


@pytest.mark.parametrize("operation", ["PutFunctionEventInvokeConfig", "CreateFunction"])
def test_another_error_is_not_awaited(
    run: Run, account: Account, waits: list[float], operation: str
) -> None:
    refuse(run, operation, "InvalidParameterValueException", "MemorySize is too large")

    with pytest.raises(ClientError, match="MemorySize is too large"):
        deploy(run, account)

    assert waits == []


@pytest.mark.parametrize(
    ("service", "code", "call"),
    [
        ("s3", "OperationAborted", lambda s3: s3.create_bucket(Bucket="conflicting")),
        ("s3", "OperationAborted", lambda s3: s3.list_buckets()),
        ("iam", "ConcurrentModification", lambda iam: iam.list_roles()),
    ],
)
def test_a_call_that_meets_another_change_is_sent_again(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    service: Any,
    code: str,
    call: Callable[[Any], Any],
) -> None:
    monkeypatch.setattr("pipeline.aws.CONFLICT_WAIT_S", 0.0)
    client, sent = run.aws.client(service), []

    class Body:
        def stream(self, **_: object) -> Any:
            error = f"<Error><Code>{code}</Code><Message>again</Message></Error>"
            wrapped = error if service == "s3" else f"<ErrorResponse>{error}</ErrorResponse>"
            yield wrapped.encode()

    def answer(request: Any, **_: object) -> AWSResponse | None:
        sent.append(request.method)
        return AWSResponse(request.url, 409, HTTPHeaders(), Body()) if len(sent) < 8 else None

    client.meta.events.register(f"before-send.{service}", answer)

    call(client)

    assert len(sent) == 8  # botocore's own retries end after five


def test_snapstart_is_sent_only_to_switch_it(run: Run, account: Account) -> None:
    sent: list[str] = []

    def look(params: Any, model: Any, **_: object) -> None:
        if "SnapStart" in params:
            sent.append(f"{model.name} {params['SnapStart']['ApplyOn']}")

    run.aws.client("lambda").meta.events.register("provide-client-params.lambda", look)

    deploy(run, account)
    deploy(run, account, FACES="all")
    assert sent == []
    deploy(run, account, snapstart=True)
    deploy(run, account, snapstart=True, FACES="all")
    deploy(run, account)

    assert sent == [
        "UpdateFunctionConfiguration PublishedVersions",
        "UpdateFunctionConfiguration None",
    ]


def test_destroying_copes_with_what_vanishes_meanwhile(
    run: Run, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN somebody who deletes the queue and a bucket between two looks, and a role at the end
    deploy(run, account)
    sqs, s3, iam = (account.client(name) for name in ("sqs", "s3", "iam"))
    bucket, role = run.deployment.output_bucket, run.deployment.splitter.role

    def delete_queue(params: Any, **_: object) -> None:
        sqs.delete_queue(QueueUrl=params["QueueUrl"])

    def delete_bucket(params: Any, **_: object) -> None:
        if params["Bucket"] == bucket:
            s3.delete_bucket(Bucket=bucket)

    def delete_role(params: Any, **_: object) -> None:
        if params["RoleName"] == role:
            iam.delete_role_policy(RoleName=role, PolicyName="permissions")
            iam.delete_role(RoleName=role)

    for service, operation, delete in (
        ("sqs", "GetQueueAttributes", delete_queue),
        ("s3", "ListObjectVersions", delete_bucket),
        ("iam", "ListRolePolicies", delete_role),
    ):
        events = run.aws.client(service).meta.events  # type: ignore[call-overload]
        events.register_first(f"provide-client-params.{service}.{operation}", delete)

    destroy(run)

    assert bucket not in account.inventory()["buckets"]


def test_an_outdated_permission_is_replaced_without_a_gap(run: Run, account: Account) -> None:
    # GIVEN a permission of an earlier version, without the account
    deploy(run, account)
    client, name = run.aws.client("lambda"), run.deployment.splitter.name
    client.add_permission(
        FunctionName=name,
        StatementId=STATEMENT,
        Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com",
        SourceArn=f"arn:aws:s3:::{run.deployment.input_bucket}",
    )
    calls: list[str] = []
    events = client.meta.events
    for operation in ("AddPermission", "RemovePermission"):
        events.register(
            f"before-call.lambda.{operation}", lambda model, **_: calls.append(model.name)
        )

    ensure_trigger(run)

    assert calls == ["AddPermission", "RemovePermission"]
    assert may_invoke(run)
    again = Run(run.deployment, run.aws)
    ensure_trigger(again)
    assert again.changes == 0


def test_a_layer_that_cannot_be_sent_is_explained(
    run: Run, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.layer.MAX_DIRECT_BYTES", 0)

    with pytest.raises(AwsError) as failed:
        ensure_layer(run, account.zip_path)

    bucket = run.deployment.stage_1_bucket
    assert f"Cannot send {account.zip_path} to s3://{bucket}/.deploy/ffmpeg.zip: " in str(
        failed.value
    )
    assert "NoSuchBucket" in str(failed.value)
    assert "python3 createS3.py" in str(failed.value)
