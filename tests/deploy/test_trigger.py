"""How uploads start the splitter: at once, or through a queue in a small account."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from deploy.parts.upload_queue import TIMEOUTS
from local_aws.process import LocalAWS
from pipeline.settings import Deployment
from tests.deploy.conftest import Account, see_limit


@pytest.fixture(scope="module")
def small(account: Account, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """An account that may run ten functions at once."""
    image = tmp_path_factory.mktemp("image")
    (image / "handler.py").write_text("def handler(event, context):\n    return event\n")
    images = {f"n{number}-face-recognition": image for number in range(20)}
    with LocalAWS(images=images, account_concurrency=10) as aws:
        yield Account(aws, account.zip_path)


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets the scripts see another limit of the account."""
    return partial(see_limit, monkeypatch)


class Way:
    """What an upload of a deployment passes through."""

    def __init__(self, account: Account, deployment: Deployment) -> None:
        self.account, self.deployment = account, deployment

    def notification(self) -> Any:
        found = self.account.client("s3").get_bucket_notification_configuration(
            Bucket=self.deployment.input_bucket
        )
        return {key: value for key, value in found.items() if key != "ResponseMetadata"}

    def target(self) -> str:
        (configs,) = self.notification().values()
        (config,) = configs
        assert config["Events"] == ["s3:ObjectCreated:*"]
        return str(config.get("QueueArn") or config["LambdaFunctionArn"]).rpartition(":")[2]

    def attributes(self) -> Any:
        sqs = self.account.client("sqs")
        try:
            url = sqs.get_queue_url(QueueName=self.deployment.upload_queue)["QueueUrl"]
        except sqs.exceptions.QueueDoesNotExist:
            return None
        answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        return {**answer["Attributes"], "url": url}

    def mappings(self) -> Any:
        client = self.account.client("lambda")
        return client.list_event_source_mappings(FunctionName=self.deployment.splitter.name)[
            "EventSourceMappings"
        ]

    def may_invoke(self) -> bool:
        client = self.account.client("lambda")
        try:
            policy = client.get_policy(FunctionName=self.deployment.splitter.name)["Policy"]
        except client.exceptions.ResourceNotFoundException:
            return False
        return bool(json.loads(policy)["Statement"])

    def rights(self) -> dict[str, Any]:
        policy = self.account.client("iam").get_role_policy(
            RoleName=self.deployment.splitter.role, PolicyName="permissions"
        )["PolicyDocument"]
        return {s["Sid"]: s for s in policy["Statement"]}


def test_in_a_small_account_uploads_wait_in_a_queue(small: Account) -> None:
    deployment = small.deployment()
    way = Way(small, deployment)

    said = small.deploy(deployment)

    # THEN S3 sends to the queue, and nothing else does
    assert way.target() == deployment.upload_queue
    found = way.attributes()
    (statement,) = json.loads(found["Policy"])["Statement"]
    assert statement["Principal"] == {"Service": "s3.amazonaws.com"}
    assert statement["Condition"] == {
        "ArnEquals": {"aws:SourceArn": f"arn:aws:s3:::{deployment.input_bucket}"},
        "StringEquals": {"aws:SourceAccount": "123456789012"},
    }
    assert int(found["VisibilityTimeout"]) == TIMEOUTS * deployment.splitter.timeout_s
    redrive = json.loads(found["RedrivePolicy"])
    assert redrive["deadLetterTargetArn"].endswith(f":{deployment.failure_queue}")
    assert int(redrive["maxReceiveCount"]) == 5
    # AND Lambda takes one upload at a time for each of five splitters, which report failures
    (mapping,) = way.mappings()
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 5}
    assert (mapping["BatchSize"], mapping["FunctionResponseTypes"]) == (
        1,
        ["ReportBatchItemFailures"],
    )
    # AND the role may take messages of that queue only; S3 may not invoke the function
    assert way.rights()["TakeUploads"]["Resource"] == [found["QueueArn"]]
    assert not way.may_invoke()
    assert "Uploads wait in a queue, and Lambda works on 5 videos at a time" in said
    # AND all scripts agree
    assert "Done, 0 changes." in small.deploy(deployment)
    doctor = small.run("deploy/doctor.py", deployment, "--zip", str(small.zip_path)).stdout
    assert " trigger: " in doctor
    assert f"queue of uploads: {deployment.upload_queue}, 0 waiting, 5 at a time" in doctor
    assert "FAILED" not in doctor
    status = small.run("deploy/status.py", deployment)
    assert "Everything matches" in status.stdout, status.stdout
    assert f"queue '{deployment.upload_queue}' (0 messages)" in status.stdout
    assert "event source '" in status.stdout


def test_destroying_takes_the_queue_and_its_event_source(small: Account) -> None:
    deployment = small.deployment()
    small.deploy(deployment)

    done = small.run("deploy/destroy.py", deployment, "--yes")

    assert done.returncode == 0, done.stderr
    assert Way(small, deployment).attributes() is None
    every = small.client("lambda").list_event_source_mappings()["EventSourceMappings"]
    assert not [m for m in every if deployment.upload_queue in m["EventSourceArn"]]


def test_a_larger_account_needs_no_queue(account: Account) -> None:
    deployment = account.deployment()
    way = Way(account, deployment)

    account.deploy(deployment)

    assert way.target() == deployment.splitter.name
    assert (way.attributes(), way.mappings()) == (None, [])
    assert way.may_invoke()
    assert "TakeUploads" not in way.rights()


def test_a_switch_adds_first_and_removes_after_some_minutes(
    account: Account, limit: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def minutes_pass(many: bool) -> None:
        monkeypatch.setattr("deploy.trigger.SWITCHING_S", 0 if many else 600)

    deployment = account.deployment()
    way = Way(account, deployment)
    account.deploy(deployment)

    # WHEN nothing can be reserved any more
    limit(10)
    account.client("lambda").delete_function_concurrency(FunctionName=deployment.splitter.name)
    said = account.deploy(deployment)

    # THEN the queue is used, and S3 may go on invoking the splitter for some minutes
    assert way.target() == deployment.upload_queue
    assert len(way.mappings()) == 1
    assert way.may_invoke()
    assert said.index("create  event source") < said.index("set     trigger")
    assert "S3 may use it for 10 more minutes" in said
    assert "Done, 0 changes." in account.deploy(deployment)
    assert way.may_invoke()
    minutes_pass(many=True)
    assert "Done, 1 change." in account.deploy(deployment)
    assert not way.may_invoke()
    assert "Done, 0 changes." in account.deploy(deployment)

    # WHEN the quota is raised while uploads wait, which Lambda does not read at the moment
    (mapping,) = way.mappings()
    switch = account.client("lambda").update_event_source_mapping
    switch(UUID=mapping["UUID"], Enabled=False)
    sqs, url = account.client("sqs"), way.attributes()["url"]
    sqs.send_message(QueueUrl=url, MessageBody='{"Event": "s3:TestEvent"}')
    limit(1000)
    minutes_pass(many=False)
    said = account.deploy(deployment)

    # THEN the bucket starts the splitter itself, and everything else is left
    assert way.target() == deployment.splitter.name
    assert said.index("permission of bucket") < said.index("set     trigger")
    assert len(way.mappings()) == 1
    assert "TakeUploads" in way.rights()
    assert "Done, 0 changes." in account.deploy(deployment)
    # AND also some minutes later, as an upload waits
    minutes_pass(many=True)
    assert "which has 1 upload:" in account.deploy(deployment)
    assert len(way.mappings()) == 1

    # WHEN nothing waits any more
    sqs.purge_queue(QueueUrl=url)
    said = account.deploy(deployment)

    # THEN what read the queue goes before the queue, and the right goes last
    order = ("remove  event source", "delete  queue", "remove  rights")
    assert [said.index(text) for text in order] == sorted(said.index(text) for text in order)
    assert (way.attributes(), way.mappings()) == (None, [])
    assert "TakeUploads" not in way.rights()
    assert "Done, 0 changes." in account.deploy(deployment)


def test_other_notifications_of_the_bucket_are_kept(
    account: Account, limit: Callable[[int], None]
) -> None:
    deployment = account.deployment()
    way = Way(account, deployment)
    account.deploy(deployment)
    (ours,) = way.notification()["LambdaFunctionConfigurations"]
    other = {**ours, "Id": "theirs", "Events": ["s3:ObjectRemoved:*"]}
    account.client("s3").put_bucket_notification_configuration(
        Bucket=deployment.input_bucket,
        NotificationConfiguration={"LambdaFunctionConfigurations": [ours, other]},
    )

    limit(10)
    account.deploy(deployment)

    found = way.notification()
    assert [c["Id"] for c in found["LambdaFunctionConfigurations"]] == ["theirs"]
    assert [c["Id"] for c in found["QueueConfigurations"]] == [ours["Id"]]


def test_the_doctor_names_what_is_missing_of_the_queue(small: Account) -> None:
    deployment = small.deployment()
    way = Way(small, deployment)
    small.deploy(deployment)

    def doctor() -> list[str]:
        lines = small.run(
            "deploy/doctor.py", deployment, "--zip", str(small.zip_path)
        ).stdout.splitlines()
        return [line for line in lines if line.startswith("FAILED")]

    sqs, url = small.client("sqs"), way.attributes()["url"]
    policy = way.attributes()["Policy"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": ""})
    (line,) = doctor()
    assert f"policy of queue '{deployment.upload_queue}' does not let" in line
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})

    (mapping,) = way.mappings()
    client = small.client("lambda")
    client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    (line,) = doctor()
    assert "Lambda does not read queue" in line
    assert "Disabled" in line
    assert "update  event source" in small.run("deploy/trigger.py", deployment).stderr
    assert doctor() == []

    client.delete_event_source_mapping(UUID=mapping["UUID"])
    assert [line for line in doctor() if "Lambda does not read queue" in line]
    sqs.delete_queue(QueueUrl=url)
    assert [line for line in doctor() if "uploads are lost" in line]


def test_failures_are_redriven_through_the_queue(small: Account) -> None:
    deployment = small.deployment()
    way = Way(small, deployment)
    small.deploy(deployment)
    sqs = small.client("sqs")
    failures = sqs.get_queue_url(QueueName=deployment.failure_queue)["QueueUrl"]
    (mapping,) = way.mappings()
    small.client("lambda").update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    # GIVEN an upload that SQS itself gave up on, and a message that holds no event
    record = {"s3": {"bucket": {"name": deployment.input_bucket}, "object": {"key": "a+b.mp4"}}}
    sqs.send_message(QueueUrl=failures, MessageBody=json.dumps({"Records": [record]}))
    sqs.send_message(QueueUrl=failures, MessageBody="hello")
    listed = small.run("deploy/failures.py", deployment, "list").stdout
    assert f"s3://{deployment.input_bucket}/a b.mp4  the splitter never finished" in listed

    said = small.run("deploy/failures.py", deployment, "redrive").stderr

    assert "it holds no event" in said
    assert len(small.run("deploy/failures.py", deployment, "list").stdout.splitlines()) == 1
    url = way.attributes()["url"]
    bodies = []
    while found := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        bodies += [json.loads(message["Body"]) for message in found]
    assert {"Records": [record]} in bodies
