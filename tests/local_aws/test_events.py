"""Asynchronous invocations: S3 events, retries, and the failure queue."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws.process import LocalAWS
from tests.local_aws.conftest import ANYTHING, Cloud
from tests.local_aws.oci_images import RegistryUser, layer

STORES = (
    "import boto3, json\ns3 = boto3.client('s3')\n"
    "def handler(event, context):\n"
    "    for n, record in enumerate(event['Records']):\n"
    "        key = record['s3']['object']['eTag'] + '.json'\n"
    "        s3.put_object(Bucket='BUCKET', Key=key, Body=json.dumps(record))\n"
)
FAILS = (
    "import boto3\ns3 = boto3.client('s3')\n"
    "def handler(event, context):\n    raise RuntimeError('always')\n"
)


def subscribe(cloud: Cloud, bucket: str, function: str) -> None:
    cloud.client("lambda").add_permission(
        FunctionName=function,
        StatementId="s3",
        Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com",
        SourceArn=f"arn:aws:s3:::{bucket}",
        SourceAccount="123456789012",
    )
    notify(cloud, bucket, function)


def notify(cloud: Cloud, bucket: str, function: str) -> None:
    cloud.client("s3").put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={
            "LambdaFunctionConfigurations": [
                {
                    "LambdaFunctionArn": cloud.arn(function),
                    "Events": ["s3:ObjectCreated:*"],
                    "Filter": {"Key": {"FilterRules": [{"Name": "suffix", "Value": ".mp4"}]}},
                }
            ]
        },
    )


def wait_for(cloud: Cloud, bucket: str, key: str) -> dict[str, Any]:
    s3 = cloud.client("s3")
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        try:
            record: dict[str, Any] = json.load(s3.get_object(Bucket=bucket, Key=key)["Body"])
            return record
        except s3.exceptions.NoSuchKey:
            time.sleep(0.05)
    pytest.fail(f"no {key}")


@pytest.mark.parametrize(
    ("key", "encoded"),
    [
        ("a.mp4", "a.mp4"),
        ("a b/c+d.mp4", "a+b/c%2Bd.mp4"),
        ("ü/名.mp4", "%C3%BC/%E5%90%8D.mp4"),
    ],
)
def test_an_upload_invokes_the_function_with_an_s3_event(
    cloud: Cloud, key: str, encoded: str
) -> None:
    s3, source, target = cloud.client("s3"), cloud.name("source"), cloud.name("target")
    for bucket in (source, target):
        s3.create_bucket(Bucket=bucket)
    subscribe(cloud, source, cloud.function(STORES.replace("BUCKET", target)))

    s3.put_object(Bucket=source, Key="ignored.txt", Body=b"no video")
    etag = s3.put_object(Bucket=source, Key=key, Body=b"12345")["ETag"].strip('"')

    record = wait_for(cloud, target, f"{etag}.json")
    assert record["s3"]["object"]["key"] == encoded
    assert record["s3"]["object"]["size"] == 5
    assert record["s3"]["object"]["sequencer"]
    assert record["s3"]["bucket"]["name"] == source
    assert record["eventName"] == "ObjectCreated:Put"
    assert record["userIdentity"]["principalId"]
    assert len(s3.list_objects_v2(Bucket=target)["Contents"]) == 1


def test_a_multipart_upload_invokes_the_function_once(cloud: Cloud) -> None:
    s3, source, target = cloud.client("s3"), cloud.name("source"), cloud.name("target")
    for bucket in (source, target):
        s3.create_bucket(Bucket=bucket)
    by_name = STORES.replace("BUCKET", target).replace(
        "['eTag'] + '.json'", "['key'] + record['eventName']"
    )
    assert by_name != STORES
    subscribe(cloud, source, cloud.function(by_name))
    upload = s3.create_multipart_upload(Bucket=source, Key="big.mp4")["UploadId"]
    parts = []
    for number, body in ((1, b"a" * 5_242_880), (2, b"b" * 100)):
        answer = s3.upload_part(
            Bucket=source, Key="big.mp4", UploadId=upload, PartNumber=number, Body=body
        )
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})

    done = s3.complete_multipart_upload(
        Bucket=source, Key="big.mp4", UploadId=upload, MultipartUpload={"Parts": parts}
    )

    record = wait_for(cloud, target, "big.mp4ObjectCreated:CompleteMultipartUpload")
    assert record["s3"]["object"]["size"] == 5_242_980
    assert record["s3"]["object"]["eTag"] == done["ETag"].strip('"')
    s3.put_object(
        Bucket=source, Key="next.mp4", Body=b"1"
    )  # a second event would have arrived by now
    wait_for(cloud, target, "next.mp4ObjectCreated:Put")
    assert len(s3.list_objects_v2(Bucket=target)["Contents"]) == 2


def test_a_failing_event_is_retried_twice_and_then_reported(cloud: Cloud) -> None:
    queue = cloud.name("queue")
    url = cloud.client("sqs").create_queue(QueueName=queue)["QueueUrl"]
    name, client = cloud.function(FAILS), cloud.client("lambda")
    destination = f"arn:aws:sqs:us-east-1:123456789012:{queue}"
    client.put_function_event_invoke_config(
        FunctionName=name, DestinationConfig={"OnFailure": {"Destination": destination}}
    )

    client.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"my": "event"}')

    (message,) = cloud.client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=10)["Messages"]
    report = json.loads(message["Body"])
    assert report["requestContext"]["condition"] == "RetriesExhausted"
    assert report["requestContext"]["approximateInvokeCount"] == 3
    assert report["requestContext"]["functionArn"] == f"{cloud.arn(name)}:$LATEST"
    assert report["requestPayload"] == {"my": "event"}
    assert report["responsePayload"]["errorMessage"] == "always"


def test_without_retries_an_event_is_tried_once(cloud: Cloud) -> None:
    queue = cloud.name("queue")
    url = cloud.client("sqs").create_queue(QueueName=queue)["QueueUrl"]
    name, client = cloud.function(FAILS), cloud.client("lambda")
    client.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=2)
    client.put_function_event_invoke_config(
        FunctionName=name,
        MaximumRetryAttempts=0,
        DestinationConfig={
            "OnFailure": {"Destination": f"arn:aws:sqs:us-east-1:123456789012:{queue}"}
        },
    )

    client.invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")

    (message,) = cloud.client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=10)["Messages"]
    assert json.loads(message["Body"])["requestContext"]["approximateInvokeCount"] == 1


def test_an_event_for_a_function_without_code_is_reported(cloud: Cloud) -> None:
    queue, name = cloud.name("queue"), cloud.name("function")
    url = cloud.client("sqs").create_queue(QueueName=queue)["QueueUrl"]
    client, ecr = cloud.client("lambda"), cloud.client("ecr")
    uri = ecr.create_repository(repositoryName="gone")["repository"]["repositoryUri"]
    RegistryUser.of(ecr).push("gone", "1", b'{"config": {"Cmd": ["x"]}}', [layer()])
    client.create_function(
        FunctionName=name,
        PackageType="Image",
        Code={"ImageUri": f"{uri}:1"},
        Role=cloud.role(ANYTHING),
    )
    ecr.delete_repository(repositoryName="gone", force=True)
    client.put_function_event_invoke_config(
        FunctionName=name,
        DestinationConfig={
            "OnFailure": {"Destination": f"arn:aws:sqs:us-east-1:123456789012:{queue}"}
        },
    )

    client.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"my": "event"}')

    (message,) = cloud.client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=10)["Messages"]
    report = json.loads(message["Body"])
    assert report["requestPayload"] == {"my": "event"}
    assert "has not been pushed" in report["responsePayload"]["errorMessage"]


def test_events_of_a_deleted_function_are_dropped(cloud: Cloud) -> None:
    name, client = cloud.function(FAILS), cloud.client("lambda")
    client.invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")

    client.delete_function(FunctionName=name)

    dropped = re.compile(rf"event \S+ is dropped: Function not found: {cloud.arn(name)}\n")
    deadline = time.monotonic() + 15
    while not dropped.search(cloud.aws.log_path.read_text()):
        assert time.monotonic() < deadline, cloud.aws.log_path.read_text()[-2000:]
        time.sleep(0.05)


def test_a_failure_report_needs_permission_to_send(cloud: Cloud) -> None:
    queue = cloud.name("queue")
    url = cloud.client("sqs").create_queue(QueueName=queue)["QueueUrl"]
    name = cloud.function(FAILS, Role=cloud.role([]))
    cloud.client("lambda").put_function_event_invoke_config(
        FunctionName=name,
        MaximumRetryAttempts=0,
        DestinationConfig={
            "OnFailure": {"Destination": f"arn:aws:sqs:us-east-1:123456789012:{queue}"}
        },
    )

    cloud.client("lambda").invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")

    deadline = time.monotonic() + 15
    while f"the failure of {name} cannot be reported" not in cloud.aws.log_path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "Messages" not in cloud.client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=1)


@pytest.mark.parametrize("kind", ["no function", "no permission", "another bucket's"])
def test_an_undeliverable_notification_is_refused(cloud: Cloud, kind: str) -> None:
    bucket = cloud.name("bucket")
    cloud.client("s3").create_bucket(Bucket=bucket)
    name = "nobody" if kind == "no function" else cloud.function(FAILS)
    if kind == "another bucket's":
        cloud.client("s3").create_bucket(Bucket=f"{bucket}-other")
        subscribe(cloud, f"{bucket}-other", name)

    with pytest.raises(ClientError, match="Unable to validate the following destination"):
        notify(cloud, bucket, name)


def test_invalid_changes_to_a_function_are_refused(cloud: Cloud) -> None:
    client, name = cloud.client("lambda"), cloud.function(FAILS)
    permission = {
        "FunctionName": name,
        "StatementId": "one",
        "Action": "lambda:InvokeFunction",
        "Principal": "s3.amazonaws.com",
    }
    client.add_permission(**permission)
    with pytest.raises(client.exceptions.ResourceConflictException):
        client.add_permission(**permission)
    with pytest.raises(client.exceptions.InvalidParameterValueException, match="128 and 10240"):
        client.update_function_configuration(FunctionName=name, MemorySize=64000)
    role = "arn:aws:iam::123456789012:role/nobody"
    with pytest.raises(ClientError, match="cannot be assumed by Lambda"):
        client.update_function_configuration(FunctionName=name, Role=role)


def test_too_much_user_metadata_is_refused(cloud: Cloud) -> None:
    s3, place = cloud.client("s3"), {"Bucket": "metadata-limit", "Key": "a"}
    s3.create_bucket(Bucket=place["Bucket"])

    s3.put_object(**place, Body=b"fits", Metadata={"name": "x" * 2044})
    for write in (s3.put_object, s3.create_multipart_upload):
        with pytest.raises(ClientError, match=r"MetadataTooLarge.*exceed the maximum") as raised:
            write(**place, Metadata={"name": "x" * 2045})
        assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400

    assert s3.get_object(**place)["Body"].read() == b"fits"


def test_updated_settings_are_kept(cloud: Cloud) -> None:
    client, name = cloud.client("lambda"), cloud.function(FAILS, Role=cloud.role(ANYTHING))

    client.update_function_configuration(
        FunctionName=name, EphemeralStorage={"Size": 1024}, Environment={}
    )

    config = client.get_function_configuration(FunctionName=name)
    assert config["EphemeralStorage"] == {"Size": 1024}
    assert client.get_account_settings()["AccountLimit"]["ConcurrentExecutions"] == 1000


def test_reserved_concurrency_is_counted_and_100_stay_unreserved(
    started: Callable[..., LocalAWS],
) -> None:
    # GIVEN a separate account with three functions
    cloud = Cloud(started())
    client, names = cloud.client("lambda"), [cloud.function(FAILS) for _ in range(3)]

    def unreserved(region: str = cloud.aws.region) -> int:
        there = cloud.client("lambda", region=region)
        limits = there.get_account_settings()["AccountLimit"]
        assert limits["ConcurrentExecutions"] == 1000
        return int(limits["UnreservedConcurrentExecutions"])

    def reserve(name: str, number: int) -> None:
        client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=number)

    assert unreserved() == 1000

    # WHEN two functions reserve everything that can be reserved
    reserve(names[0], 300)
    reserve(names[1], 600)

    # THEN the third can reserve nothing, and the second the same or less, but not more
    assert unreserved() == 100
    assert unreserved("eu-west-1") == 1000
    for name, number in ((names[2], 1), (names[1], 601)):
        with pytest.raises(client.exceptions.InvalidParameterValueException) as refused:
            reserve(name, number)
        assert refused.value.response["Error"]["Message"] == (
            "Specified ReservedConcurrentExecutions for function decreases account's "
            "UnreservedConcurrentExecution below its minimum value of [100]."
        )
    assert unreserved() == 100
    reserve(names[1], 600)
    reserve(names[1], 500)
    assert unreserved() == 200
    # AND concurrency that is released, or whose function is deleted, can be reserved again
    client.delete_function_concurrency(FunctionName=names[0])
    client.delete_function(FunctionName=names[1])
    assert unreserved() == 1000
