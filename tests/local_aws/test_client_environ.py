"""The lines for a shell to evaluate, and the environment of child processes."""

from __future__ import annotations

import pytest

from local_aws.client_environ import isolated, shell_lines

EXPORTS = {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566", "AWS_REGION": "us-east-1"}
USUAL = "unset AWS_SESSION_TOKEN AWS_SECURITY_TOKEN AWS_PROFILE AWS_DEFAULT_PROFILE"


def test_lines_set_the_variables_and_unset_those_that_override_them() -> None:
    environ = {
        "AWS_ENDPOINT_URL": "https://elsewhere",
        "AWS_ENDPOINT_URL_S3": "https://elsewhere",
        "AWS_PROFILE": "work",
        "AWS_PAGER": "",
        "PATH": "/bin",
    }

    assert shell_lines(EXPORTS, environ) == [
        "export AWS_ENDPOINT_URL=http://127.0.0.1:4566",
        "export AWS_REGION=us-east-1",
        f"{USUAL} AWS_ENDPOINT_URL_S3",
    ]


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({}, None),
        ({"no_proxy": "a.example"}, None),
        ({"https_proxy": "http://p:1"}, "127.0.0.1"),
        ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "a.example"}, "a.example,127.0.0.1"),
        ({"http_proxy": "http://p:1", "no_proxy": "b", "NO_PROXY": "a"}, "b,127.0.0.1"),
        ({"all_proxy": "http://p:1", "no_proxy": "a,127.0.0.1"}, "a,127.0.0.1"),
        ({"http_proxy": "http://p:1", "no_proxy": "*"}, "'*'"),
        ({"http_proxy": ""}, None),
    ],
)
def test_loopback_bypasses_the_proxy(environ: dict[str, str], line: str | None) -> None:
    lines = [text for text in shell_lines({}, environ) if text.startswith("export ")]

    assert lines == ([] if line is None else [f"export NO_PROXY={line}", f"export no_proxy={line}"])


def test_an_isolated_environment_has_neither_aws_variables_nor_files() -> None:
    environ = {
        "PATH": "/bin",
        "AWS_PROFILE": "work",
        "MOTO_ACCOUNT_ID": "1",
        "AWS_ENDPOINT_URL_SQS": "x",
    }

    assert isolated(environ) == {
        "PATH": "/bin",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }
