"""The splitter's cap in an account in which other functions have reserved concurrency."""

from __future__ import annotations

import pytest

from pipeline.settings import Deployment
from tests.deploy.conftest import Account
from tests.local_aws.conftest import zipped


def reserved(account: Account, deployment: Deployment) -> int:
    answer = account.client("lambda").get_function_concurrency(
        FunctionName=deployment.splitter.name
    )
    return int(answer.get("ReservedConcurrentExecutions") or 0)


def reserve(account: Account, name: str, number: int) -> None:
    account.client("lambda").put_function_concurrency(
        FunctionName=name, ReservedConcurrentExecutions=number
    )


def unreserved(account: Account) -> int:
    limits = account.client("lambda").get_account_settings()["AccountLimit"]
    return int(limits["UnreservedConcurrentExecutions"])


def other_function(account: Account, role_of: Deployment, number: int) -> str:
    """Create a function outside any deployment that has reserved this much."""
    client = account.client("lambda")
    role = client.get_function_configuration(FunctionName=role_of.splitter.name)["Role"]
    name = f"{role_of.namespace}-other"
    client.create_function(
        FunctionName=name,
        Runtime="python3.12",
        Role=role,
        Handler="handler.handler",
        Code={"ZipFile": zipped({"handler.py": "def handler(event, context): pass\n"})},
    )
    account.reserving.append(name)
    reserve(account, name, number)
    return name


def concurrency_check(account: Account, deployment: Deployment) -> str:
    lines = account.run("deploy/doctor.py", deployment, "--before").stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if " concurrency: " in line)
    return "\n".join(lines[at : at + 2])


def test_deployments_share_an_account(account: Account) -> None:
    first = account.deployment()

    account.deploy(first)
    assert (reserved(account, first), unreserved(account)) == (100, 900)
    second = account.deployment(beside=True)
    assert "; the splitter is capped at 100" in concurrency_check(account, second)
    account.deploy(second)

    assert (reserved(account, second), unreserved(account)) == (100, 800)
    for deployment in (first, second):
        assert "Done, 0 changes." in account.deploy(deployment)


def test_concurrency_reserved_by_other_functions_is_left_alone(account: Account) -> None:
    # GIVEN another function that has reserved all but 130
    first = account.deployment()
    account.deploy(first)
    other_function(account, first, 770)
    assert unreserved(account) == 130
    second = account.deployment(beside=True)

    assert "130 of them not reserved by others; the splitter is capped at 30" in concurrency_check(
        account, second
    )
    said = account.deploy(second)

    assert f"cap     concurrency of function '{second.splitter.name}' at 30 of" in said
    assert unreserved(account) == 100
    assert "Done, 0 changes." in account.deploy(second)
    assert reserved(account, second) == 30
    assert "the splitter is capped at 30" in concurrency_check(account, second)


@pytest.mark.parametrize("left", [100, 115])
def test_uploads_wait_in_a_queue_when_nothing_is_left_to_reserve(
    account: Account, left: int
) -> None:
    first = account.deployment()
    account.deploy(first)
    other_function(account, first, 900 - left)
    second = account.deployment(beside=True)
    if left == 115:  # GIVEN that the rest was reserved after a first deployment without a cap
        account.deploy(second)
        reserve(account, second.splitter.name, 0)
        reserve(account, first.splitter.name, 115)

    said = account.deploy(second)

    why = (
        "this account can run 1000 functions at once, but other functions have reserved all but "
        "100, and 100 must stay unreserved"
    )
    waiting = "Uploads wait in a queue, and Lambda works on 50 videos at a time"
    assert f"Note: {why}. {waiting}" in said
    assert reserved(account, second) == 0
    found = concurrency_check(account, second)
    assert found.startswith(f"WARN   concurrency: {why}. {waiting}")
    assert "release reservations of other functions" in found
    assert "Done, 0 changes." in account.deploy(second)


def test_a_cap_set_by_hand_is_kept_while_it_is_acceptable(account: Account) -> None:
    deployment = account.deployment()
    account.deploy(deployment)
    name = deployment.splitter.name

    for number, kept in ((7, True), (499, True), (500, False)):
        reserve(account, name, number)
        said = account.deploy(deployment)
        assert reserved(account, deployment) == (number if kept else 100)
        assert ("Done, 0 changes." in said) == kept
