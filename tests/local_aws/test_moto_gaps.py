"""Plain moto still needs every repair. When one of these tests fails, remove the repair it names.

Each gap is observed from outside, on moto's own server, where that is possible, and else in a new
process. Neither has any of the repairs.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from local_aws.client_environ import isolated
from local_aws.code_links import CodeLinks
from local_aws.code_store import ImageFacts
from local_aws.moto_events import PendingEvents, complete_s3_event
from local_aws.moto_gaps import repairs
from tests.local_aws.conftest import TRUST, Cloud, code_of, zipped
from tests.local_aws.oci_images import DOCKER, manifest

REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
CODE = zipped({"handler.py": ""})


@dataclass
class PlainMoto:
    """moto's own server, without the repairs."""

    endpoint: str
    pid: int
    log_path: Path
    region: str = "us-east-1"
    # moto accepts any credentials.
    environ: dict[str, str] = field(
        default_factory=lambda: {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
    )


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A server of plain moto."""
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "moto.server", "--port", "0"],
            env=isolated({}),
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.05)
        yield Cloud(PlainMoto(found[0], process.pid, log))
    finally:
        process.kill()
        process.wait()


def function(cloud: Cloud, **settings: Any) -> str:
    """The name of a new zip function."""
    return cloud.function("", **settings)


def image_function(cloud: Cloud, uri: str) -> str:
    """The name of a new image function."""
    name = cloud.name("function")
    cloud.client("lambda").create_function(
        FunctionName=name, PackageType="Image", Code={"ImageUri": uri}, Role=cloud.role([])
    )
    return name


def new_bucket(cloud: Cloud) -> str:
    """The name of a new bucket."""
    name = cloud.name("bucket")
    cloud.client("s3").create_bucket(Bucket=name)
    return name


def watched_bucket(cloud: Cloud) -> tuple[str, str]:
    """A new bucket, and the URL of a queue that receives its events."""
    bucket, queue = new_bucket(cloud), cloud.name("queue")
    url = cloud.client("sqs").create_queue(QueueName=queue)["QueueUrl"]
    arn = f"arn:aws:sqs:us-east-1:123456789012:{queue}"
    cloud.let_buckets_send(url, arn)
    cloud.client("s3").put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={
            "QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]
        },
    )
    return bucket, url


def records(cloud: Cloud, url: str) -> list[dict[str, Any]]:
    """The S3 events in a queue."""
    messages = cloud.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10)
    bodies = [json.loads(message["Body"]) for message in messages.get("Messages", [])]
    return [record for body in bodies for record in body.get("Records", [])]


def mapped(cloud: Cloud) -> tuple[str, str]:
    """The URL of a new queue that a function reads, and the UUID of the mapping."""
    queue = cloud.name("queue")
    url = cloud.client("sqs").create_queue(QueueName=queue)["QueueUrl"]
    uuid = cloud.client("lambda").create_event_source_mapping(
        EventSourceArn=f"arn:aws:sqs:us-east-1:123456789012:{queue}",
        FunctionName=cloud.function("def handler(event, context):\n    return 1\n"),
    )["UUID"]
    return url, uuid


def succeeds(call: Callable[..., Any], **parameters: Any) -> bool:
    """Whether the call is accepted."""
    try:
        call(**parameters)
    except ClientError:
        return False
    return True


def names() -> list[str]:
    """The names of all repairs."""
    listed = repairs(
        endpoint="",
        region="",
        account_concurrency=1000,
        registry_password="",
        objects=Path(),
        links=CodeLinks(""),
        pending=PendingEvents(),
        on_mapping=lambda _: None,
        describe_image=lambda _: ImageFacts(None, None),
    )
    return [r.func.__name__ if isinstance(r, partial) else r.__name__ for r in listed]


# The gaps that the repairs close: each function returns whether moto still has the gap.
Gap = Callable[[Cloud], bool]
GAPS: dict[str, Gap] = {}


def gap(observe: Gap) -> Gap:
    """Register the gap of the repair of the same name."""
    GAPS[observe.__name__] = observe
    return observe


@gap
def count_reserved_concurrency(cloud: Cloud) -> bool:
    put = cloud.client("lambda").put_function_concurrency
    return succeeds(put, FunctionName=function(cloud), ReservedConcurrentExecutions=5000)


@gap
def leave_queues_to_pollers(cloud: Cloud) -> bool:
    url, _ = mapped(cloud)
    cloud.client("sqs").send_message(QueueUrl=url, MessageBody="x")
    log = cloud.aws.log_path.read_text()
    return "Docker" in log or "docker" in log  # in which moto runs functions


@gap
def check_mappings(cloud: Cloud) -> bool:
    _, uuid = mapped(cloud)
    update = cloud.client("lambda").update_event_source_mapping
    return succeeds(update, UUID=uuid, BatchSize=11)


@gap
def refuse_duplicate_permissions(cloud: Cloud) -> bool:
    permission = {
        "FunctionName": function(cloud),
        "StatementId": "one",
        "Action": "lambda:InvokeFunction",
        "Principal": "s3.amazonaws.com",
    }
    cloud.client("lambda").add_permission(**permission)
    return succeeds(cloud.client("lambda").add_permission, **permission)


@gap
def replace_event_invoke_configs(cloud: Cloud) -> bool:
    client, name = cloud.client("lambda"), function(cloud)
    for retries in (2, 0):
        client.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=retries)
    config = client.get_function_event_invoke_config(FunctionName=name)
    return bool(config["MaximumRetryAttempts"] != 0)


@gap
def keep_snap_start(cloud: Cloud) -> bool:
    name = function(cloud, SnapStart={"ApplyOn": "PublishedVersions"})
    config = cloud.client("lambda").get_function_configuration(FunctionName=name)
    return bool(config["SnapStart"]["ApplyOn"] != "PublishedVersions")


@gap
def clear_environment(cloud: Cloud) -> bool:
    name = function(cloud, Environment={"Variables": {"A": "b"}})
    update = cloud.client("lambda").update_function_configuration
    return not succeeds(update, FunctionName=name, Environment={})


@gap
def update_ephemeral_storage(cloud: Cloud) -> bool:
    client, name = cloud.client("lambda"), function(cloud)
    client.update_function_configuration(FunctionName=name, EphemeralStorage={"Size": 1024})
    config = client.get_function_configuration(FunctionName=name)
    return bool(config["EphemeralStorage"]["Size"] != 1024)


@gap
def update_image_config(cloud: Cloud) -> bool:
    client = cloud.client("lambda")
    name = image_function(cloud, f"{REGISTRY}/an-image:1")
    client.update_function_configuration(FunctionName=name, ImageConfig={"Command": ["new"]})
    config = client.get_function_configuration(FunctionName=name)
    image = config.get("ImageConfigResponse", {}).get("ImageConfig", {})
    return bool(image.get("Command") != ["new"])


@gap
def show_only_given_image_config(cloud: Cloud) -> bool:
    name = image_function(cloud, f"{REGISTRY}/an-image:1")
    config = cloud.client("lambda").get_function_configuration(FunctionName=name)
    return "ImageConfigResponse" in config


@gap
def write_times_as_lambda_does(cloud: Cloud) -> bool:
    client, name = cloud.client("lambda"), function(cloud)
    changed = client.get_function_configuration(FunctionName=name)["LastModified"]
    lambdas = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000"
    return not re.fullmatch(lambdas, changed)


@gap
def resolve_images(cloud: Cloud) -> bool:
    uri = f"{REGISTRY}/an-image@sha256:{'3' * 64}"
    client, name = cloud.client("lambda"), image_function(cloud, uri)
    return bool(client.get_function(FunctionName=name)["Code"]["ResolvedImageUri"] != uri)


@gap
def refuse_unusable_images(cloud: Cloud) -> bool:
    return succeeds(image_function, cloud=cloud, uri=f"{REGISTRY}/never-pushed:1")


@gap
def refuse_impossible_memory(cloud: Cloud) -> bool:
    update = cloud.client("lambda").update_function_configuration
    return succeeds(update, FunctionName=function(cloud), MemorySize=64_000)


@gap
def refuse_untrusting_roles(cloud: Cloud) -> bool:
    update = cloud.client("lambda").update_function_configuration
    trust = json.dumps(TRUST).replace("lambda.", "ec2.")
    role = cloud.client("iam").create_role(
        RoleName=cloud.name("role"), AssumeRolePolicyDocument=trust
    )["Role"]["Arn"]
    return succeeds(update, FunctionName=function(cloud), Role=role)


@gap
def find_by_any_arn(cloud: Cloud) -> bool:
    client, name = cloud.client("lambda"), function(cloud)
    partial_arn = f"123456789012:function:{name}"
    versions = client.list_versions_by_function(FunctionName=cloud.arn(name))["Versions"]
    calls = (client.get_function, client.publish_version, client.delete_function)
    found = [succeeds(call, FunctionName=partial_arn) for call in calls]
    return not versions or not all(found)


@gap
def name_the_alias(cloud: Cloud) -> bool:
    client, name = cloud.client("lambda"), function(cloud)
    version = client.publish_version(FunctionName=name)["Version"]
    client.create_alias(FunctionName=name, Name="live", FunctionVersion=version)
    get = client.get_function_configuration
    shown = [
        get(FunctionName=f"{cloud.arn(name)}:live"),
        get(FunctionName=name, Qualifier="live"),
        get(FunctionName=name, Qualifier="1"),
        get(FunctionName=name),
    ]
    endings = [config["FunctionArn"].removeprefix(cloud.arn(name)) for config in shown]
    return endings != [":live", ":live", ":1", ""]


@gap
def note_changes(cloud: Cloud) -> bool:
    client, name = cloud.client("lambda"), function(cloud)
    before = client.get_function_configuration(FunctionName=name)
    time.sleep(0.002)
    update = partial(client.update_function_configuration, FunctionName=name, Timeout=9)
    after = update()
    is_stale = succeeds(update, RevisionId=before.get("RevisionId", "x"))
    unchanged = [key for key in ("LastModified", "RevisionId") if before.get(key) == after.get(key)]
    return bool(unchanged) or is_stale


@gap
def refuse_impossible_settings(cloud: Cloud) -> bool:
    update, name = cloud.client("lambda").update_function_configuration, function(cloud)
    changes = ({"Timeout": 6000}, {"Environment": {"Variables": {"AWS_REGION": "eu-west-1"}}})
    accepted = [succeeds(update, FunctionName=name, **change) for change in changes]
    news = ({"Runtime": "python1"}, {"Handler": ""}, {"Code": {"ZipFile": b"no zip"}})
    accepted += [succeeds(function, cloud=cloud, **settings) for settings in news]
    return any(accepted)


@gap
def keep_published_code(cloud: Cloud) -> bool:
    client = cloud.client("lambda")
    first, second = (f"{REGISTRY}/an-image@sha256:{digit * 64}" for digit in "12")
    name = image_function(cloud, first)
    version = client.publish_version(FunctionName=name)["Version"]
    client.update_function_code(FunctionName=name, ImageUri=second)
    code = client.get_function(FunctionName=name, Qualifier=version)["Code"]
    return bool(code["ImageUri"] != first)


@gap
def keep_aliased_versions(cloud: Cloud) -> bool:
    client, name = cloud.client("lambda"), function(cloud)
    version = client.publish_version(FunctionName=name)["Version"]
    client.create_alias(FunctionName=name, Name="live", FunctionVersion=version)
    return succeeds(client.delete_function, FunctionName=name, Qualifier=version)


@gap
def number_versions_once(cloud: Cloud) -> bool:
    client, name = cloud.client("lambda"), function(cloud)
    first = client.publish_version(FunctionName=name)["Version"]
    client.delete_function(FunctionName=name, Qualifier=first)
    return bool(client.publish_version(FunctionName=name)["Version"] == first)


@gap
def link_layer_code(cloud: Cloud) -> bool:
    layer = cloud.client("lambda").publish_layer_version(
        LayerName=cloud.name("layer"), Content={"ZipFile": CODE}
    )
    return not str(layer["Content"]["Location"]).startswith(cloud.aws.endpoint)


@gap
def link_function_code(cloud: Cloud) -> bool:
    code = cloud.client("lambda").get_function(FunctionName=function(cloud))["Code"]
    return not str(code["Location"]).startswith(cloud.aws.endpoint)


@gap
def refuse_undeliverable_notifications(cloud: Cloud) -> bool:
    # GIVEN a function without a permission for S3
    arn = cloud.arn(function(cloud))
    return succeeds(
        cloud.client("s3").put_bucket_notification_configuration,
        Bucket=new_bucket(cloud),
        NotificationConfiguration={
            "LambdaFunctionConfigurations": [
                {"LambdaFunctionArn": arn, "Events": ["s3:ObjectCreated:*"]}
            ]
        },
    )


@gap
def announce_uploads_once(cloud: Cloud) -> bool:
    s3, (bucket, url) = cloud.client("s3"), watched_bucket(cloud)
    place = {"Bucket": bucket, "Key": "big.mp4"}
    upload = {**place, "UploadId": s3.create_multipart_upload(**place)["UploadId"]}
    etag = s3.upload_part(**upload, PartNumber=1, Body=b"x")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    s3.complete_multipart_upload(**upload, MultipartUpload=parts)
    return len(records(cloud, url)) > 1


@gap
def limit_metadata(cloud: Cloud) -> bool:
    put = cloud.client("s3").put_object
    return succeeds(put, Bucket=new_bucket(cloud), Key="k", Metadata={"name": "x" * 3000})


@gap
def limit_keys(cloud: Cloud) -> bool:
    return succeeds(cloud.client("s3").put_object, Bucket=new_bucket(cloud), Key="ü" * 513)


@gap
def route_any_key(cloud: Cloud) -> bool:
    return not succeeds(cloud.client("s3").put_object, Bucket=new_bucket(cloud), Key="a\nb")


@gap
def escape_carriage_returns(cloud: Cloud) -> bool:
    s3, bucket = cloud.client("s3"), new_bucket(cloud)
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a\rb"}]})["Deleted"]
    return [item["Key"] for item in deleted] != ["a\rb"]


@gap
def encode_listed_versions(cloud: Cloud) -> bool:
    s3, bucket = cloud.client("s3"), new_bucket(cloud)
    s3.put_object(Bucket=bucket, Key="a\x1bb")
    return not succeeds(s3.list_object_versions, Bucket=bucket)


@gap
def refuse_unknown_subresources(cloud: Cloud) -> bool:
    call = cloud.client("s3").list_bucket_metrics_configurations
    return succeeds(call, Bucket=new_bucket(cloud))


def listed(cloud: Cloud) -> tuple[Any, str]:
    """A client, and a bucket with folders, a deleted object and others."""
    s3, bucket = cloud.client("s3"), new_bucket(cloud)
    enabled = {"Status": "Enabled"}
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=enabled)
    for key in ("%41/1", "%41/2", "b", "c/1", "d", "gone/1"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"0123456789")
    s3.delete_object(Bucket=bucket, Key="gone/1")
    return s3, bucket


@gap
def list_in_pages(cloud: Cloud) -> bool:
    s3, bucket = listed(cloud)
    found = []
    for page in s3.get_paginator("list_objects").paginate(
        Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": 1}
    ):
        found.append([folder["Prefix"] for folder in page.get("CommonPrefixes", [])])
        found[-1] += [item["Key"] for item in page.get("Contents", [])]
    return found != [["%41/"], ["b"], ["c/"], ["d"]]


@gap
def refuse_unknown_tokens(cloud: Cloud) -> bool:
    s3, bucket = listed(cloud)
    with pytest.raises(ClientError) as caught:
        s3.list_objects_v2(Bucket=bucket, ContinuationToken="none")
    return caught.value.response["Error"]["Code"] != "InvalidArgument"


@gap
def ignore_unreadable_ranges(cloud: Cloud) -> bool:
    s3, bucket = listed(cloud)
    return not succeeds(s3.get_object, Bucket=bucket, Key="b", Range="the first three")


@gap
def compare_digests(cloud: Cloud) -> bool:
    put, bucket = cloud.client("s3").put_object, new_bucket(cloud)
    given = ({"ContentMD5": "AAAA"}, {"ChecksumSHA256": "AAAA"}, {"ChecksumCRC32": "AAAAAA=="})
    return any(succeeds(put, Bucket=bucket, Key="k", Body=b"x", **digest) for digest in given)


@gap
def refuse_single_parts(cloud: Cloud) -> bool:
    s3, place = cloud.client("s3"), {"Bucket": new_bucket(cloud), "Key": "k"}
    upload = {**place, "UploadId": s3.create_multipart_upload(**place)["UploadId"]}
    etag = s3.upload_part(**upload, PartNumber=1, Body=b"x")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    s3.complete_multipart_upload(**upload, MultipartUpload=parts)
    return succeeds(s3.get_object, **place, PartNumber=2)


@gap
def refuse_broken_policies(cloud: Cloud) -> bool:
    put, bucket = cloud.client("s3").put_bucket_policy, new_bucket(cloud)
    return any(succeeds(put, Bucket=bucket, Policy=policy) for policy in ("{", "[]", "1"))


@gap
def limit_bucket_names(cloud: Cloud) -> bool:
    return any(succeeds(cloud.client("s3").create_bucket, Bucket=n) for n in ("A-bucket", "a..b"))


@gap
def limit_deletions(cloud: Cloud) -> bool:
    keys = {"Objects": [{"Key": str(number)} for number in range(1001)]}
    return succeeds(cloud.client("s3").delete_objects, Bucket=new_bucket(cloud), Delete=keys)


@gap
def refuse_unknown_acls(cloud: Cloud) -> bool:
    put = partial(cloud.client("s3").put_object, Bucket=new_bucket(cloud), Key="k")
    put(ACL="bucket-owner-full-control")
    return code_of(partial(put, ACL="nobody")) != "InvalidArgument"


@gap
def refuse_idle_lifecycle_rules(cloud: Cloud) -> bool:
    put, bucket = cloud.client("s3").put_bucket_lifecycle_configuration, new_bucket(cloud)
    rule = {"ID": "a", "Status": "Enabled", "Filter": {"Prefix": ""}}
    expire = {"Rules": [{**rule, "Expiration": {"Days": 1}}]}
    put(Bucket=bucket, LifecycleConfiguration=expire)
    return succeeds(put, Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})


@gap
def refuse_example_credentials(cloud: Cloud) -> bool:
    sts = cloud.client("sts")
    return succeeds(sts.get_session_token) or succeeds(sts.get_federation_token, Name="name")


@gap
def refuse_broken_trust(cloud: Cloud) -> bool:
    create = cloud.client("iam").create_role
    return succeeds(create, RoleName=cloud.name("role"), AssumeRolePolicyDocument="{")


@gap
def refuse_missing_roles(cloud: Cloud) -> bool:
    arn, assume = "arn:aws:iam::123456789012:role/missing", cloud.client("sts").assume_role
    return succeeds(assume, RoleArn=arn, RoleSessionName="test")


@gap
def name_administrator(cloud: Cloud) -> bool:
    arn = cloud.client("sts").get_caller_identity()["Arn"]
    return bool(arn != "arn:aws:iam::123456789012:user/admin")


@gap
def refuse_impossible_messages(cloud: Cloud) -> bool:
    sqs = cloud.client("sqs")
    url = sqs.create_queue(QueueName=cloud.name("queue"))["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="\t\U0001f600")
    return any(succeeds(sqs.send_message, QueueUrl=url, MessageBody=body) for body in ("", "\1"))


@gap
def refuse_impossible_attributes(cloud: Cloud) -> bool:
    sqs, name = cloud.client("sqs"), cloud.name("queue")
    url = sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "43200"})["QueueUrl"]
    codes = []
    for attribute, value in (
        ("VisibilityTimeout", "43201"),
        ("DelaySeconds", "soon"),
        ("RedrivePolicy", "{"),
        ("Nothing", "1"),
    ):
        for call in (
            partial(sqs.set_queue_attributes, QueueUrl=url),
            partial(sqs.create_queue, QueueName=f"{name}-2"),
        ):
            try:
                call(Attributes={attribute: value})
            except ClientError as error:
                codes.append(error.response["Error"]["Code"])
    return codes != ["InvalidAttributeValue"] * 6 + ["InvalidAttributeName"] * 2


@gap
def load_managed_policies(cloud: Cloud) -> bool:
    attach, role = cloud.client("iam").attach_role_policy, cloud.role([]).split("/")[-1]
    policy = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
    return not succeeds(attach, RoleName=role, PolicyArn=policy)


def measured(cloud: Cloud) -> tuple[Any, dict[str, Any]]:
    """A client, and where and when a metric has the values 1 to 4, all in the same minute."""
    client, name = cloud.client("cloudwatch"), cloud.name("metric")
    client.put_metric_data(
        Namespace="N",
        MetricData=[{"MetricName": name, "Values": [1, 2, 3, 4], "Timestamp": MINUTE}],
    )
    return client, {"Namespace": "N", "MetricName": name}


MINUTE = datetime(2026, 11, 27, 11, 9, 21, tzinfo=timezone.utc)
SPAN = {"StartTime": MINUTE - timedelta(seconds=10), "EndTime": MINUTE + timedelta(seconds=10)}


@gap
def compute_metric_data(cloud: Cloud) -> bool:
    client, metric = measured(cloud)
    query = {"Id": "a", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "p95"}}
    return not succeeds(client.get_metric_data, MetricDataQueries=[query], **SPAN)


@gap
def compute_metric_statistics(cloud: Cloud) -> bool:
    client, metric = measured(cloud)
    points = client.get_metric_statistics(**metric, **SPAN, Period=60, ExtendedStatistics=["p50"])[
        "Datapoints"
    ]
    found = [(point["Timestamp"], point.get("ExtendedStatistics")) for point in points]
    return found != [(MINUTE.replace(second=0), {"p50": 2.0})]


def logged(cloud: Cloud, **options: Any) -> list[str]:
    """The events of two streams, of which the one that began first has the last event."""
    logs, group = cloud.client("logs"), cloud.name("/group")
    logs.create_log_group(logGroupName=group)
    now = int(time.time() * 1000)
    for stream, events in (("a", {0: "one", 2: "three"}), ("b", {1: '{"step": "two"}'})):
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
        listed = [{"timestamp": now + after, "message": text} for after, text in events.items()]
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=listed)
    found = logs.filter_log_events(logGroupName=group, **options)["events"]
    return [event["message"] for event in found]


@gap
def read_filter_patterns(cloud: Cloud) -> bool:
    return logged(cloud, filterPattern='{ $.step = "two" }') != ['{"step": "two"}']


@gap
def filter_log_events_in_order(cloud: Cloud) -> bool:
    return logged(cloud) != ["one", '{"step": "two"}', "three"]


@gap
def refuse_queries_and_subscriptions(cloud: Cloud) -> bool:
    logs, group = cloud.client("logs"), {"logGroupName": cloud.name("/group")}
    logs.create_log_group(**group)
    query = {"queryString": "stats count(*)", "startTime": 0, "endTime": 1}
    filter_ = {"filterName": "errors", "filterPattern": "ERROR"}
    arn = cloud.arn(function(cloud))
    asked = succeeds(logs.start_query, **group, **query)
    return succeeds(logs.put_subscription_filter, **group, **filter_, destinationArn=arn) or asked


@gap
def read_tls_only_policies(cloud: Cloud) -> bool:
    s3, bucket = cloud.client("s3"), new_bucket(cloud)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    # GIVEN what createS3.py sets: without TLS, nothing is allowed
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    s3.put_bucket_policy(Bucket=bucket, Policy=policy)
    return not succeeds(s3.get_object, Bucket=bucket, Key="k")


@gap
def keep_bodies_on_disk(cloud: Cloud) -> bool:
    s3, bucket, server = cloud.client("s3"), new_bucket(cloud), psutil.Process(cloud.aws.pid)
    s3.put_object(Bucket=bucket, Key="warm-up", Body=bytes(4_000_000))
    before = server.memory_info().rss
    for number in range(30):
        s3.put_object(Bucket=bucket, Key=f"{number}", Body=bytes(4_000_000))
    return server.memory_info().rss - before > 80_000_000


@gap
def name_this_registry(cloud: Cloud) -> bool:
    name = cloud.name("repository")
    repository = cloud.client("ecr").create_repository(repositoryName=name)["repository"]
    return not cloud.aws.endpoint.endswith(repository["repositoryUri"].split("/")[0])


@gap
def issue_registry_password(cloud: Cloud) -> bool:
    (data,) = cloud.client("ecr").get_authorization_token()["authorizationData"]
    return bool(data["expiresAt"] < datetime.now(timezone.utc))


@gap
def refuse_broken_manifests(cloud: Cloud) -> bool:
    ecr, name = cloud.client("ecr"), cloud.name("repository")
    ecr.create_repository(repositoryName=name)
    put = partial(ecr.put_image, repositoryName=name, imageTag="v1")
    return code_of(partial(put, imageManifest="x")) != "InvalidParameterException"


@gap
def measure_layers(cloud: Cloud) -> bool:
    ecr, name, layers = cloud.client("ecr"), cloud.name("repository"), [b"layer" * 100, b"x"]
    ecr.create_repository(repositoryName=name)
    ecr.put_image(
        repositoryName=name,
        imageManifest=manifest(b"{}", layers).decode(),
        imageManifestMediaType=DOCKER,
        imageTag="v1",
    )
    (image,) = ecr.describe_images(repositoryName=name)["imageDetails"]
    return bool(image["imageSizeInBytes"] != sum(map(len, layers)))


IN_A_PROCESS = {
    # Whether PutObject invokes the function before it returns.
    "collect_events": """
        import boto3, json
        from moto.awslambda.models import LambdaFunction
        invoked = []
        LambdaFunction.invoke = lambda function, *args, **settings: invoked.append(function)
        REPAIR
        from moto import mock_aws
        with mock_aws():
            session = boto3.Session("a", "b", region_name="us-east-1")
            role = session.client("iam").create_role(
                RoleName="r", AssumeRolePolicyDocument=json.dumps({})
            )["Role"]["Arn"]
            arn = session.client("lambda").create_function(
                FunctionName="f", Role=role, Runtime="python3.12", Handler="h.h",
                Code={"ZipFile": b"PK\\x05\\x06" + bytes(18)},
            )["FunctionArn"]
            s3 = session.client("s3")
            s3.create_bucket(Bucket="bucket")
            s3.put_bucket_notification_configuration(
                Bucket="bucket",
                NotificationConfiguration={
                    "LambdaFunctionConfigurations": [
                        {"LambdaFunctionArn": arn, "Events": ["s3:ObjectCreated:*"]}
                    ]
                },
            )
            s3.put_object(Bucket="bucket", Key="k", Body=b"x")
            print(len(invoked) == 1)
    """,
    # Whether moto still holds an object after its deletion.
    "forget_objects": """
        import gc, warnings
        from moto.s3.models import FakeKey, s3_backends
        REPAIR
        backend = s3_backends["123456789012"]["aws"]
        backend.create_bucket("bucket", "us-east-1")
        backend.put_object("bucket", "k", b"x")
        backend.delete_object("bucket", "k")
        gc.collect()
        print(any(isinstance(each, FakeKey) for each in gc.get_objects()))
    """,
    # Whether moto lists its folders again for the same host.
    "route_once": """
        from moto import backends
        listings, original = [], backends.list_of_moto_modules
        def listing():
            listings.append(1)
            return original()
        backends.list_of_moto_modules = listing
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication
        REPAIR
        app = DomainDispatcherApplication(lambda service: None)
        for _ in range(2):
            app.get_backend_for_host("s3.amazonaws.com")
        print(len(listings) == 2)
    """,
    # Whether moto parses the same time again.
    "parse_times_once": """
        from moto.core import serialize
        parsed, original = [], serialize.parse_to_aware_datetime
        def parse(value):
            parsed.append(value)
            return original(value)
        serialize.parse_to_aware_datetime = parse
        REPAIR
        for _ in range(2):
            serialize.parse_to_aware_datetime("2026-01-02")
        print(len(parsed) == 2)
    """,
    # Whether a message is received while another request changes the queue.
    "take_messages_in_turn": """
        from threading import Thread
        from moto.sqs.models import sqs_backends
        REPAIR
        backend = sqs_backends["123456789012"]["us-east-1"]
        queue = backend.create_queue("queue", {})
        backend.send_message("queue", "x")
        receiver = Thread(target=backend.receive_message, args=("queue", 1, 0, 30))
        with queue._messages_lock:
            receiver.start()
            receiver.join(0.5)
            print(not receiver.is_alive())
    """,
    # Whether moto computes all attributes of the queue to receive a message.
    "read_retention_alone": """
        from moto.sqs.models import Queue, sqs_backends
        computed, original = [], Queue.attributes.fget
        def attributes(queue):
            computed.append(1)
            return original(queue)
        Queue.attributes = property(attributes)
        REPAIR
        backend = sqs_backends["123456789012"]["us-east-1"]
        backend.create_queue("queue", {})
        backend.send_message("queue", "x")
        computed.clear()
        assert len(backend.receive_message("queue", 1, 0, 30)) == 1
        print(bool(computed))
    """,
}


REPAIRS_IN_A_PROCESS = {
    "collect_events": "from local_aws.moto_events import *; collect_events(PendingEvents())",
    "forget_objects": "from local_aws.disk_bodies import *; forget_objects()",
    "route_once": "from local_aws.moto_gaps import *; route_once()",
    "parse_times_once": "from local_aws.moto_gaps import *; parse_times_once()",
    "take_messages_in_turn": "from local_aws.moto_sqs import *; take_messages_in_turn()",
    "read_retention_alone": "from local_aws.moto_sqs import *; read_retention_alone()",
}


def observed_in_a_process(name: str, repair: str, folder: Path) -> bool:
    """What the program of this name prints, after the statement `repair`."""
    program = re.sub(r"^ {8}", "", IN_A_PROCESS[name], flags=re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-c", program.replace("REPAIR", repair)],
        cwd=folder,
        env=isolated({}),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return {"True\n": True, "False\n": False}[done.stdout]


def test_every_repair_has_a_gap() -> None:
    assert sorted(names()) == sorted([*GAPS, *IN_A_PROCESS])


@pytest.mark.parametrize("name", GAPS)
def test_moto_still_has_the_gap(moto: Cloud, name: str) -> None:
    assert GAPS[name](moto), f"moto no longer needs this repair: remove {name}"


@pytest.mark.parametrize("name", GAPS)
def test_the_repair_closes_the_gap(cloud: Cloud, name: str) -> None:
    assert not GAPS[name](cloud)


@pytest.mark.parametrize("name", IN_A_PROCESS)
def test_moto_still_has_the_inner_gap(name: str, root: Path) -> None:
    is_open = observed_in_a_process(name, "pass", root)

    assert is_open, f"moto no longer needs this repair: remove {name}"


@pytest.mark.parametrize("name", IN_A_PROCESS)
def test_the_repair_closes_the_inner_gap(name: str, root: Path) -> None:
    assert not observed_in_a_process(name, REPAIRS_IN_A_PROCESS[name], root)


def test_motos_s3_events_still_lack_what_is_added(moto: Cloud) -> None:
    bucket, url = watched_bucket(moto)
    moto.client("s3").put_object(Bucket=bucket, Key="a/b", Body=b"x")
    (record,) = records(moto, url)

    added = complete_s3_event({"Records": [json.loads(json.dumps(record))]}, 1)["Records"][0]

    def parts(record: dict[str, Any]) -> dict[str, Any]:
        return {
            "key": record["s3"]["object"]["key"],
            "sequencer": record["s3"]["object"].get("sequencer"),
            "ownerIdentity": record["s3"]["bucket"].get("ownerIdentity"),
            **{
                name: record.get(name)
                for name in ("userIdentity", "requestParameters", "responseElements")
            },
        }

    before, after = parts(record), parts(added)
    obsolete = [name for name in before if before[name] == after[name]]
    assert not obsolete, f"moto's events have {obsolete}: remove them from complete_s3_event"


def test_moto_still_lacks_get_account_settings(moto: Cloud) -> None:
    has_it = succeeds(moto.client("lambda").get_account_settings)

    assert not has_it, "moto has GetAccountSettings: remove it from the front door"


# What the repairs and the other users of moto rely on. If moto renames one, the test names it.
MOTO_SYMBOLS = (
    ("moto.awslambda.models", "LambdaFunction.invoke"),
    ("moto.awslambda.models", "LambdaFunction.update_configuration"),
    ("moto.awslambda.models", "LambdaFunction.get_configuration"),
    ("moto.awslambda.models", "LambdaFunction.get_code"),
    ("moto.awslambda.models", "LayerVersion.get_layer_version"),
    ("moto.awslambda.models", "LambdaBackend.create_function"),
    ("moto.awslambda.models", "LambdaBackend.publish_version"),
    ("moto.awslambda.models", "LambdaBackend.get_function"),
    ("moto.awslambda.models", "LambdaBackend.layers_versions_by_arn"),
    ("moto.awslambda.models", "LambdaBackend.put_function_event_invoke_config"),
    ("moto.awslambda.models", "LambdaBackend.get_function_event_invoke_config"),
    ("moto.awslambda.models", "ImageConfig"),
    ("moto.awslambda.policy", "Policy.add_statement"),
    ("moto.awslambda.utils", "get_backend"),
    ("moto.awslambda.exceptions", "UnknownFunctionException"),
    ("moto.awslambda.exceptions", "LambdaClientError"),
    ("moto.awslambda.exceptions", "InvalidParameterValueException"),
    ("moto.cloudwatch.models", "cloudwatch_backends"),
    ("moto.core.exceptions", "JsonRESTError"),
    ("moto.core.exceptions", "ServiceException"),
    ("moto.core.responses", "ActionResult"),
    ("moto.core.serialize", "S3Serializer._serialize_body"),
    ("moto.core.serialize", "parse_to_aware_datetime"),
    ("moto.ecr.exceptions", "ImageAlreadyExistsException"),
    ("moto.ecr.models", "ecr_backends"),
    ("moto.ecr.models", "ECRBackend.put_image"),
    ("moto.ecr.models", "Image.get_image_digest"),
    ("moto.ecr.models", "Image.get_image_size_in_bytes"),
    ("moto.ecr.models", "Repository"),
    ("moto.ecr.responses", "ECRResponse.get_authorization_token"),
    ("moto.iam.access_control", "IAMPolicy.is_action_permitted"),
    ("moto.iam.access_control", "PermissionResult.NEUTRAL"),
    ("moto.iam.models", "iam_backends"),
    ("moto.iam.models", "IAMBackend.get_user_from_access_key_id"),
    ("moto.iam.models", "IAMBackend.list_access_keys"),
    ("moto.iam.models", "IAMBackend.get_groups_for_user"),
    ("moto.iam.models", "IAMBackend.get_roles"),
    ("moto.iam.models", "Policy.update_default_version"),
    ("moto.logs.models", "logs_backends"),
    ("moto.logs.models", "LogsBackend.create_log_stream"),
    ("moto.logs.models", "LogsBackend.put_log_events"),
    ("moto.moto_server.werkzeug_app", "DomainDispatcherApplication.get_backend_for_host"),
    ("moto.moto_server.werkzeug_app", "MotoRequestHandler"),
    ("moto.moto_server.werkzeug_app", "create_backend_app"),
    ("moto.s3.exceptions", "S3ClientError"),
    ("moto.s3.models", "FakeKey.value"),
    ("moto.s3.models", "FakeKey.etag"),
    ("moto.s3.models", "FakeKey.dispose"),
    ("moto.s3.models", "FakeKey.instances_tracked"),
    ("moto.s3.models", "FakeMultipart.instances_tracked"),
    ("moto.s3.models", "FakeBucket.get_permission"),
    ("moto.s3.responses", "S3Response.get_object"),
    ("moto.s3.models", "S3Backend.put_bucket_notification_configuration"),
    ("moto.s3.responses", "S3Response._key_response"),
    ("moto.awslambda.models", "LambdaFunction._set_function_code"),
    ("moto.awslambda.models", "LambdaFunction.update_function_code"),
    ("moto.awslambda.models", "iso_8601_datetime_with_nanoseconds"),
    ("moto.cloudwatch.models", "CloudWatchBackend.get_all_metrics"),
    ("moto.cloudwatch.models", "CloudWatchBackend.get_metric_data"),
    ("moto.cloudwatch.models", "CloudWatchBackend.get_metric_statistics"),
    ("moto.cloudwatch.models", "MetricAggregatedDatum"),
    ("moto.cloudwatch.models", "Statistics.get_statistics_for_type"),
    ("moto.cloudwatch.responses", "CloudWatchResponse.get_metric_statistics"),
    ("moto.core.config", "default_user_config"),
    ("moto.core.request", "PRESERVED_HEADER_NAMES_ENVIRON_KEY"),
    ("moto.core.request", "environ_key_for_header"),
    ("moto.logs.models", "EventMessageFilter"),
    ("moto.logs.models", "LogsBackend.filter_log_events"),
    ("moto.logs.responses", "LogsResponse.filter_log_events"),
    ("moto.moto_server.utilities", "RegexConverter"),
    ("moto.s3.models", "S3Backend.put_object"),
    ("moto.s3.responses", "S3Response.setup_class"),
    ("moto.sqs.models", "sqs_backends"),
    ("moto.sqs.models", "SQSBackend.send_message"),
    ("moto.sqs.models", "SQSBackend.receive_message"),
    ("moto.sqs.models", "Queue.delete_message"),
    ("moto.sqs.models", "Queue.wait_for_messages"),
    ("moto.s3.notifications", "_send_sqs_message"),
    ("moto.awslambda.models", "EventSourceMapping"),
    ("moto.awslambda.models", "LambdaBackend.create_event_source_mapping"),
    ("moto.awslambda.models", "LambdaBackend.update_event_source_mapping"),
    ("moto.awslambda.models", "LambdaBackend.delete_event_source_mapping"),
    ("moto.awslambda.models", "LambdaStorage.get_function_by_name_or_arn_with_qualifier"),
    ("moto.awslambda.models", "LambdaStorage.get_function_by_name_or_arn_forbid_qualifier"),
    ("moto.awslambda.models", "LambdaStorage.list_versions_by_function"),
    ("moto.awslambda.models", "LambdaStorage._get_function_aliases"),
    ("moto.awslambda.models", "LambdaStorage.del_function"),
    ("moto.awslambda.exceptions", "ValidationException"),
    ("moto.awslambda.responses", "LambdaResponse._set_configuration_qualifier"),
    ("moto.iam.models", "IAMBackend.create_role"),
    ("moto.iam.policy_validation", "IAMTrustPolicyDocumentValidator"),
    ("moto.logs.responses", "LogsResponse.start_query"),
    ("moto.logs.responses", "LogsResponse.put_subscription_filter"),
    ("moto.s3.exceptions", "InvalidBucketName"),
    ("moto.s3.exceptions", "InvalidContinuationToken"),
    ("moto.s3.models", "FakeDeleteMarker"),
    ("moto.s3.models", "S3Backend.create_bucket"),
    ("moto.s3.models", "S3Backend.put_bucket_policy"),
    ("moto.s3.models", "S3Backend.list_objects"),
    ("moto.s3.models", "S3Backend.list_objects_v2"),
    ("moto.s3.responses", "S3Response._handle_range_header"),
    ("moto.s3.responses", "S3Response.serialized"),
    ("moto.sqs.exceptions", "SQSException"),
    ("moto.sqs.models", "SQSBackend.create_queue"),
    ("moto.sqs.models", "SQSBackend.set_queue_attributes"),
    ("moto.sts.exceptions", "STSClientError"),
    ("moto.sts.models", "STSBackend.get_caller_identity"),
    ("moto.sts.responses", "TokenResponse"),
    ("moto.sts.models", "STSBackend.assume_role"),
    ("moto.sts.models", "STSBackend.get_assumed_role_from_access_key"),
)


@pytest.mark.parametrize(("module", "path"), MOTO_SYMBOLS)
def test_moto_has_what_the_project_uses(module: str, path: str) -> None:
    found = import_module(module)
    for name in path.split("."):
        assert hasattr(found, name), f"{module}.{path}"
        found = getattr(found, name)
