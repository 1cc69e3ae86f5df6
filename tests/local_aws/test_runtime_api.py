"""The Runtime API listens only to its environment, and takes each answer once."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from local_aws.runtime_api import PREFIX, Invocation, RuntimeApi
from tests.local_aws.conftest import Cloud

Call = Callable[..., tuple[int, Any]]
NEXT, ANSWER = f"{PREFIX}/invocation/next", f"{PREFIX}/invocation/one/response"


@pytest.fixture
def api() -> Iterator[RuntimeApi]:
    """The API of an environment that this process belongs to, with an invocation."""
    api = RuntimeApi()
    api.start(lambda client, server: True)
    api.send(Invocation("one", b"{}", 0, "arn"))
    yield api
    api.close()


def call(address: str, method: str, path: str, **headers: str) -> tuple[int, Any]:
    """Status and content of a response."""
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request(method, path, body=b"{}" if method == "POST" else None, headers=headers)
    answer = connection.getresponse()
    status, body = answer.status, answer.read()
    connection.close()
    return status, json.loads(body)


def test_an_invocation_is_answered_once(api: RuntimeApi) -> None:
    assert call(api.address, "POST", ANSWER)[0] == 400  # nobody has it yet
    assert call(api.address, "GET", NEXT) == (200, {})
    assert call(api.address, "GET", NEXT) == (
        403,
        {"errorMessage": "Not in this state", "errorType": "InvalidStateTransition"},
    )
    wrong = f"{PREFIX}/invocation/other/response"
    assert call(api.address, "POST", wrong) == (
        400,
        {"errorMessage": "Invalid request ID", "errorType": "InvalidRequestID"},
    )

    assert call(api.address, "POST", ANSWER)[0] == 202

    assert call(api.address, "POST", ANSWER)[0] == 400
    assert call(api.address, "POST", f"{PREFIX}/init/error")[0] == 403
    assert call(api.address, "POST", f"{PREFIX}/invocation/one/other")[0] == 404
    assert [api.messages.get().kind for _ in range(2)] == ["ready", "response"]
    assert api.messages.empty()


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://example.com"},  # a web page's request without a preflight
        {"Host": "example.com"},  # a web page whose name was pointed at this machine
        {"Host": "localhost"},
    ],
)
def test_a_web_page_is_refused(api: RuntimeApi, headers: dict[str, str]) -> None:
    for method, path in (("GET", NEXT), ("POST", f"{PREFIX}/init/error"), ("POST", ANSWER)):
        assert call(api.address, method, path, **headers)[1]["errorType"] == "AccessDenied"
    assert api.messages.empty()


def test_the_body_of_a_refused_request_is_no_request(api: RuntimeApi) -> None:
    host, port = api.address.split(":")
    body = f"GET {NEXT} HTTP/1.1\r\nHost: {api.address}\r\n\r\n"
    head = f"POST {ANSWER} HTTP/1.1\r\nHost: {api.address}\r\nOrigin: https://example.com\r\n"

    with socket.create_connection((host, int(port)), timeout=10) as sock:
        sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        with contextlib.suppress(ConnectionResetError):  # it ends before it has been read
            while sock.recv(65_536):
                pass

    assert api.messages.empty()


def test_other_processes_are_refused(cloud: Cloud) -> None:
    # GIVEN an invocation that tells its address and ID, and waits
    s3, bucket = cloud.client("s3"), cloud.name("bucket")
    s3.create_bucket(Bucket=bucket)
    name = cloud.function(
        "import boto3, os, time\n"
        "def handler(event, context):\n"
        "    told = os.environ['AWS_LAMBDA_RUNTIME_API'] + ' ' + context.aws_request_id\n"
        f"    s3, bucket = boto3.client('s3'), '{bucket}'\n"
        "    s3.put_object(Bucket=bucket, Key='told', Body=told)\n"
        "    s3.get_waiter('object_exists').wait(\n"
        "        Bucket=bucket, Key='end', WaiterConfig={'Delay': 0.1, 'MaxAttempts': 90})\n"
        "    return 'mine'\n"
    )
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(cloud.invoke, name)
        waiter = s3.get_waiter("object_exists")
        waiter.wait(Bucket=bucket, Key="told", WaiterConfig={"Delay": 0.1, "MaxAttempts": 100})
        told = s3.get_object(Bucket=bucket, Key="told")["Body"].read().decode()
        address, request_id = told.split()

        # WHEN this process, which runs as the same user, answers in its place
        answers = [
            call(address, "POST", f"{PREFIX}/invocation/{request_id}/response"),
            call(address, "POST", f"{PREFIX}/invocation/{request_id}/error"),
            call(address, "GET", NEXT),
        ]

        s3.put_object(Bucket=bucket, Key="end")
        assert running.result()[:2] == ("mine", None)
    assert {(status, answer["errorType"]) for status, answer in answers} == {(403, "AccessDenied")}
