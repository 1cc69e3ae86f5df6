"""What other people's clients do, and how the local AWS answers what it does not have."""

from __future__ import annotations

import hashlib
import http.client
import json
import time
import urllib.request
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.local_aws.conftest import ANYTHING, Cloud, fetch
from tests.local_aws.oci_images import RegistryUser, layer

MANAGED = "arn:aws:iam::aws:policy/"
# One action for each protocol that moto lacks: query, json, query or json, rest-json, rest-xml.
LACKING: list[tuple[str, str, dict[str, Any]]] = [
    (
        "iam",
        "simulate_principal_policy",
        {"PolicySourceArn": f"{MANAGED}x", "ActionNames": ["s3:x"]},
    ),
    ("logs", "get_log_group_fields", {"logGroupName": "x"}),
    ("sqs", "list_message_move_tasks", {"SourceArn": "arn:aws:sqs:us-east-1:123456789012:q"}),
    ("cloudwatch", "get_metric_widget_image", {"MetricWidget": "{}"}),
    ("lambda", "get_function_recursion_config", {"FunctionName": "f"}),
    ("lambda", "invoke_with_response_stream", {"FunctionName": "f"}),
    (
        "lambda",
        "put_provisioned_concurrency_config",
        {"FunctionName": "f", "Qualifier": "1", "ProvisionedConcurrentExecutions": 1},
    ),
    ("s3", "list_bucket_analytics_configurations", {"Bucket": "b"}),
    (
        "s3",
        "select_object_content",
        {
            "Bucket": "b",
            "Key": "k",
            "Expression": "SELECT * FROM s3object",
            "ExpressionType": "SQL",
            "InputSerialization": {"CSV": {}},
            "OutputSerialization": {"CSV": {}},
        },
    ),
    ("pricing", "describe_services", {}),  # moto has nothing of it
    ("sts", "get_session_token", {}),
    ("sts", "get_federation_token", {"Name": "name"}),
    ("logs", "start_query", {"queryString": "stats count(*)", "startTime": 0, "endTime": 1}),
]


def operation(client: Any, call: str) -> str:
    """AWS's name of a client's method."""
    return str(client.meta.method_to_api_mapping[call])


@pytest.mark.parametrize(("service", "call", "parameters"), LACKING)
def test_what_is_lacking_is_refused_by_its_name(
    cloud: Cloud, service: str, call: str, parameters: dict[str, Any]
) -> None:
    client = cloud.client(service)

    with pytest.raises(ClientError) as caught:
        getattr(client, call)(**parameters)

    answer = caught.value.response
    assert answer["Error"]["Code"] == "NotImplemented"
    assert f":{operation(client, call)}." in answer["Error"]["Message"]
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert answer["ResponseMetadata"]["RequestId"]


def test_what_is_not_kept_is_said_in_the_documentation(cloud: Cloud) -> None:
    s3, bucket = cloud.client("s3"), cloud.name("bucket")
    s3.create_bucket(Bucket=bucket)
    s3.create_multipart_upload(Bucket=bucket, Key="k")
    topic = {"TopicArn": "arn:aws:sns:us-east-1:123456789012:t", "Events": ["s3:ObjectCreated:*"]}

    (upload,) = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"TopicConfigurations": [topic]}
    )

    assert upload["Initiated"].year == 2010
    kept = s3.get_bucket_notification_configuration(Bucket=bucket)
    assert kept["TopicConfigurations"][0]["TopicArn"] == topic["TopicArn"]


def test_a_body_that_is_not_xml_is_refused(cloud: Cloud) -> None:
    s3, bucket = cloud.client("s3"), cloud.name("bucket")
    s3.create_bucket(Bucket=bucket)
    replace = "before-call.s3.PutBucketTagging"
    s3.meta.events.register(replace, lambda params, **_: params.update(body=b"<"))

    with pytest.raises(ClientError) as caught:
        s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": []})

    assert caught.value.response["Error"]["Code"] == "MalformedXML"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_a_failure_in_putobject_is_not_called_copyobject(cloud: Cloud) -> None:
    s3, bucket = cloud.client("s3"), cloud.name("bucket")
    s3.create_bucket(Bucket=bucket)

    with pytest.raises(ClientError, match="s3:PutObject failed"):
        s3.put_object(Bucket=bucket, Key="k", GrantRead="nobody")


@pytest.mark.parametrize(
    ("service", "call"),
    [(service, call) for service, call, _ in LACKING if service != "s3"]
    + [("cloudwatch", "list_metrics"), ("ecr", "describe_registry"), ("lambda", "list_layers")],
)
def test_a_refusal_names_the_action_in_every_protocol(
    cloud: Cloud, service: str, call: str
) -> None:
    client = cloud.client(service, cloud.assume([]))
    given = next((p for s, c, p in LACKING if (s, c) == (service, call)), {})

    with pytest.raises(ClientError) as caught:
        getattr(client, call)(**given)

    name = operation(client, call).replace("InvokeWithResponseStream", "InvokeFunction")
    assert caught.value.response["Error"]["Code"].startswith("AccessDenied")
    assert f"{service}:{name} on resource" in caught.value.response["Error"]["Message"]


def test_older_clients_get_errors_in_their_protocol(cloud: Cloud) -> None:
    keys = cloud.aws.environ
    credentials = Credentials(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"])
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    answers = {}
    for service, action in (
        ("monitoring", "GetInsightRuleReport"),
        ("sqs", "CancelMessageMoveTask"),
    ):
        body = f"Action={action}&Version=2010-08-01"
        request = AWSRequest("POST", f"{cloud.aws.endpoint}/", headers, body)
        SigV4Auth(credentials, service, "us-east-1").add_auth(request)
        sent = urllib.request.Request(
            str(request.url), body.encode(), dict(request.headers.items())
        )
        answers[action] = fetch(sent)

    for action, (status, text) in answers.items():
        assert status == 501
        assert text.decode().startswith("<?xml")
        assert "<ErrorResponse><Error>" in text.decode()
        assert f":{action}." in text.decode()


def test_a_body_that_was_changed_on_its_way_is_not_stored(cloud: Cloud) -> None:
    keys, s3, bucket = cloud.aws.environ, cloud.client("s3"), cloud.name("bucket")
    s3.create_bucket(Bucket=bucket)
    credentials = Credentials(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"])
    request = AWSRequest("PUT", f"{cloud.aws.endpoint}/{bucket}/k", {}, b"right")
    S3SigV4Auth(credentials, "s3", "us-east-1").add_auth(request)

    def put(body: bytes) -> tuple[int, bytes]:
        headers = {**dict(request.headers.items()), "Content-Type": ""}
        return fetch(urllib.request.Request(str(request.url), body, headers, method="PUT"))

    status, text = put(b"wrong")
    assert (status, b"<Code>XAmzContentSHA256Mismatch</Code>" in text) == (400, True)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    assert put(b"right") == (200, b"")


def test_managed_policies_are_attached_listed_and_judged_by(cloud: Cloud) -> None:
    iam, role = cloud.client("iam"), cloud.role([]).split("/")[-1]
    arn = iam.get_role(RoleName=role)["Role"]["Arn"]
    credentials = cloud.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")[
        "Credentials"
    ]
    s3, logs = cloud.client("s3", credentials), cloud.client("logs", credentials)

    def may(call: Any, **parameters: Any) -> bool:
        try:
            call(**parameters)
        except ClientError as error:
            if not error.response["Error"]["Code"].startswith("AccessDenied"):
                raise
            return False
        return True

    def rights() -> dict[str, bool]:
        name = cloud.name("new")
        return {
            "read": may(s3.list_buckets),
            "write": may(s3.create_bucket, Bucket=name),
            "log": may(logs.create_log_group, logGroupName=name),
            "anything": may(cloud.client("sqs", credentials).list_queues),
        }

    expected = {
        "AmazonS3ReadOnlyAccess": {"read"},
        "AmazonS3FullAccess": {"read", "write"},
        "service-role/AWSLambdaBasicExecutionRole": {"log"},
        "AdministratorAccess": {"read", "write", "log", "anything"},
    }
    assert not any(rights().values())
    for policy, allowed in expected.items():
        iam.attach_role_policy(RoleName=role, PolicyArn=MANAGED + policy)
        (attached,) = iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        assert attached["PolicyArn"] == MANAGED + policy
        assert {name for name, holds in rights().items() if holds} == allowed
        iam.detach_role_policy(RoleName=role, PolicyArn=MANAGED + policy)
    policy = iam.get_policy(PolicyArn=f"{MANAGED}AmazonS3FullAccess")["Policy"]
    version = iam.get_policy_version(PolicyArn=policy["Arn"], VersionId=policy["DefaultVersionId"])[
        "PolicyVersion"
    ]
    assert "s3:*" in str(version["Document"])


def test_a_users_groups_and_the_policy_version_in_force_decide(cloud: Cloud) -> None:
    iam, user, group = cloud.client("iam"), cloud.name("user"), cloud.name("group")
    iam.create_user(UserName=user)
    iam.create_group(GroupName=group)
    iam.add_user_to_group(UserName=user, GroupName=group)
    key = iam.create_access_key(UserName=user)["AccessKey"]
    s3 = cloud.client("s3", {k: key[k] for k in ("AccessKeyId", "SecretAccessKey")})

    def document(action: str) -> str:
        statement = {"Effect": "Allow", "Action": action, "Resource": "*"}
        return json.dumps({"Version": "2012-10-17", "Statement": [statement]})

    def may_list() -> bool:
        try:
            s3.list_buckets()
        except ClientError as error:
            if "s3:ListAllMyBuckets" not in str(error):
                raise
            return False
        return True

    name = cloud.name("policy")
    policy = iam.create_policy(PolicyName=name, PolicyDocument=document("s3:GetObject"))["Policy"]
    arn = policy["Arn"]
    iam.attach_group_policy(GroupName=group, PolicyArn=arn)
    assert not may_list()
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=document("s3:*"), SetAsDefault=True)
    assert may_list()
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v1")
    assert not may_list()


def test_a_functions_percentiles_come_from_its_metrics(cloud: Cloud) -> None:
    name = cloud.function("import time\ndef handler(event, context): time.sleep(event['s'])\n")
    for seconds in (0, 0, 0, 0.2):
        cloud.invoke(name, {"s": seconds})
    metric = {
        "Namespace": "AWS/Lambda",
        "MetricName": "Duration",
        "Dimensions": [{"Name": "FunctionName", "Value": name}],
    }
    now = datetime.now(timezone.utc)
    span = {"StartTime": now - timedelta(hours=2), "EndTime": now + timedelta(hours=2)}

    def query(name: str, stat: str, **more: Any) -> dict[str, Any]:
        return {"Id": name, "MetricStat": {"Metric": metric, "Period": 86400, "Stat": stat}, **more}

    def found() -> dict[str, list[float]]:
        results = cloud.client("cloudwatch").get_metric_data(
            MetricDataQueries=[
                {"Id": "average", "Expression": "1000 * seconds / calls"},  # before what it names
                {"Id": "seconds", "Expression": "total / 1000"},
                query("p50", "p50"),
                query("p95", "p95"),
                query("total", "Sum", ReturnData=False),
                query("calls", "SampleCount"),
            ],
            **span,
        )["MetricDataResults"]
        return {result["Id"]: result["Values"] for result in results}

    deadline = time.monotonic() + 10
    while found()["calls"] != [4] and time.monotonic() < deadline:  # they come after the answer
        time.sleep(0.1)
    values = found()
    assert list(values) == ["average", "seconds", "p50", "p95", "calls"]
    assert values["p50"][0] < 150 < 200 <= values["p95"][0]
    assert values["average"][0] == pytest.approx(values["seconds"][0] * 250)

    for second, reason in (
        ({"Id": "b", "Expression": "ANOMALY_DETECTION_BAND(a)"}, "ANOMALY_DETECTION_BAND"),
        ({"Id": "b", "Expression": "SELECT MAX(Duration) FROM x", "Period": 60}, "SELECT"),
        (query("a", "p50"), "unique"),
        (query("B", "p50"), "lowercase"),
    ):
        with pytest.raises(ClientError, match=reason):
            cloud.client("cloudwatch").get_metric_data(
                MetricDataQueries=[query("a", "Sum"), second], **span
            )


def test_the_calls_of_logs_tail_see_each_event_once(cloud: Cloud) -> None:
    # `aws logs tail GROUP --follow --filter-pattern ... --log-stream-name-prefix a`
    logs, group = cloud.client("logs"), cloud.name("/group")
    logs.create_log_group(logGroupName=group)
    now = int(time.time() * 1000)
    for stream in ("a1", "a2", "b1"):
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
    for number in range(6):
        event = {"timestamp": now + number, "message": json.dumps({"step": number, "of": "x"})}
        stream = ("a1", "a2", "b1")[number % 3]
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=[event])

    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupIdentifier=f"arn:aws:logs:us-east-1:123456789012:log-group:{group}",
        interleaved=True,
        startTime=now + 1,
        logStreamNamePrefix="a",
        filterPattern="{ $.step < 9 }",
        limit=1,
    )
    events = [event for page in pages for event in page["events"]]

    assert [json.loads(event["message"])["step"] for event in events] == [1, 3, 4]
    assert len({event["eventId"] for event in events}) == 3
    with pytest.raises(ClientError, match="Invalid filter pattern"):
        logs.filter_log_events(logGroupName=group, filterPattern="{ $.step }")


def test_an_image_must_exist_and_fit_the_processor(cloud: Cloud) -> None:
    ecr, client, role = cloud.client("ecr"), cloud.client("lambda"), cloud.role(ANYTHING)
    repository = cloud.name("repository")
    uri = ecr.create_repository(repositoryName=repository)["repository"]["repositoryUri"]
    settings = {"EntryPoint": ["/bin/x"], "Command": ["a.b"], "WorkingDirectory": "/x"}

    def push(tag: str, processor: str, command: str) -> str:
        config = {"architecture": processor, "config": {"Cmd": [command]}}
        user = RegistryUser.of(ecr)
        return user.push(repository, tag, json.dumps(config).encode(), [layer()])

    digest = push("amd64", "amd64", "x")
    push("arm64", "arm64", "x")

    def create(tag: str, architecture: str, **more: Any) -> str:
        name = cloud.name("function")
        client.create_function(
            FunctionName=name,
            PackageType="Image",
            Code={"ImageUri": f"{uri}:{tag}"},
            Role=role,
            Architectures=[architecture],
            **more,
        )
        return name

    with pytest.raises(ClientError, match=r"InvalidParameterValueException.*does not exist"):
        create("nosuch", "x86_64")
    with pytest.raises(ClientError, match="is for arm64, the function for x86_64"):
        create("arm64", "x86_64")
    create("arm64", "arm64")
    name = create("amd64", "x86_64", ImageConfig=settings)
    with pytest.raises(ClientError, match="is for arm64"):
        client.update_function_code(FunctionName=name, ImageUri=f"{uri}:arm64")
    with pytest.raises(ClientError, match="does not exist"):
        client.update_function_code(FunctionName=name, ImageUri=f"{uri}:nosuch")
    found = client.get_function_configuration(FunctionName=name)
    assert found["ImageConfigResponse"]["ImageConfig"] == settings
    # what a tag means later does not change the function until it is updated
    newer = push("amd64", "amd64", "y")
    assert newer != digest
    for expected in (digest, newer):
        found = client.get_function(FunctionName=name)
        assert found["Code"]["ImageUri"] == f"{uri}:amd64"
        assert found["Code"]["ResolvedImageUri"] == f"{uri}@{expected}"
        assert found["Configuration"]["CodeSha256"] == expected.removeprefix("sha256:")
        client.update_function_code(FunctionName=name, ImageUri=f"{uri}:amd64")


def test_times_are_written_as_lambda_writes_them(cloud: Cloud) -> None:
    name, client = cloud.function("def handler(event, context): pass\n"), cloud.client("lambda")
    bodies = []
    client.meta.events.register(
        "after-call.lambda.GetFunctionEventInvokeConfig",
        lambda http_response, **_: bodies.append(json.loads(http_response.content)),
    )
    client.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=1)

    client.get_function_event_invoke_config(FunctionName=name)

    changed = client.get_function_configuration(FunctionName=name)["LastModified"]
    moment = datetime.strptime(changed, "%Y-%m-%dT%H:%M:%S.%f%z")
    assert changed.endswith("+0000")
    assert bodies[0]["LastModified"] == pytest.approx(moment.timestamp())


def test_the_older_way_to_send_an_event_works(cloud: Cloud) -> None:
    name = cloud.function("def handler(event, context):\n    print('got', event)\n")

    assert (
        cloud.client("lambda").invoke_async(FunctionName=name, InvokeArgs=b"[7]")["Status"] == 202
    )

    deadline = time.monotonic() + 10
    while not (lines := [x for x in cloud.log_lines(name) if x.startswith("got [7]")]):
        assert time.monotonic() < deadline
    assert len(lines) == 1


def test_keys_are_limited_in_bytes_whatever_is_done_with_them(cloud: Cloud) -> None:
    s3, bucket = cloud.client("s3"), cloud.name("bucket")
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="ü" * 512, Body=b"x")
    for call in ("put_object", "get_object", "create_multipart_upload"):
        with pytest.raises(ClientError, match="KeyTooLongError"):
            getattr(s3, call)(Bucket=bucket, Key="ü" * 512 + "x")
    keys = ["a\nb", "a\r\n\tb", "\n", "a//b", "./a/../b", "a%0Ab", "a+b c"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    listed = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert listed == sorted([*keys, "ü" * 512])
    for key in keys:
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys]})
    assert sorted(item["Key"] for item in deleted["Deleted"]) == sorted(keys)


def test_a_connection_stays_open_after_errors_and_large_bodies(
    cloud: Cloud, request: pytest.FixtureRequest
) -> None:
    s3, bucket, big = cloud.client("s3", signature_version="s3v4"), cloud.name("bucket"), 9_000_000
    s3.create_bucket(Bucket=bucket)
    urls = {
        method: s3.generate_presigned_url(method, Params={"Bucket": bucket, "Key": "k"})
        for method in ("get_object", "put_object", "head_object", "delete_object")
    }
    connection = http.client.HTTPConnection(urlsplit(cloud.aws.endpoint).netloc, timeout=30)
    request.addfinalizer(connection.close)
    connection.auto_open = 0
    connection.connect()

    def ask(
        method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> int:
        connection.request(method, url.removeprefix(cloud.aws.endpoint), body, headers or {})
        answer = connection.getresponse()
        answer.read()
        assert not answer.will_close, (method, url)
        return answer.status

    etag = f'"{hashlib.md5(bytes(big)).hexdigest()}"'
    statuses = [
        ask("GET", urls["get_object"]),  # not there yet
        ask("PUT", "/nobody/k", bytes(big)),  # refused, with its body unread
        ask("PUT", urls["put_object"].replace("k?", "x?"), bytes(big)),
        ask("PUT", urls["put_object"], bytes(big)),
        ask("GET", urls["get_object"]),
        ask("GET", urls["get_object"], headers={"Range": f"bytes=0-{big // 2}"}),
        ask("GET", urls["get_object"], headers={"Range": "bytes=99999999-"}),
        ask("HEAD", urls["head_object"]),
        ask("GET", urls["get_object"], headers={"If-None-Match": etag}),
        ask("POST", "/", b"Action=Nosuch&Version=2010-05-08"),
        ask("GET", "/v2/nosuch/manifests/1"),
        ask("POST", "/v2/nosuch/blobs/uploads/", bytes(big)),
        ask("DELETE", urls["delete_object"]),
    ]

    expected = [404, 403, 403, 200, 200, 206, 416, 200, 304, 403, 401, 401, 204]
    assert statuses == expected


# Differences from AWS that docs/local-aws.md states.


def test_policies_of_resources_grant_no_user_anything(cloud: Cloud) -> None:
    admin, bucket = cloud.client("s3"), cloud.name("bucket")
    admin.create_bucket(Bucket=bucket)
    admin.put_object(Bucket=bucket, Key="k", Body=b"x")
    public = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [public]})
    admin.put_bucket_policy(Bucket=bucket, Policy=policy)

    with pytest.raises(ClientError, match="AccessDenied"):
        cloud.client("s3", cloud.assume([])).get_object(Bucket=bucket, Key="k")


def test_a_sessions_own_policy_limits_nothing(cloud: Cloud) -> None:
    nothing = {"Effect": "Deny", "Action": "*", "Resource": "*"}
    session = cloud.client("sts").assume_role(
        RoleArn=cloud.role(ANYTHING),
        RoleSessionName="test",
        Policy=json.dumps({"Version": "2012-10-17", "Statement": [nothing]}),
    )

    assert "Buckets" in cloud.client("s3", session["Credentials"]).list_buckets()


def test_anybody_may_assume_a_role_who_has_the_right(cloud: Cloud) -> None:
    right = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}
    trusts_lambda_only = cloud.role([])
    sts = cloud.client("sts", cloud.assume([right]))

    assert "Credentials" in sts.assume_role(RoleArn=trusts_lambda_only, RoleSessionName="test")


def test_a_new_bucket_shows_no_defaults(cloud: Cloud) -> None:
    s3, bucket = cloud.client("s3"), cloud.name("bucket")
    s3.create_bucket(Bucket=bucket)

    for read in (
        s3.get_bucket_encryption,
        s3.get_public_access_block,
        s3.get_bucket_ownership_controls,
    ):
        with pytest.raises(ClientError, match=r"NotFound|NoSuch"):
            read(Bucket=bucket)
