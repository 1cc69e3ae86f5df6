"""Uploads from HTML forms, and S3's older signatures, made by boto3 and sent by curl."""

from __future__ import annotations

import base64
import json
import subprocess
import urllib.request
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import HmacV1Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from local_aws.post_form import FormError, check_policy
from tests.local_aws.conftest import ANYTHING, Cloud, fetch

OLD: dict[str, Any] = {"signature_version": "s3"}
NEW: dict[str, Any] = {"signature_version": "s3v4"}
QUICK = settings(max_examples=50, deadline=None, derandomize=True)


def bucket(cloud: Cloud) -> str:
    """The name of a new bucket."""
    name = cloud.name("bucket")
    cloud.client("s3").create_bucket(Bucket=name)
    return name


def post(form: dict[str, Any], data: bytes, path: Path, **more: str) -> tuple[int, str, str]:
    """Status, Location and body of the answer to a form that curl sends."""
    file = path / "a file.mp4"
    file.write_bytes(data)
    fields = [
        ("--form-string", f"{name}={value}") for name, value in {**form["fields"], **more}.items()
    ]
    words = [word for pair in fields for word in pair]
    shown = "\n%{http_code} %header{location}"
    done = subprocess.run(
        ["curl", "-s", "-w", shown, *words, "-F", f"file=@{file};type=video/mp4", form["url"]],
        check=True,
        capture_output=True,
        text=True,
    )
    body, _, last = done.stdout.rpartition("\n")
    status, _, location = last.partition(" ")
    return int(status), location, body


@pytest.mark.parametrize("version", [OLD, NEW], ids=["v2", "v4"])
def test_boto3s_forms_upload_what_their_policy_allows(
    cloud: Cloud, tmp_path: Path, version: dict[str, Any]
) -> None:
    s3, name = cloud.client("s3", **version), bucket(cloud)
    form = s3.generate_presigned_post(
        name,
        "in/${filename}",
        Fields={"Content-Type": "video/mp4", "x-amz-meta-who_is": "it", "acl": "private"},
        Conditions=[
            ["starts-with", "$Content-Type", "video/"],
            {"x-amz-meta-who_is": "it"},
            {"acl": "private"},
            ["content-length-range", 1, 4],
        ],
    )

    assert post(form, b"clip", tmp_path)[0] == 204
    found = s3.get_object(Bucket=name, Key="in/a file.mp4")
    assert (found["Body"].read(), found["ContentType"]) == (b"clip", "video/mp4")
    assert found["Metadata"] == {"who_is": "it"}

    for change, code, status in (
        ({"Content-Type": "text/html"}, "Policy Condition failed", 403),
        ({"x-amz-meta-more": "x"}, "Extra input fields: x-amz-meta-more", 403),
        ({"key": "out/x"}, "Policy Condition failed", 403),
        ({"policy": form["fields"]["policy"][:-4] + "AAAA"}, "SignatureDoesNotMatch", 403),
    ):
        found_status, _, body = post(form, b"clip", tmp_path, **change)
        assert (found_status, code in body) == (status, True), body
    assert "EntityTooLarge" in post(form, b"clips", tmp_path)[2]
    assert "EntityTooSmall" in post(form, b"", tmp_path)[2]
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=name)["Contents"]] == ["in/a file.mp4"]


def test_a_form_says_how_it_is_answered(cloud: Cloud, tmp_path: Path) -> None:
    s3, name = cloud.client("s3", **NEW), bucket(cloud)

    def answer(field: str, value: str) -> tuple[int, str, str]:
        extra = {field: value}
        form = s3.generate_presigned_post(name, "k", Fields=extra, Conditions=[extra])
        return post(form, b"x", tmp_path)

    status, location, body = answer("success_action_status", "201")
    assert (status, location) == (201, f"{cloud.aws.endpoint}/{name}/k")
    assert f"<Bucket>{name}</Bucket><Key>k</Key><ETag>" in body
    assert answer("success_action_status", "200")[0] == 200
    status, location, _ = answer("success_action_redirect", "http://127.0.0.1/done?x=y")
    assert status == 303
    assert location.startswith(f"http://127.0.0.1/done?x=y&bucket={name}&key=k&etag=")


def test_a_form_has_the_rights_of_its_signer(cloud: Cloud, tmp_path: Path) -> None:
    name = bucket(cloud)
    put = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{name}/in/*"}
    form_of = cloud.client("s3", cloud.assume([put]), **NEW).generate_presigned_post

    assert post(form_of(name, "in/k"), b"x", tmp_path)[0] == 204
    status, _, body = post(form_of(name, "out/k"), b"x", tmp_path)
    assert (status, "s3:PutObject" in body) == (403, True)
    stolen = form_of(name, "in/k")
    stolen["fields"]["x-amz-security-token"] = "another"
    assert "InvalidToken" in post(stolen, b"x", tmp_path)[2]
    other = {**form_of(name, "in/k"), "url": f"{cloud.aws.endpoint}/{bucket(cloud)}"}
    assert '["eq", "$bucket"' in post(other, b"x", tmp_path)[2]
    assert "NotImplemented" in post(form_of(name, "in/k"), b"x", tmp_path, tagging="<x/>")[2]
    unsigned = {"url": form_of(name, "in/k")["url"], "fields": {"key": "in/k"}}
    assert "Anonymous" in post(unsigned, b"x", tmp_path)[2]
    assert "named 'key'" in post({**unsigned, "fields": {}}, b"x", tmp_path)[2]


def test_a_form_announces_a_post_and_starts_a_function(cloud: Cloud, tmp_path: Path) -> None:
    name = bucket(cloud)
    code = (
        "def handler(event, context):\n"
        "    print(event['Records'][0]['eventName'], event['Records'][0]['s3']['object']['key'])\n"
    )
    function, client = cloud.function(code), cloud.client("lambda")
    client.add_permission(
        FunctionName=function,
        StatementId="s3",
        Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com",
    )
    cloud.client("s3").put_bucket_notification_configuration(
        Bucket=name,
        NotificationConfiguration={
            "LambdaFunctionConfigurations": [
                {"LambdaFunctionArn": cloud.arn(function), "Events": ["s3:ObjectCreated:Post"]}
            ]
        },
    )
    # a PUT is not announced; a key with a line break is
    cloud.client("s3").put_object(Bucket=name, Key="put", Body=b"x")
    form = cloud.client("s3", **NEW).generate_presigned_post(name, "a\nb")

    assert post(form, b"x", tmp_path)[0] == 204

    lines = [line for line in cloud.log_lines(function) if line.startswith("ObjectCreated")]
    assert [line.strip() for line in lines] == ["ObjectCreated:Post a%0Ab"]


@pytest.mark.parametrize("method", ["get_object", "put_object", "delete_object"])
def test_presigned_urls_of_version_2_are_verified(cloud: Cloud, method: str) -> None:
    s3, name = cloud.client("s3", cloud.assume(ANYTHING), **OLD), bucket(cloud)
    s3.put_object(Bucket=name, Key="ü +k", Body=b"x", Metadata={"a": "b"})
    url = s3.generate_presigned_url(method, Params={"Bucket": name, "Key": "ü +k"}, ExpiresIn=60)
    assert "AWSAccessKeyId=" in url
    verb = method.partition("_")[0].upper()

    def ask(address: str) -> tuple[int, bytes]:
        request = urllib.request.Request(address, method=verb)
        if verb == "PUT":
            request.data = b"y"
            request.add_header("Content-Type", "")  # urllib's own is not signed
        return fetch(request)

    assert b"SignatureDoesNotMatch" in ask(url.replace("%2Bk?", "%2Bx?"))[1]
    late = url.replace("Expires=", "Expires=1&x=")
    assert b"Request has expired" in ask(late)[1]
    assert ask(url)[0] in (200, 204)


def test_an_old_signature_needs_a_readable_and_recent_date(cloud: Cloud) -> None:
    keys = cloud.aws.environ
    credentials = Credentials(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"])

    class Signer(HmacV1Auth):
        date = ""

        def _get_date(self) -> str:
            return self.date

    answers = []
    for date in ("yesterday", "Thu, 26 Nov 2020 00:00:00 GMT"):
        request, signer = AWSRequest("GET", f"{cloud.aws.endpoint}/"), Signer(credentials)
        signer.date = date
        signer.add_auth(request)
        answers.append(
            fetch(urllib.request.Request(str(request.url), headers=dict(request.headers.items())))
        )

    assert [status for status, _ in answers] == [403, 403]
    assert b"no readable date" in answers[0][1]
    assert b"RequestTimeTooSkewed" in answers[1][1]


def policy(expires_s: float, conditions: list[Any]) -> str:
    """A form's policy, encoded."""
    when = datetime.now(timezone.utc) + timedelta(seconds=expires_s)
    text = json.dumps({"expiration": when.isoformat(), "conditions": conditions})
    return base64.b64encode(text.encode()).decode()


def test_a_policy_expires() -> None:
    check_policy(policy(60, []), {}, 1)

    with pytest.raises(FormError, match="Policy expired"):
        check_policy(policy(-1, []), {}, 1)


@pytest.mark.parametrize(
    "encoded", ["", "e30=", "bm90IGpzb24=", policy(60, [["like", "$key", ""]])]
)
def test_a_policy_that_cannot_be_read_is_refused(encoded: str) -> None:
    with pytest.raises(FormError, match="Invalid Policy"):
        check_policy(encoded, {}, 1)


@QUICK
@given(st.text(max_size=20), st.text(max_size=5), st.integers(0, 20), st.integers(0, 20))
def test_a_policy_allows_exactly_what_it_says(key: str, start: str, least: int, size: int) -> None:
    rules = [["starts-with", "$key", start], ["content-length-range", least, 10], {"a": "b"}]
    allowed = key.startswith(start) and least <= size <= 10

    try:
        check_policy(policy(60, rules), {"key": key, "a": "b", "x-ignore-it": "c"}, size)
    except FormError:
        assert not allowed
    else:
        assert allowed


def test_old_signatures_are_for_s3_alone(cloud: Cloud) -> None:
    headers = {"Authorization": "AWS AKIA:xxxx", "X-Amz-Target": "AmazonSQS.ListQueues"}
    request = urllib.request.Request(cloud.aws.endpoint, b"{}", headers)

    assert b"InvalidAccessKeyId" in fetch(request)[1]
