"""A deployment leaves alone what only shares a name with it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import botocore.client
import botocore.exceptions
import pytest

from deploy.destroy import destroy
from deploy.failures import ensure_queue
from pipeline.cli import Run
from pipeline.policies import lambda_trust
from pipeline.settings import Deployment
from tests.deploy.conftest import Account, aws_of, image_uri


@pytest.fixture(scope="module")
def deployed(account: Account) -> Deployment:
    """A whole deployment, which none of these tests may change."""
    deployment = account.deployment()
    account.deploy(deployment)
    return deployment


def namesake(account: Account, deployment: Deployment) -> Deployment:
    """Return another prefix in the same namespace, as when --namespace is forgotten."""
    return replace(deployment, prefix=account.deployment(beside=True).prefix)


@pytest.mark.parametrize("region", [(), ("--region", "eu-west-1")])
def test_another_deployment_in_the_same_namespace_is_refused(
    account: Account, deployed: Deployment, region: tuple[str, ...]
) -> None:
    other, before = namesake(account, deployed), account.inventory()
    image = image_uri(other).replace("us-east-1", region[-1]) if region else image_uri(other)

    done = account.run(
        "deploy/deploy.py", other, "--zip", str(account.zip_path), "--image-uri", image, *region
    )

    # THEN it is refused; in another region because of the roles, which belong to the account
    assert done.returncode == 1
    belongs = f"'{deployed.recognizer.role}' belongs to deployment '{deployed.prefix}' in us-east-1"
    assert belongs in done.stderr
    assert "Pass another --namespace" in done.stderr
    assert account.inventory() == before
    assert account.run("deploy/status.py", deployed).returncode == 0
    for script in ("deploy/roles.py", "deploy/trigger.py"):
        alone = account.run(script, other, *region)
        assert belongs in alone.stderr, script
    doctor = account.run("deploy/doctor.py", other, "--before", *region)
    (line,) = [line for line in doctor.stdout.splitlines() if "functions' names" in line]
    assert line.startswith("FAILED")


def test_functions_and_roles_from_elsewhere_are_not_overwritten(account: Account) -> None:
    deployment = account.deployment(beside=True)
    role = account.client("iam").create_role(
        RoleName=deployment.splitter.role, AssumeRolePolicyDocument=json.dumps(lambda_trust())
    )["Role"]["Arn"]
    account.client("lambda").create_function(
        FunctionName=deployment.splitter.name,
        PackageType="Image",
        Code={"ImageUri": image_uri(deployment)},
        Role=role,
    )

    done = account.run("deploy/roles.py", deployment)

    assert done.returncode == 1
    for thing in ("function", "role"):
        name = getattr(deployment.splitter, {"function": "name"}.get(thing, thing))
        assert f"{thing} '{name}' was not made by these scripts" in done.stderr


@pytest.mark.parametrize("mistake", ["prefix", "region"])
def test_destroy_leaves_another_deployment_with_similar_names(
    account: Account, deployed: Deployment, mistake: str
) -> None:
    before = account.inventory()
    if mistake == "prefix":
        done = account.run("deploy/destroy.py", namesake(account, deployed), "--yes")
    else:
        done = account.run("deploy/destroy.py", deployed, "--yes", "--region", "eu-west-1")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Nothing of")
    left = f"left: role '{deployed.splitter.role}' belongs to deployment '{deployed.prefix}' in"
    assert left in done.stderr
    if mistake == "region":
        assert f"left: bucket '{deployed.input_bucket}' is in region us-east-1" in done.stderr
    assert account.inventory() == before
    assert account.run("deploy/status.py", deployed).returncode == 0


def test_buckets_created_by_mistake_are_removed_without_the_functions(
    account: Account, deployed: Deployment
) -> None:
    other = namesake(account, deployed)
    before = account.inventory()
    assert account.run("createS3.py", other).returncode == 0

    done = account.run("deploy/destroy.py", other, "--yes")

    assert done.stdout.startswith("Deleted 3;"), done.stderr
    assert account.inventory() == before


QUEUE_READS = ("GetQueueUrl", "GetQueueAttributes")


@pytest.fixture
def run(account: Account, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run of a script on a deployment that does not exist yet."""
    return Run(account.deployment(beside=True), aws_of(account, monkeypatch))


def test_destroy_waits_for_sqs_to_forget_the_queue(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN SQS, which lists a deleted queue for up to a minute
    ensure_queue(run)
    real = vars(botocore.client.BaseClient)["_make_api_call"]
    seen = dict.fromkeys(QUEUE_READS, 0)
    answers: dict[str, Any] = {}

    def make_api_call(client: Any, name: str, params: Any) -> Any:
        queue = str(params.get("QueueName") or params.get("QueueUrl"))
        if name not in QUEUE_READS or not queue.endswith(run.deployment.failure_queue):
            return real(client, name, params)
        seen[name] += 1
        if seen[name] == 1:
            answers[name] = real(client, name, params)
        return answers[name] if seen[name] <= 3 else real(client, name, params)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", make_api_call)
    waits: list[float] = []
    monkeypatch.setattr("deploy.destroy._left.__defaults__", (90, waits.append))

    destroy(run)

    assert len(waits) == 2


def test_creating_the_queue_waits_until_its_name_is_free(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN SQS, which reserves a deleted queue's name for a minute
    real = vars(botocore.client.BaseClient)["_make_api_call"]
    refused: list[str] = []

    def make_api_call(client: Any, name: str, params: Any) -> Any:
        if name == "CreateQueue" and not refused:
            refused.append(name)
            code = "AWS.SimpleQueueService.QueueDeletedRecently"
            raise botocore.exceptions.ClientError({"Error": {"Code": code}}, name)
        return real(client, name, params)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", make_api_call)

    ensure_queue(run)

    assert run.changes == 1
