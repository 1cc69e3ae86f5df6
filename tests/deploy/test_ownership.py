"""What one deployment may not do to another that shares names with it, or to what is nobody's."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import botocore.client
import botocore.exceptions
import pytest

from deploy.destroy import destroy
from deploy.failures import ensure_queue
from pipeline.aws import Aws
from pipeline.cli import Run
from pipeline.policies import lambda_trust
from pipeline.settings import Deployment
from tests.deploy.conftest import Account, image_uri


@pytest.fixture(scope="module")
def deployed(account: Account) -> Deployment:
    """A whole deployment, which all of these tests must leave as it is."""
    deployment = account.deployment()
    account.deploy(deployment)
    return deployment


def namesake(account: Account, deployment: Deployment) -> Deployment:
    """Another prefix with the same namespace, as when --namespace is forgotten."""
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

    # THEN the roles alone are an account's, so they say it in the other region, too
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


def test_what_these_scripts_did_not_make_is_not_overwritten(account: Account) -> None:
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
def test_destroy_leaves_a_deployment_that_is_only_like_it(
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


def test_buckets_made_by_mistake_go_without_the_others_functions(
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
    """A deployment that does not exist yet, in this process."""
    for name, value in account.aws.environ.items():
        monkeypatch.setenv(name, value)
    return Run(account.deployment(beside=True), Aws())


def test_a_queue_may_be_listed_for_a_while_when_it_is_deleted(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN SQS, where a deleted queue can be seen for up to a minute
    ensure_queue(run)
    real, seen = botocore.client.BaseClient._make_api_call, dict.fromkeys(QUEUE_READS, 0)
    answers: dict[str, Any] = {}

    def make_api_call(client: Any, name: str, params: Any) -> Any:
        if name not in QUEUE_READS:
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


def test_a_queues_name_is_waited_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # GIVEN SQS, which keeps a deleted queue's name for a minute
    real = botocore.client.BaseClient._make_api_call
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
