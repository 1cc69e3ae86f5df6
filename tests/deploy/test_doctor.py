"""The doctor looks at what is deployed, and reports one fault in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from deploy.parts.checks import Check
from pipeline.settings import Deployment
from tests.deploy.conftest import DOCKER, REGISTRY, Account, put_image, save_gallery


@pytest.fixture
def deployed(account: Account) -> Deployment:
    """A complete deployment."""
    deployment = account.deployment()
    account.deploy(deployment)
    return deployment


def doctor(account: Account, deployment: Deployment, *options: str, **environ: str) -> Any:
    zip_option = ("--zip", str(account.zip_path))
    return account.run("deploy/doctor.py", deployment, *zip_option, *options, **environ)


def failed(text: str) -> list[str]:
    """Return the failed checks, with their details."""
    lines = [line for line in text.splitlines() if line.startswith("FAILED")]
    return [line.removeprefix("FAILED ") for line in lines]


def set_variable(account: Account, name: str, key: str, value: str) -> None:
    """Change one environment variable of a function, as in the console."""
    client = account.client("lambda")
    config = client.get_function_configuration(FunctionName=name)
    variables = {**config["Environment"]["Variables"], key: value}
    client.update_function_configuration(FunctionName=name, Environment={"Variables": variables})


Break = Callable[[Account, Deployment], object]


def no_policy(role: str) -> Break:
    def delete(account: Account, deployment: Deployment) -> None:
        name = getattr(deployment, role).role
        account.client("iam").delete_role_policy(RoleName=name, PolicyName="permissions")

    return delete


def call(service: str, method: str, **words: str) -> Break:
    """Return a call of a boto3 client; words name attributes of the deployment's functions."""

    def make(account: Account, deployment: Deployment) -> object:
        places = {
            "splitter": deployment.splitter.name,
            "recognizer": deployment.recognizer.name,
            "input": deployment.input_bucket,
        }
        client = account.client(service)
        return getattr(client, method)(**{k: places.get(v, v) for k, v in words.items()})

    return make


def set_to(function: str, key: str, value: str) -> Break:
    return lambda account, deployment: set_variable(
        account, getattr(deployment, function).name, key, value
    )


def no_queue(account: Account, deployment: Deployment) -> None:
    sqs = account.client("sqs")
    url = sqs.get_queue_url(QueueName=deployment.failure_queue)["QueueUrl"]
    sqs.delete_queue(QueueUrl=url)


def no_trigger(account: Account, deployment: Deployment) -> None:
    account.client("s3").put_bucket_notification_configuration(
        Bucket=deployment.input_bucket, NotificationConfiguration={}
    )


def no_layer(account: Account, deployment: Deployment) -> None:
    account.client("lambda").update_function_configuration(
        FunctionName=deployment.splitter.name, Layers=[]
    )


def gallery_without_right(account: Account, deployment: Deployment) -> None:
    """Set a gallery in S3 by hand: the role may not read it."""
    uri = gallery(account, deployment)
    set_variable(account, deployment.recognizer.name, "GALLERY_URI", uri)
    set_variable(account, deployment.recognizer.name, "MODEL", "sface")


def gallery(account: Account, deployment: Deployment) -> str:
    bucket, s3 = f"{deployment.prefix}-gallery", account.client("s3")
    s3.create_bucket(Bucket=bucket)
    path = save_gallery(account.zip_path.with_name(f"{bucket}.pt"), "sface")
    s3.upload_file(str(path), bucket, "data.pt")
    return f"s3://{bucket}/data.pt"


def image_of_another_model(account: Account, deployment: Deployment) -> None:
    repository = deployment.repository
    account.client("ecr").create_repository(repositoryName=repository)
    digest = put_image(account, repository, f"sface-{'0' * 16}", DOCKER)
    uri = f"{REGISTRY}/{repository}@{digest}"
    account.client("lambda").update_function_code(
        FunctionName=deployment.recognizer.name, ImageUri=uri
    )


FAULTS: list[tuple[Break, str, bool]] = [
    (no_policy("splitter"), "rights of 'NS-video-splitting-role': Role", True),
    (no_policy("recognizer"), "rights of 'NS-face-recognition-role': Role", True),
    (call("lambda", "delete_function", FunctionName="splitter"), "function 'NS-video-", False),
    (call("lambda", "delete_function", FunctionName="recognizer"), "function 'NS-face-", True),
    (call("s3", "delete_bucket", Bucket="input"), "buckets: There is no bucket 'P-input'", False),
    (no_queue, "failure queue: Queue 'P-failures' does not exist", False),
    (no_trigger, "trigger: Bucket 'P-input' does not start", True),
    (no_layer, "layer: Function 'NS-video-splitting' has no layer", True),
    (
        call(
            "lambda",
            "remove_permission",
            FunctionName="splitter",
            StatementId="input-bucket-may-invoke",
        ),
        "S3 may invoke: Bucket 'P-input' may not",
        True,
    ),
    (
        call("lambda", "delete_function_event_invoke_config", FunctionName="splitter"),
        "failure queue: Function 'NS-video-splitting' has no failure queue",
        True,
    ),
    (gallery_without_right, "rights of 'NS-face-recognition-role': Role", True),
    (image_of_another_model, "image: ", False),
    (set_to("splitter", "STAGE_1_BUCKET", "other"), "settings: STAGE_1_BUCKET of", True),
    (set_to("splitter", "RECOGNITION_FUNCTION", "other"), "settings: RECOGNITION_FUNCTION", True),
    (set_to("splitter", "RECOGNITION_TIMEOUT_S", "5"), "settings: Function 'NS-video-", True),
    (set_to("recognizer", "OUTPUT_BUCKET", "other-output"), "settings: OUTPUT_BUCKET of", True),
]


@pytest.mark.parametrize(
    ("spoil", "text", "is_mended"), FAULTS, ids=[text.partition(":")[0] for _, text, _ in FAULTS]
)
def test_one_fault_is_one_failed_line_and_deploying_mends_it(
    account: Account, deployed: Deployment, spoil: Break, text: str, is_mended: bool
) -> None:
    spoil(account, deployed)

    done = doctor(account, deployed, "--after")

    assert done.returncode == 1
    (line,) = failed(done.stdout)
    assert line.startswith(
        text.replace("NS", deployed.namespace).replace("P-", f"{deployed.prefix}-")
    )
    if is_mended:
        account.deploy(deployed)
        again = doctor(account, deployed, "--after")
        assert again.returncode == 0, again.stdout


def test_the_gallery_in_use_is_checked_whatever_the_checkout_says(
    account: Account, deployed: Deployment
) -> None:
    # GIVEN a deployment with its gallery in S3, and a doctor that is not told so
    chosen = {"MODEL": "sface", "GALLERY_URI": gallery(account, deployed)}
    words = [w for k, v in chosen.items() for w in ("--set", f"face-recognition.{k}={v}")]
    account.deploy(deployed, *words)
    fine = doctor(account, deployed, "--after")
    assert fine.returncode == 0, fine.stdout
    assert f"gallery in use: {chosen['GALLERY_URI']}, " in fine.stdout

    # WHEN its role loses the right to read it, or the gallery is gone
    iam, role = account.client("iam"), deployed.recognizer.role
    policy = iam.get_role_policy(RoleName=role, PolicyName="permissions")["PolicyDocument"]
    kept = [s for s in policy["Statement"] if s["Sid"] != "ReadGallery"]
    smaller = json.dumps({**policy, "Statement": kept})
    iam.put_role_policy(RoleName=role, PolicyName="permissions", PolicyDocument=smaller)
    without_right = doctor(account, deployed, "--after")
    iam.put_role_policy(RoleName=role, PolicyName="permissions", PolicyDocument=json.dumps(policy))
    bucket = f"{deployed.prefix}-gallery"
    account.client("s3").delete_object(Bucket=bucket, Key="data.pt")
    without_gallery = doctor(account, deployed, "--after")

    assert len(failed(without_right.stdout)) == 1
    assert "lacks the rights ReadGallery, which function" in without_right.stdout
    (line,) = failed(without_gallery.stdout)
    assert line.startswith(f"gallery in use: Cannot read the gallery s3://{bucket}/data.pt")


@pytest.mark.parametrize("broken", ["keys", "nothing"])
def test_what_was_never_deployed_or_cannot_be_seen_is_one_line(
    account: Account, broken: str
) -> None:
    deployment = account.deployment()
    environ = {"AWS_SECRET_ACCESS_KEY": "wrong"} if broken == "keys" else {}

    done = doctor(account, deployment, "--after", **environ)

    assert done.returncode == 1
    (line,) = failed(done.stdout)
    assert line.startswith("credentials" if broken == "keys" else "deployment: No function of")


def test_the_doctor_prints_json(account: Account) -> None:
    done = account.run("deploy/doctor.py", account.deployment(), "--after", "--json")

    credentials, deployment = json.loads(done.stdout)

    assert (credentials["result"], deployment["result"], done.returncode) == ("ok", "failed", 1)
    assert deployment["fix"].startswith("python3 deploy/deploy.py")


def test_status_says_that_nothing_is_deployed(account: Account) -> None:
    deployment = account.deployment()

    done = account.run("deploy/status.py", deployment)
    as_json = account.run("deploy/status.py", deployment, "--json")

    said = f"Nothing of '{deployment.prefix}' is deployed in us-east-1."
    assert done.returncode == as_json.returncode == 1
    assert done.stdout == f"{said}\n"
    assert f"Next: python3 deploy/doctor.py --prefix {deployment.prefix}" in done.stderr
    assert json.loads(as_json.stdout)["drift"] == [said]


def test_the_doctor_shows_text_from_outside_escaped(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = Check("prefix", "failed", "bucket of \x1b[8msomebody", "ask \x1b[8m")
    monkeypatch.setattr("deploy.doctor.checks_before", lambda *_: [failed])

    done = account.run("deploy/doctor.py", account.deployment(), "--before")

    assert r"\x1b[8msomebody" in done.stdout
    assert "\x1b" not in done.stdout
