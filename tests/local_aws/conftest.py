"""A real server in a process, real boto3 clients, and functions that the tests create."""

from __future__ import annotations

import base64
import io
import json
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local_aws.process import LocalAWS

TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "lambda.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}
ANYTHING = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
# Variables that a user's shell may have, and that would point clients to another place.
MISLEADING = {
    "AWS_SESSION_TOKEN": "x",
    "AWS_PROFILE": "nosuch",
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
    "AWS_ENDPOINT_URL_LOGS": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
}
IMAGE_HANDLER = "def handler(event, context):\n    return 'from the folder'\n"


def zipped(files: dict[str, str], modes: dict[str, int] | None = None) -> bytes:
    """A zip of text files; `modes` sets the permissions of some of them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (modes or {}).get(name, 0o644) << 16
            archive.writestr(entry, text)
    return buffer.getvalue()


class Aws(Protocol):
    """A running server."""

    environ: dict[str, str]

    @property
    def endpoint(self) -> str:
        """Its URL."""

    @property
    def region(self) -> str:
        """The region of its clients."""

    @property
    def pid(self) -> int:
        """Its process ID."""

    @property
    def log_path(self) -> Path:
        """Its log."""


# One session for all clients: it parses each service's model once.
SESSION = boto3.Session()


def fetch(request: str | urllib.request.Request) -> tuple[int, bytes]:
    """Status and body of the response, whatever the status."""
    try:
        answer = urllib.request.urlopen(request)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, answer.read()


@dataclass
class Cloud:
    """A server with the operations that many tests need."""

    aws: Aws
    names: Iterator[int] = field(default_factory=count)
    clients: dict[str, Any] = field(default_factory=dict)

    def client(
        self,
        service: str,
        credentials: dict[str, str] | None = None,
        region: str | None = None,
        **config: Any,
    ) -> Any:
        """A boto3 client with these credentials, or the administrator's."""
        keys = credentials or {
            "AccessKeyId": self.aws.environ["AWS_ACCESS_KEY_ID"],
            "SecretAccessKey": self.aws.environ["AWS_SECRET_ACCESS_KEY"],
        }
        key = repr((service, keys, region, config))
        if key not in self.clients:
            settings: dict[str, Any] = {
                "aws_access_key_id": keys["AccessKeyId"],
                "aws_secret_access_key": keys["SecretAccessKey"],
                "aws_session_token": keys.get("SessionToken"),
                "region_name": region or self.aws.region,
                "endpoint_url": self.aws.endpoint,
                "config": Config(retries={"total_max_attempts": 1}, read_timeout=60, **config),
            }
            client: Any = SESSION.client  # the service is only known at run time
            self.clients[key] = client(service, **settings)
        return self.clients[key]

    def name(self, kind: str) -> str:
        """A name that no other test uses."""
        return f"{kind}-{next(self.names)}"

    def role(self, statements: list[dict[str, Any]]) -> str:
        """The ARN of a new role with these permissions, which Lambda may assume."""
        name, iam = self.name("role"), self.client("iam")
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))
        if statements:
            self.permit(name, statements)
        return str(role["Role"]["Arn"])

    def permit(self, role: str, statements: list[dict[str, Any]]) -> None:
        """Replace a role's permissions."""
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        self.client("iam").put_role_policy(
            RoleName=role.split("/")[-1], PolicyName="p", PolicyDocument=policy
        )

    def assume(self, statements: list[dict[str, Any]]) -> dict[str, str]:
        """Temporary credentials of a new role with these permissions."""
        sts = self.client("sts")
        answer = sts.assume_role(RoleArn=self.role(statements), RoleSessionName="test")
        return dict(answer["Credentials"])

    def function(self, code: str, **settings: Any) -> str:
        """The name of a new function; `code` is its handler.py."""
        name = self.name("function")
        self.client("logs").create_log_group(logGroupName=f"/aws/lambda/{name}")
        self.client("lambda").create_function(
            **{
                "FunctionName": name,
                "Runtime": "python3.12",
                "Role": settings.pop("Role", None) or self.role(ANYTHING),
                "Handler": "handler.handler",
                "Code": {"ZipFile": zipped({"handler.py": code})},
                "Timeout": 10,
                "MemorySize": 256,
                **settings,
            }
        )
        return name

    def let_buckets_send(self, url: str, arn: str) -> None:
        """Let S3 send events of any bucket to a queue."""
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "s3.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})

    def invoke(self, name: str, payload: Any = None, **options: Any) -> tuple[Any, Any, str]:
        """Payload, FunctionError and log tail of a synchronous invocation."""
        answer = self.client("lambda").invoke(
            FunctionName=name, Payload=json.dumps(payload or {}), LogType="Tail", **options
        )
        tail = base64.b64decode(answer["LogResult"]).decode()
        return json.load(answer["Payload"]), answer.get("FunctionError"), tail

    def log_lines(self, name: str, seconds: float = 10) -> list[str]:
        """A function's log; wait up to `seconds`, because it may appear after the response."""
        logs, deadline = self.client("logs"), time.monotonic() + seconds
        while True:
            events = logs.filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"]
            if events or time.monotonic() > deadline:
                return [event["message"] for event in events]
            time.sleep(0.1)

    def arn(self, name: str) -> str:
        """A function's ARN."""
        return f"arn:aws:lambda:{self.aws.region}:123456789012:function:{name}"


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """One server for all tests in this folder."""
    folder = tmp_path_factory.mktemp("image")
    (folder / "handler.py").write_text(IMAGE_HANDLER)
    settings: dict[str, Any] = {"async_retry_delays": "0.1,0.2", "max_concurrency": 2}
    with LocalAWS(images={"an-image": folder}, **settings) as aws:
        yield Cloud(aws)


@pytest.fixture
def started() -> Iterator[Callable[..., LocalAWS]]:
    """Starts servers for one test, and stops them."""
    servers: list[LocalAWS] = []

    def start(**settings: Any) -> LocalAWS:
        server = LocalAWS(**settings)
        server.__enter__()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


def code_of(call: Any) -> str:
    """The error code of a call, or OK."""
    try:
        call()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "OK"
