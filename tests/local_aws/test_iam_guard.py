"""Requests are authenticated by signature and authorized for each resource."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.local_aws.conftest import ANYTHING, Cloud, code_of, fetch

KEYS = ["plain.mp4", "with space+plus.mp4", "a/ü名.mp4", "per%cent&amp.mp4", "a=b?c.mp4"]


@pytest.mark.parametrize("key", KEYS)
def test_any_key_can_be_signed_presigned_and_read_in_part(cloud: Cloud, key: str) -> None:
    s3, bucket = cloud.client("s3", signature_version="s3v4"), cloud.name("bucket")
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key=key, Body=b"0123456789", Metadata={"x": "y"})
    parameters = {"Bucket": bucket, "Key": key}

    url = s3.generate_presigned_url("get_object", Params=parameters, ExpiresIn=60)
    request = urllib.request.Request(url, headers={"Range": "bytes=2-4"})
    assert fetch(request) == (206, b"234")

    assert s3.head_object(**parameters)["Metadata"] == {"x": "y"}
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]


def test_a_presigned_url_expires_and_cannot_be_changed(cloud: Cloud) -> None:
    s3, bucket = cloud.client("s3", signature_version="s3v4"), cloud.name("bucket")
    s3.create_bucket(Bucket=bucket)
    for key in ("one", "two"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    parameters = {"Bucket": bucket, "Key": "one"}
    lasting = s3.generate_presigned_url("get_object", Params=parameters, ExpiresIn=600)
    url = s3.generate_presigned_url("get_object", Params=parameters, ExpiresIn=1)

    def refusal(address: str) -> str:
        status, body = fetch(address)
        assert status == 403
        return body.decode()

    assert "SignatureDoesNotMatch" in refusal(lasting.replace("/one?", "/two?"))
    deadline = time.monotonic() + 15
    while fetch(url)[0] == 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "Request has expired" in refusal(url)


def test_wrong_and_unknown_keys_get_different_errors(cloud: Cloud) -> None:
    good = cloud.aws.environ
    wrong = {"AccessKeyId": good["AWS_ACCESS_KEY_ID"], "SecretAccessKey": "wrong"}
    unknown = {"AccessKeyId": "AKIAUNKNOWN", "SecretAccessKey": "x"}

    for service, call in (("s3", "list_buckets"), ("lambda", "list_functions")):
        assert code_of(getattr(cloud.client(service, wrong), call)) == "SignatureDoesNotMatch"
    assert code_of(cloud.client("s3", unknown).list_buckets) == "InvalidAccessKeyId"
    assert code_of(cloud.client("sts", unknown).get_caller_identity) == "InvalidClientTokenId"
    assert code_of(cloud.client("lambda", unknown).list_functions) == "UnrecognizedClientException"


def test_temporary_credentials_need_their_own_token(cloud: Cloud) -> None:
    credentials = cloud.assume(ANYTHING)
    assert code_of(cloud.client("s3", credentials).list_buckets) == "OK"

    stolen = {**credentials, "SessionToken": "another"}

    assert code_of(cloud.client("s3", stolen).list_buckets) == "InvalidToken"


def test_an_anonymous_request_is_refused(cloud: Cloud) -> None:
    assert fetch(f"{cloud.aws.endpoint}/some-bucket/key")[0] == 403


def test_s3_is_authorized_per_object(cloud: Cloud) -> None:
    admin, bucket = cloud.client("s3"), cloud.name("bucket")
    admin.create_bucket(Bucket=bucket)
    for key in ("open/a", "closed/a"):
        admin.put_object(Bucket=bucket, Key=key, Body=b"x")
    arn = f"arn:aws:s3:::{bucket}"
    s3 = cloud.client(
        "s3",
        cloud.assume(
            [
                {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{arn}/*"},
                {"Effect": "Deny", "Action": "s3:*", "Resource": f"{arn}/closed/*"},
                {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"{arn}/open/*"},
            ]
        ),
    )

    def ask(method: str, key: str, **more: Any) -> str:
        return code_of(lambda: getattr(s3, method)(Bucket=bucket, Key=key, **more))

    assert ask("get_object", "open/a") == "OK"
    assert ask("get_object", "closed/a") == "AccessDenied"
    assert ask("head_object", "closed/a") == "403"
    assert ask("put_object", "open/b", Body=b"x") == "OK"
    assert ask("put_object", "other", Body=b"x") == "AccessDenied"
    assert ask("delete_object", "open/a") == "AccessDenied"
    assert ask("copy_object", "open/c", CopySource={"Bucket": bucket, "Key": "open/a"}) == "OK"
    assert (
        ask("copy_object", "open/d", CopySource={"Bucket": bucket, "Key": "closed/a"})
        == "AccessDenied"
    )
    assert code_of(lambda: s3.list_objects_v2(Bucket=bucket)) == "AccessDenied"


def test_only_callers_who_may_list_learn_that_an_object_is_missing(cloud: Cloud) -> None:
    bucket = cloud.name("bucket")
    cloud.client("s3").create_bucket(Bucket=bucket)
    arn = f"arn:aws:s3:::{bucket}"
    read = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{arn}/*"}
    listing = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": arn}
    blind, seeing = (
        cloud.client("s3", cloud.assume(statements)) for statements in ([read], [read, listing])
    )

    assert code_of(lambda: blind.head_object(Bucket=bucket, Key="no")) == "403"
    assert code_of(lambda: blind.get_object(Bucket=bucket, Key="no")) == "AccessDenied"
    assert code_of(lambda: seeing.head_object(Bucket=bucket, Key="no")) == "404"
    assert code_of(lambda: seeing.get_object(Bucket=bucket, Key="no")) == "NoSuchKey"


def test_other_services_are_authorized_per_resource(cloud: Cloud) -> None:
    mine, other = cloud.name("queue"), cloud.name("queue")
    urls = [cloud.client("sqs").create_queue(QueueName=name)["QueueUrl"] for name in (mine, other)]
    topics = [cloud.client("sns").create_topic(Name=name)["TopicArn"] for name in (mine, other)]
    group = cloud.name("/group")
    cloud.client("logs").create_log_group(logGroupName=group)
    place = "us-east-1:123456789012"
    credentials = cloud.assume(
        [
            {
                "Effect": "Allow",
                "Action": "sqs:SendMessage",
                "Resource": f"arn:aws:sqs:{place}:{mine}",
            },
            {
                "Effect": "Allow",
                "Action": ["sns:ListTagsForResource", "sns:CreateTopic"],
                "Resource": f"arn:aws:sns:{place}:{mine}",
            },
            {
                "Effect": "Allow",
                "Action": ["logs:CreateLogStream", "logs:FilterLogEvents"],
                "Resource": f"arn:aws:logs:{place}:log-group:{group}:*",
            },
        ]
    )
    sqs, logs = cloud.client("sqs", credentials), cloud.client("logs", credentials)

    sent = [code_of(lambda u=url: sqs.send_message(QueueUrl=u, MessageBody="x")) for url in urls]
    batch = [{"Id": "1", "MessageBody": "x"}]
    sent += [
        code_of(lambda u=url: sqs.send_message_batch(QueueUrl=u, Entries=batch)) for url in urls
    ]
    assert sent == ["OK", "AccessDeniedException"] * 2
    sns = cloud.client("sns", credentials)
    seen = [code_of(lambda t=topic: sns.list_tags_for_resource(ResourceArn=t)) for topic in topics]
    seen += [code_of(lambda n=name: sns.create_topic(Name=n)) for name in (mine, other)]
    assert seen == ["OK", "AccessDenied"] * 2
    named = {"logGroupName": group, "logStreamName": "s"}
    assert code_of(lambda: logs.create_log_stream(**named)) == "OK"
    assert code_of(lambda: logs.filter_log_events(logGroupName=group)) == "OK"
    assert code_of(lambda: logs.create_log_group(logGroupName="x")) == "AccessDeniedException"
    assert code_of(cloud.client("sts", credentials).get_caller_identity) == "OK"
    assert code_of(cloud.client("iam", credentials).list_roles) == "AccessDenied"


def ask(
    cloud: Cloud,
    credentials: dict[str, str],
    service: str,
    path: str,
    body: str = "",
    presign: bool = False,
    spoil: Callable[[str], str] = str,
    headers: dict[str, str] | None = None,
) -> tuple[int, str]:
    """Send a request signed for `service` to any path; return status and body.

    `spoil` changes the Authorization header after signing.
    """
    keys = Credentials(
        credentials["AccessKeyId"], credentials["SecretAccessKey"], credentials["SessionToken"]
    )
    url = f"{cloud.aws.endpoint}{path}"
    request = AWSRequest("POST" if body else "GET", url, data=body or None, headers=headers)
    auth = SigV4QueryAuth if presign else SigV4Auth
    auth(keys, service, "us-east-1").add_auth(request)
    sent = request.prepare()
    signed = {name: str(value) for name, value in sent.headers.items()}
    if "Authorization" in signed:
        signed["Authorization"] = spoil(signed["Authorization"])
    data = body.encode() if body else None
    status, answer = fetch(urllib.request.Request(sent.url, data, signed))
    return status, answer.decode()


WHO = "Action=GetCallerIdentity&Version=2011-06-15"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def test_lambdas_paths_require_a_signature_for_lambda(cloud: Cloud) -> None:
    nobody, name = cloud.assume([]), cloud.function("def handler(event, context):\n    return 1\n")
    path = f"/2015-03-31/functions/{name}/invocations"

    for service in ("sts", "iam", "sqs"):
        status, text = ask(cloud, nobody, service, f"{path}?{WHO}", "{}")
        assert status == 403
        assert "Credential should be scoped to correct service: 'lambda'" in text
    status, text = ask(cloud, nobody, "sts", f"/2015-03-31/functions/{name}?{WHO}")
    assert (status, "scoped to correct service" in text) == (403, True)
    status, text = ask(cloud, nobody, "lambda", path, "{}")
    assert (status, "lambda:InvokeFunction" in text) == (403, True)
    # for S3 it is the path of an object, and S3 responds
    anything = cloud.assume([{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}])
    status, text = ask(cloud, anything, "s3", path, "{}")
    assert status >= 400
    assert cloud.invoke(name)[0] == 1


def test_a_request_goes_only_to_the_service_it_was_authorized_for(cloud: Cloud) -> None:
    nobody, bucket = cloud.assume([]), cloud.name("bucket")
    other = cloud.name("bucket")
    s3 = cloud.client("s3")
    for each in (bucket, other):
        s3.create_bucket(Bucket=each)
        s3.put_object(Bucket=each, Key="key", Body=b"secret")
    s3.put_object(Bucket=other, Key=f"{bucket}/key", Body=b"secret")
    read = {"Effect": "Allow", "Action": "s3:*", "Resource": [f"arn:aws:s3:::{bucket}/*"]}
    place = f"/{bucket}/key"

    # a presigned URL has no header to route by
    status, text = ask(cloud, nobody, "sts", f"{place}?{WHO}", presign=True)
    assert "secret" not in text
    # two credentials in one header
    for spoil in (
        lambda text: text.replace("Credential=", "Credential=a/b/us-east-1/s3/c, Credential=", 1),
        lambda text: text.replace(" Credential=", " X=a/b/us-east-1/s3/c, Credential=", 1),
    ):
        status, text = ask(cloud, nobody, "sts", f"{place}?{WHO}", spoil=spoil)
        assert "secret" not in text
    # a host name that names a bucket
    _, port = cloud.aws.endpoint.rsplit(":", 1)
    reader = cloud.assume([read])
    assert ask(cloud, reader, "s3", place) == (200, "secret")
    s3.delete_object(Bucket=bucket, Key="key")
    status, text = ask(cloud, reader, "s3", place, headers={"Host": f"{other}.localhost:{port}"})
    assert "secret" not in text
    # moto's own API
    status, text = ask(cloud, nobody, "sts", f"/moto-api/data.json?{WHO}")
    assert (status, "Not part of AWS" in text) == (403, True)


def test_all_actions_that_a_request_names_must_be_allowed(cloud: Cloud) -> None:
    nobody = cloud.assume([])
    role = cloud.role(ANYTHING)
    assume = (
        f"Action=AssumeRole&RoleArn={quote(role, safe='')}&RoleSessionName=x&Version=2011-06-15"
    )

    def denied(body: str, path: str = "/", **headers: str) -> bool:
        status, text = ask(cloud, nobody, "sts", path, body, headers={**FORM, **headers})
        return status == 403 and "sts:AssumeRole" in text

    status, text = ask(cloud, nobody, "sts", "/", WHO, headers=FORM)
    assert (status, "GetCallerIdentityResult" in text) == (200, True)
    assert denied(assume)
    assert denied(assume, **{"X-Amz-Target": "x.GetCallerIdentity"})
    assert denied(assume, path="/service/x/operation/GetCallerIdentity")
    assert denied(f"{WHO}&{assume}")
    assert denied(f"{assume}&{WHO}")
    assert denied(WHO, path=f"/?{assume}")
    assert denied(assume, path=f"/?{WHO}")
    assert denied("x=y", path=f"/?{WHO}", Action="AssumeRole")

    # and on all resources: here the body and the query name different roles
    mine = cloud.role(ANYTHING)
    one = cloud.assume([{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": mine}])
    query = assume.replace(quote(role, safe=""), quote(mine, safe=""))
    status, text = ask(cloud, one, "sts", f"/?{query}", assume, headers=FORM)
    assert (status, role in text) == (403, True)

    # the path names Lambda's action; an action in the query must be allowed as well
    name = cloud.function("def handler(event, context):\n    return 1\n")
    reader = cloud.assume([{"Effect": "Allow", "Action": "lambda:GetFunction", "Resource": "*"}])
    place = f"/2015-03-31/functions/{name}"
    assert ask(cloud, reader, "lambda", place)[0] == 200
    status, text = ask(cloud, reader, "lambda", f"{place}?Action=DeleteFunction")
    assert (status, "lambda:DeleteFunction" in text) == (403, True)


def test_creating_a_function_needs_permission_to_pass_its_role(cloud: Cloud) -> None:
    role = cloud.role(ANYTHING)
    create = {"Effect": "Allow", "Action": "lambda:CreateFunction", "Resource": "*"}
    passing = {"Effect": "Allow", "Action": "iam:PassRole", "Resource": role}
    answers = []
    for statements in ([create], [create, passing]):
        client = cloud.client("lambda", cloud.assume(statements))
        settings = {
            "FunctionName": cloud.name("function"),
            "Role": role,
            "Runtime": "python3.12",
            "Handler": "handler.handler",
            "Code": {"ZipFile": b"PK\x05\x06" + bytes(18)},
        }
        answers.append(code_of(lambda c=client, s=settings: c.create_function(**s)))

    assert answers == ["AccessDeniedException", "OK"]


def test_the_aws_cli_copies_large_files_both_ways(cloud: Cloud, tmp_path: Path) -> None:
    bucket, data = cloud.name("bucket"), os.urandom(12_000_000)  # multipart from 8 MB
    cloud.client("s3").create_bucket(Bucket=bucket)
    (tmp_path / "there").write_bytes(data)
    aws = Path(sys.executable).parent / "aws"
    address = f"s3://{bucket}/a folder/ü.bin"

    for words in ((tmp_path / "there", address), (address, tmp_path / "back")):
        subprocess.run(
            [aws, "s3", "cp", "--no-progress", *words],
            env={**os.environ, **cloud.aws.environ},
            check=True,
            capture_output=True,
        )

    assert (tmp_path / "back").read_bytes() == data
