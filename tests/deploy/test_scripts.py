"""The deploy scripts against the local AWS: run twice, run dry, and failing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import botocore.client
import pytest

from createS3 import bucket_settings
from pipeline.settings import Deployment
from tests.deploy.conftest import Account, image_uri

STEPS = (
    *("createS3.py", "deploy/failures.py", "deploy/roles.py", "deploy/layer.py"),
    *("deploy/functions.py", "deploy/trigger.py", "deploy/alarms.py"),
)
ELSEWHERE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/face-recognition:1"


def options_of(script: str, account: Account, deployment: Deployment) -> list[str]:
    zip_option = ["--zip", str(account.zip_path)]
    uri = image_uri(deployment)
    return {
        "deploy/layer.py": zip_option,
        "deploy/functions.py": [*zip_option, "--image-uri", uri],
        "deploy/deploy.py": [*zip_option, "--image-uri", uri],
    }.get(script, [])


@pytest.mark.slow
def test_each_step_runs_alone_and_a_second_run_changes_nothing(account: Account) -> None:
    deployment = account.deployment()

    for script in STEPS:
        for run in ("first", "second"):
            done = account.start(script, deployment, *options_of(script, account, deployment))
            assert done.returncode == 0, f"{script}, {run} run: {done.stderr}"
            lines = [line.strip() for line in done.stderr.splitlines() if line.startswith("  ")]
            assert lines, script
            if run == "second":
                assert [line for line in lines if not line.startswith("kept")] == [], script
        assert "Next: " in done.stderr, script

    everything = account.run(
        "deploy/deploy.py", deployment, *options_of("deploy/deploy.py", account, deployment)
    )
    assert "Done, 0 changes." in everything.stderr


def test_the_next_command_is_for_the_same_deployment(account: Account) -> None:
    deployment = account.deployment()
    place = ("--region", "eu-central-1", "--endpoint-url", account.aws.endpoint)

    made = account.run("createS3.py", deployment, *place)
    missing = account.run("deploy/failures.py", deployment, "list", *place)

    # THEN the command can be pasted: without the namespace it would create other functions
    options = f"--prefix {deployment.prefix} --namespace {deployment.namespace} {' '.join(place)}"
    assert f"then python3 deploy/failures.py {options}\n" in made.stderr
    assert f"run python3 deploy/failures.py {options}, or" in missing.stderr
    # AND so can the last step's
    account.run("deploy/failures.py", deployment, *place)
    script = options_of("deploy/deploy.py", account, deployment)
    uri = image_uri(deployment).replace("us-east-1", "eu-central-1")
    done = account.run("deploy/deploy.py", deployment, *place, *script[:2], "--image-uri", uri)
    assert f"Next: python3 workload/recognize.py {options} VIDEO.mp4\n" in done.stderr


@pytest.mark.parametrize("action", ["show", "redrive"])
def test_an_empty_failure_queue_is_reported(account: Account, action: str) -> None:
    deployment = account.deployment()
    account.run("deploy/failures.py", deployment)

    done = account.run("deploy/failures.py", deployment, action)

    assert done.returncode == 0
    assert f"Queue '{deployment.failure_queue}' is empty: nothing to {action}." in done.stderr


def test_a_dry_run_prints_what_it_would_do_and_changes_nothing(account: Account) -> None:
    before, deployment = account.inventory(), account.deployment()

    done = account.run(
        "deploy/deploy.py",
        deployment,
        "--dry-run",
        *options_of("deploy/deploy.py", account, deployment),
    )

    assert done.returncode == 0, done.stderr
    for thing in ("bucket", "queue", "role", "layer", "function", "trigger"):
        assert any(
            line.strip().startswith("Would") and thing in line for line in done.stderr.splitlines()
        ), thing
    assert account.inventory() == before


def test_the_deployed_functions_have_the_settings_of_the_deployment(account: Account) -> None:
    deployment = account.deployment()

    account.deploy(deployment)

    client = account.client("lambda")
    for function in deployment.functions:
        config = client.get_function_configuration(FunctionName=function.name)
        assert config["MemorySize"] == function.memory_mb
        assert config["Timeout"] == function.timeout_s
        assert config["Role"].endswith(f"/{function.role}")
        for name, value in function.environment.items():
            assert config["Environment"]["Variables"][name] == value
    notes = account.client("s3").get_bucket_notification_configuration(
        Bucket=deployment.input_bucket
    )["LambdaFunctionConfigurations"]
    (note,) = notes
    assert not note.get("Filter")  # every upload ends in an answer, a failure or a log line
    queue = account.client("sqs").get_queue_url(QueueName=deployment.failure_queue)["QueueUrl"]
    config = client.get_function_configuration(FunctionName=deployment.splitter.name)
    assert config["Environment"]["Variables"]["FAILURE_QUEUE_URL"] == queue
    (permission,) = json.loads(client.get_policy(FunctionName=deployment.splitter.name)["Policy"])[
        "Statement"
    ]
    conditions = json.dumps(permission["Condition"])
    assert f"arn:aws:s3:::{deployment.input_bucket}" in conditions
    assert "123456789012" in conditions


def test_the_buckets_are_private(account: Account) -> None:
    deployment, s3 = account.deployment(), account.client("s3")

    done = account.run("createS3.py", deployment, "--stage-1-days", "3")

    assert done.stdout.split() == list(deployment.buckets)
    for bucket in deployment.buckets:
        block = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        assert set(block.values()) == {True}
        (statement,) = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
        assert statement["Effect"] == "Deny"
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert s3.get_bucket_encryption(Bucket=bucket)
        rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        days = [rule["Expiration"]["Days"] for rule in rules if "Expiration" in rule]
        assert days == ([3] if bucket == deployment.stage_1_bucket else [])


def test_bucket_settings_made_by_somebody_else_are_kept(account: Account) -> None:
    # GIVEN a bucket with the user's own tag, policy statement and lifecycle rules
    deployment, s3 = account.deployment(), account.client("s3")
    bucket = deployment.stage_1_bucket
    s3.create_bucket(Bucket=bucket)
    tag = {"Key": "cost-center", "Value": "42"}
    statement = {
        "Sid": "KeepTheBucket",
        "Effect": "Deny",
        "Principal": {"AWS": "arn:aws:iam::123456789012:user/nobody"},
        "Action": "s3:DeleteBucket",
        "Resource": f"arn:aws:s3:::{bucket}",
    }
    policy = {"Version": "2008-10-17", "Id": "theirs", "Statement": statement}
    rule = {"ID": "logs", "Status": "Enabled", "Expiration": {"Days": 90}}
    rules = [{**rule, "Prefix": "logs/"}, {**rule, "ID": "expiry", "Prefix": ""}]
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [tag]})
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})

    runs = [account.run("createS3.py", deployment) for _ in range(2)]

    # THEN they are all kept, and ours are added (or replace the ones with our names)
    assert [done.returncode for done in runs] == [0, 0], [done.stderr for done in runs]
    assert [tag["Key"] for tag in s3.get_bucket_tagging(Bucket=bucket)["TagSet"]] == [
        *("cost-center", "project")
    ]
    found = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
    assert (found["Version"], found["Id"]) == ("2008-10-17", "theirs")
    assert found["Statement"][0] == statement
    assert [s["Sid"] for s in found["Statement"]] == ["KeepTheBucket", "RefusePlainHttp"]
    left = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    # S3 does not mix rules with and without a filter, so theirs now has a filter
    assert left[0] == {**rule, "Filter": {"Prefix": "logs/"}}
    assert {r["ID"]: r.get("Expiration", {}).get("Days") for r in left} == {
        **{"logs": 90, "expiry": 7, "unfinished-uploads": None}
    }
    # AND the second run changed nothing
    lines = [line for line in runs[1].stderr.splitlines() if line.startswith("  ")]
    assert [line for line in lines if not line.startswith("  kept")] == []

    # WHEN ours is changed, THEN it is restored and theirs is not touched
    s3.put_bucket_tagging(
        Bucket=bucket, Tagging={"TagSet": [{"Key": "project", "Value": "other"}, tag]}
    )
    account.run("createS3.py", deployment)
    tags = {t["Key"]: t["Value"] for t in s3.get_bucket_tagging(Bucket=bucket)["TagSet"]}
    assert tags == {"project": "video-face-recognition", "cost-center": "42"}


def test_the_minimum_object_size_of_lifecycle_rules_is_kept() -> None:
    # GIVEN a setting that S3 resets if a call omits it, and that an older boto3 does not know
    *_, lifecycle = bucket_settings("b", "aws", None)
    smallest = {"TransitionDefaultMinimumObjectSize": "varies_by_storage_class"}

    assert smallest.items() <= lifecycle.wanted({"ResponseMetadata": {}, **smallest}).items()
    assert set(lifecycle.wanted({"ResponseMetadata": {}})) == {"LifecycleConfiguration"}


@pytest.mark.parametrize("has_old_boto3", [False, True])
def test_a_bucket_in_another_region_is_an_error(
    account: Account, has_old_boto3: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_old_boto3:  # GIVEN a boto3 that does not parse the region out of the headers
        real = vars(botocore.client.BaseClient)["_make_api_call"]

        def make_api_call(client: Any, name: str, params: Any) -> Any:
            answer = real(client, name, params)
            answer.pop("BucketRegion", None)
            return answer

        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", make_api_call)
    deployment = account.deployment()
    account.client("s3", "eu-west-1").create_bucket(
        Bucket=deployment.input_bucket,
        CreateBucketConfiguration={"LocationConstraint": "eu-west-1"},
    )

    done = account.run("createS3.py", deployment)

    assert done.returncode == 1
    assert "is in region eu-west-1, not us-east-1: pass --region eu-west-1" in done.stderr
    assert "Traceback" not in done.stderr


def test_buckets_are_created_in_the_given_region(account: Account) -> None:
    deployment = account.deployment()

    done = account.run("createS3.py", deployment, "--region", "ap-southeast-2")

    assert done.returncode == 0, done.stderr
    place = account.client("s3").get_bucket_location(Bucket=deployment.input_bucket)
    assert place["LocationConstraint"] == "ap-southeast-2"


def test_a_bucket_that_these_credentials_cannot_see_counts_as_taken(account: Account) -> None:
    deployment, iam = account.deployment(), account.client("iam")
    account.client("s3").create_bucket(Bucket=deployment.input_bucket)
    user = f"{deployment.prefix}-user"
    iam.create_user(UserName=user)
    statements = [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {
            "Effect": "Deny",
            "Action": "s3:*",
            "Resource": f"arn:aws:s3:::{deployment.input_bucket}",
        },
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=policy)
    key = iam.create_access_key(UserName=user)["AccessKey"]

    done = account.run(
        "createS3.py",
        deployment,
        AWS_ACCESS_KEY_ID=key["AccessKeyId"],
        AWS_SECRET_ACCESS_KEY=key["SecretAccessKey"],
    )

    assert done.returncode == 1
    assert f"Cannot create bucket '{deployment.input_bucket}': the name is taken" in done.stderr
    assert "Try another --prefix." in done.stderr


@pytest.mark.parametrize(
    ("script", "options", "message"),
    [
        ("deploy/layer.py", ["--zip", "no.zip"], "run ./install_ffmpeg.sh"),
        ("deploy/functions.py", ["--zip", "ZIP"], "no image was given: pass --image-uri"),
        ("deploy/trigger.py", [], "There is no function 'NAMESPACE-video-splitting': run python3"),
        ("deploy/functions.py", ["--set", "video-splitting.FARMES=2"], "has no setting 'FARMES'"),
        ("createS3.py", ["--profile", "nobody"], "nobody"),
        (
            "deploy/functions.py",
            ["--zip", "ZIP", "--image-uri", "python:3.12"],
            "Lambda takes images from private ECR only, not python:3.12",
        ),
        (
            "deploy/functions.py",
            ["--zip", "ZIP", "--image-uri", ELSEWHERE],
            "is in region eu-west-1, but the function is in us-east-1",
        ),
        ("deploy/roles.py", ["--set", "face-recognition.GALLERY_URI=data.pt"], "use s3://BUCKET"),
        ("deploy/failures.py", ["list"], "There is no queue 'PREFIX-failures' in us-east-1"),
        ("deploy/deploy.py", ["--zip", "ZIP"], "There is no gallery"),
        ("deploy/deploy.py", ["--zip", "ZIP", "--platform", "arm64"], "pass --platform x86_64"),
    ],
)
def test_the_error_names_what_is_missing(
    account: Account, script: str, options: list[str], message: str
) -> None:
    deployment = account.deployment()
    if script != "createS3.py":
        assert account.run("createS3.py", deployment).returncode == 0
    options = [str(account.zip_path) if option == "ZIP" else option for option in options]

    done = account.run(script, deployment, *options)

    assert done.returncode == 1
    assert _named(message, deployment) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--zip", "no.zip"], "There is no no.zip: run ./install_ffmpeg.sh first"),
        (["--zip", "ZIP"], "make one with python3 face-recognition/enroll.py PEOPLE_DIR"),
        (["--zip", "ZIP", "--platform", "arm64"], "./install_ffmpeg.sh --arch arm64 --force"),
        (["--zip", "ZIP", "--image-uri", ELSEWHERE], "run deploy/image.py --region us-east-1"),
    ],
)
def test_nothing_is_created_if_an_input_is_missing(
    account: Account, options: list[str], message: str, dry_run: tuple[str, ...]
) -> None:
    deployment, before = account.deployment(), account.inventory()
    options = [str(account.zip_path) if option == "ZIP" else option for option in options]

    done = account.run("deploy/deploy.py", deployment, *options, *dry_run)

    assert done.returncode == 1
    assert message in done.stderr
    assert "Would" not in done.stderr
    assert account.inventory() == before


def _named(message: str, deployment: Deployment) -> str:
    return message.replace("NAMESPACE", deployment.namespace).replace("PREFIX", deployment.prefix)


def test_wrong_keys_are_explained(account: Account) -> None:
    done = account.run("createS3.py", account.deployment(), AWS_SECRET_ACCESS_KEY="wrong")

    assert done.returncode == 1
    assert "The secret key does not match the access key" in done.stderr
    assert "Traceback" not in done.stderr


HELPED = (
    *(*STEPS, "deploy/deploy.py", "deploy/image.py", "deploy/doctor.py", "deploy/status.py"),
    "deploy/logs.py",
)


@pytest.mark.parametrize("script", [*HELPED, "deploy/destroy.py", "deploy/prune.py"])
def test_help_has_a_command_to_paste(account: Account, script: str) -> None:
    done = account.run_alone(script, "--help")

    assert done.returncode == 0
    assert f"python3 {script} --prefix 1225111111" in " ".join(done.stdout.split())


def test_the_scripts_run_from_any_folder(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    done = account.start("deploy/roles.py", account.deployment())

    assert done.returncode == 0, done.stderr
