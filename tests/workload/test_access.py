"""Wrong keys and missing permissions get a clear message; keys are never printed."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from pipeline.aws import Aws
from tests.workload.conftest import PLAIN, Place, aws_of
from workload.running.function_settings import environment_of

KEEPING = {"face-recognition": {"KEEP_EMBEDDINGS": "1"}}


def user_with(place: Place, allowed: list[str], denied: list[str] | None = None) -> dict[str, str]:
    """Create a user with these permissions only; returns the environment with its keys."""
    iam, name = place.client("iam"), place.deployment.prefix
    iam.create_user(UserName=name)
    statements = [{"Effect": "Allow", "Action": allowed, "Resource": "*"}]
    if denied:
        statements.append({"Effect": "Deny", "Action": denied, "Resource": "*"})
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_user_policy(UserName=name, PolicyName="read", PolicyDocument=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }


def test_wrong_keys_are_rejected_and_never_printed(bare: Place, folder: Path) -> None:
    access = bare.aws.environ["AWS_ACCESS_KEY_ID"]
    secret = "wrong/secret+key/wrong/secret+key/wrong0"
    for key, message in ((access, "The secret key does not"), ("AKIA" + "X" * 16, "unknown")):
        words = ("--access_key", key, "--secret_key", secret)
        for done in (bare.generate("--testcase-folder", folder, *words), bare.grade(*words)):
            assert done.returncode == 1
            assert message in done.stderr
            assert key not in done.stderr
            assert secret not in done.stderr


def test_a_missing_permission_to_read_is_named(bare: Place, folder: Path) -> None:
    # GIVEN an output from before the run, whose metadata must be read
    output = bare.deployment.output_bucket
    bare.client("s3").put_object(Bucket=output, Key="a.txt", Body=b"Ann")
    environ = user_with(bare, ["*"], ["s3:GetObject"])

    done = bare.generate("--testcase-folder", folder, "--deadline", 5, environ=environ)
    graded = bare.grade("--metrics-wait", 0, environ=environ)

    for refused, bucket, key in (
        (done, bare.deployment.input_bucket, "a.mp4"),
        (graded, output, "a.txt"),
    ):
        assert refused.returncode == 1
        assert f"Cannot read s3://{bucket}/{key}: HeadObject failed: 403" in refused.stderr
        assert f"s3:GetObject on '{bucket}'" in refused.stderr


def test_a_missing_permission_to_upload_is_named(bare: Place, folder: Path, tmp_path: Path) -> None:
    environ, name = user_with(bare, ["s3:ListBucket"]), bare.deployment.prefix

    run = tmp_path / "run.json"
    words = ("--testcase-folder", folder, "--run", run)
    # A separate program, because boto3 does not always close the file of an aborted upload.
    done = bare.start("workload/generate.py", *words, environ=environ)

    assert done.returncode == 1
    assert re.search(f"Cannot upload {folder}/(.*) to s3://{name}-input/\\1: ", done.stderr)
    assert "AccessDenied" in done.stderr
    assert "s3:PutObject" in done.stderr
    assert json.loads(run.read_text())["videos"] == []
    # AND the grader names the permission that it lacks
    graded = bare.grade(environ=environ)
    assert graded.returncode == 1
    assert "lambda:GetFunctionConfiguration" in graded.stderr


def test_what_is_deployed_is_as_set_here_for_who_may_not_look(bare: Place) -> None:
    function = replace(bare.deployment, settings=KEEPING).recognizer
    keys = user_with(bare, ["*"], ["lambda:*"])
    pair = (keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"])
    denied = Aws(region=bare.aws.region, endpoint_url=bare.aws.endpoint, keys=pair)

    for aws in (aws_of(bare), denied):  # the function does not exist, either
        found = environment_of(aws, function, "AccessDeniedException")
        assert found["KEEP_EMBEDDINGS"] == "1"
    with pytest.raises(ClientError, match="GetFunctionConfiguration"):
        environment_of(denied, function)


def test_an_unreadable_queue_is_not_called_empty(bare: Place, folder: Path) -> None:
    environ = user_with(bare, ["*"], ["sqs:*"])

    done = bare.generate("--testcase-folder", folder, "--deadline", 1, environ=environ)

    assert "may not be read" in done.stderr
    assert "a.mp4: no answer yet, the failure queue was not read" in done.stdout
    assert "nothing in the failure queue" not in done.stdout
    shown = bare.grade("--menu", answers="3\nq\n", environ=environ)
    assert f"{bare.deployment.failure_queue}: not read" in shown.stdout


@pytest.fixture
def expired() -> Iterator[str]:
    """A server that responds like STS when a session has expired."""

    class Refuse(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            error = "<Code>ExpiredToken</Code><Message>The token is expired</Message>"
            body = f"<ErrorResponse><Error>{error}</Error></ErrorResponse>".encode()
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            """Be quiet."""

    server = HTTPServer(("127.0.0.1", 0), Refuse)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_expired_session_is_explained(bare: Place, folder: Path, expired: str) -> None:
    words = ("--endpoint-url", expired)
    for done in (bare.generate("--testcase-folder", folder, *words), bare.grade(*words)):
        assert done.returncode == 1
        assert "ExpiredToken" in done.stderr
        assert "sign in again" in done.stderr


def test_the_report_accepts_the_documents_keys(bare: Place, folder: Path, tmp_path: Path) -> None:
    run, page = tmp_path / "run.json", tmp_path / "r.html"
    bare.generate("--testcase-folder", folder, "--deadline", 0, "--run", run)
    keys = (bare.aws.environ["AWS_ACCESS_KEY_ID"], bare.aws.environ["AWS_SECRET_ACCESS_KEY"])
    words = ["--asu_id", bare.deployment.prefix, "--access_key", keys[0], "--secret_key", keys[1]]
    argv = bare.argv("workload/report.py", *words, "--run", run, "--output", page)
    del argv[2:4]  # --prefix
    environ = {**PLAIN, "AWS_ENDPOINT_URL": bare.aws.endpoint}

    content = json.loads(run.read_text())
    ended = content["ended"] - 60  # so that the report does not wait for logs
    run.write_text(json.dumps({**content, "ended": ended}))
    done = subprocess.run(argv, env=environ, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert page.exists()
    assert keys[1] not in page.read_text() + done.stdout + done.stderr
