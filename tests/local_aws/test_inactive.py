"""A function that Lambda let go: Inactive, then Pending, then Active."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from local_aws.inactive import PATH
from tests.local_aws.conftest import Cloud, fetch

CODE = "import uuid\nME = str(uuid.uuid4())\ndef handler(event, context):\n    return ME\n"


def ask(address: str, method: str = "POST", **headers: str) -> int:
    """The status of the response."""
    return fetch(urllib.request.Request(address, method=method, headers=headers))[0]


def let_go(endpoint: str, name: str, seconds: float = 0.5) -> int:
    """Let a function go; return the status of the response."""
    return ask(f"{endpoint}{PATH}/us-east-1/{name}?seconds={seconds}")


def eventually(look: Callable[[], Any]) -> Any:
    """Wait until `look` returns something true, and return that."""
    deadline = time.monotonic() + 15
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def state(cloud: Cloud, name: str) -> str:
    """The function's state."""
    function = cloud.client("lambda").get_function(FunctionName=name)
    return str(function["Configuration"]["State"])


def test_the_first_invocation_fails_and_prepares_the_function(cloud: Cloud) -> None:
    name, client = cloud.function(CODE), cloud.client("lambda")
    before = cloud.invoke(name)[0]

    assert let_go(cloud.aws.endpoint, name) == 204
    assert state(cloud, name) == "Inactive"
    assert client.invoke(FunctionName=name, InvocationType="DryRun")["StatusCode"] == 204
    assert state(cloud, name) == "Inactive"

    with pytest.raises(client.exceptions.ResourceConflictException) as refused:
        cloud.invoke(name)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409
    assert refused.value.response["Error"]["Message"].endswith("following state: Pending")
    assert state(cloud, name) == "Pending"
    eventually(lambda: state(cloud, name) == "Active")
    assert cloud.invoke(name)[0] != before  # its environment was gone


def test_an_event_waits_until_the_function_is_active(cloud: Cloud) -> None:
    name = cloud.function(CODE)
    let_go(cloud.aws.endpoint, name)

    cloud.client("lambda").invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")

    lines = cloud.log_lines(name)
    assert len([line for line in lines if line.startswith("START")]) == 1
    assert state(cloud, name) == "Active"


def test_versions_are_let_go_as_well(cloud: Cloud) -> None:
    name, client = cloud.function(CODE), cloud.client("lambda")
    version = client.publish_version(FunctionName=name)["Version"]
    let_go(cloud.aws.endpoint, name)

    with pytest.raises(client.exceptions.ResourceConflictException):
        cloud.invoke(name, Qualifier=version)


def test_nobody_can_be_let_go(cloud: Cloud) -> None:
    assert let_go(cloud.aws.endpoint, "nobody") == 404


def test_a_web_page_cannot_let_a_function_go(cloud: Cloud) -> None:
    name = cloud.function(CODE)
    address = f"{cloud.aws.endpoint}{PATH}/us-east-1/{name}"

    assert ask(address, Origin="https://example.com") == 403  # sent without a preflight
    assert ask(address, Origin="null") == 403
    assert ask(address, Host="example.com") == 403  # a name that was pointed at this machine
    assert ask(address, "GET") == 405  # as for an image, without an Origin
    assert state(cloud, name) == "Active"


@pytest.mark.parametrize("path", ["", "/us-east-1", "/us-east-1/name?seconds=soon"])
def test_a_request_that_cannot_be_read_is_refused(cloud: Cloud, path: str) -> None:
    assert ask(f"{cloud.aws.endpoint}{PATH}{path}") == 400
