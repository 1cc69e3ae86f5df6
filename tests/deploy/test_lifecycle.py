"""A deployment from its first check to its removal, and runs that are interrupted."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import botocore.client
import pytest

from createS3 import create_buckets
from deploy.failures import ensure_queue
from deploy.functions import ensure_functions
from deploy.layer import ensure_layer
from deploy.parts.checks_after import checks_after
from deploy.roles import ensure_roles
from deploy.trigger import ensure_trigger
from pipeline.cli import Run
from pipeline.settings import ROOT, Deployment
from tests.deploy.conftest import Account, aws_of, image_uri, save_gallery

HAS_GALLERY = (ROOT / "data.pt").exists()  # the developer's own


class Killed(BaseException):
    """The script ends between two API calls, as with kill -9; no handler may catch this."""


def deploy_everything(run: Run, account: Account) -> None:
    create_buckets(run)
    queue, roles = ensure_queue(run), ensure_roles(run)
    layer = ensure_layer(run, account.zip_path)
    ensure_functions(run, roles, layer, queue, image_uri(run.deployment), snapstart=True)
    ensure_trigger(run)


@pytest.mark.slow
def test_a_run_killed_before_any_write_is_completed_by_the_next_run(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = aws_of(account, monkeypatch)
    first = account.deployment()
    real = vars(botocore.client.BaseClient)["_make_api_call"]
    state = {"left": -1, "made": 0}

    def make_api_call(client: Any, name: str, params: Any) -> Any:
        if not name.startswith(("Get", "List", "Describe", "Head")):
            if state["left"] == 0:
                raise Killed
            state["left"] -= 1
            state["made"] += 1
        return real(client, name, params)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", make_api_call)
    # GIVEN the number of writing calls in a whole deployment
    deploy_everything(Run(first, aws), account)
    total = state["made"]
    assert total > 30
    for number in range(total):
        # WHEN a run is killed before one of them, and run again
        deployment = account.deployment()
        state["left"] = number
        with pytest.raises(Killed):
            deploy_everything(Run(deployment, aws), account)
        state["left"] = -1
        deploy_everything(Run(deployment, aws), account)

        # THEN a third run has nothing left to do
        last = Run(deployment, aws)
        deploy_everything(last, account)
        assert last.changes == 0, f"after call {number}"


def test_a_new_role_is_awaited(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    # GIVEN a role that Lambda cannot assume yet: the first sleep fixes its trust policy
    deployment, iam = account.deployment(), account.client("iam")
    aws = aws_of(account, monkeypatch)
    run = Run(deployment, aws)
    create_buckets(run)
    queue, roles = ensure_queue(run), ensure_roles(run)
    layer = ensure_layer(run, account.zip_path)
    role = deployment.recognizer.role
    trust = iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
    nobody = {**trust, "Statement": [{**trust["Statement"][0], "Effect": "Deny"}]}
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(nobody))
    waits = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(trust))

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr("pipeline.aws.retry_while.__defaults__", (60, sleep, time.monotonic))

    arns = ensure_functions(run, roles, layer, queue, image_uri(deployment))

    assert len(arns) == 2
    assert waits


def test_a_deleted_role_is_created_and_given_to_the_function_again(account: Account) -> None:
    deployment, iam = account.deployment(), account.client("iam")
    account.deploy(deployment)
    for function in deployment.functions:
        iam.delete_role_policy(RoleName=function.role, PolicyName="permissions")
        iam.delete_role(RoleName=function.role)

    again = account.deploy(deployment)

    for function in deployment.functions:
        assert f"give    function '{function.name}' its new role '{function.role}'" in again
        arn = account.client("lambda").get_function(FunctionName=function.name)["Configuration"]
        assert arn["Role"].endswith(f"role/{function.role}")
    assert "Done, 0 changes" in account.deploy(deployment)


def test_status_reports_drift(account: Account) -> None:
    deployment, client = account.deployment(), account.client("lambda")
    account.deploy(deployment)
    same = account.run("deploy/status.py", deployment)
    assert same.returncode == 0, same.stdout
    assert "Everything matches this checkout." in same.stdout
    for function in deployment.functions:  # each learns how long it may run
        config = client.get_function_configuration(FunctionName=function.name)
        assert config["Environment"]["Variables"]["TIMEOUT_S"] == str(config["Timeout"])

    client.update_function_configuration(
        FunctionName=deployment.recognizer.name,
        MemorySize=2048,
        Environment={"Variables": {**deployment.recognizer.environment, "FACES": "all"}},
    )
    account.client("s3").delete_public_access_block(Bucket=deployment.output_bucket)
    drifted = account.run("deploy/status.py", deployment)

    assert drifted.returncode == 1
    lines = [line for line in drifted.stdout.splitlines() if line.startswith("DRIFT")]
    name = deployment.recognizer.name
    assert lines == [
        f"DRIFT  Would set bucket '{deployment.output_bucket}': no public access",
        f"DRIFT  Would update settings of function '{name}': MemorySize 2048 -> 1769, "
        f"FACES 'all' -> 'known', OUTPUT_BUCKET None -> '{deployment.output_bucket}', "
        "TIMEOUT_S None -> '60'",
    ]
    report = json.loads(account.run("deploy/status.py", deployment, "--json").stdout)
    assert report["functions"][name]["memory_mb"] == 2048
    assert len(report["drift"]) == 2


def test_status_reports_everything_that_deploying_would_fix(account: Account) -> None:
    deployment, client = account.deployment(), account.client("lambda")
    account.deploy(deployment, "--snapstart")
    assert account.run("deploy/status.py", deployment).returncode == 0
    splitter = deployment.splitter
    other = client.get_function_configuration(FunctionName=deployment.recognizer.name)["Role"]

    client.update_function_configuration(
        FunctionName=splitter.name, Handler="other.handler", Layers=[], Role=other
    )
    client.delete_function_event_invoke_config(FunctionName=splitter.name)
    client.delete_function_concurrency(FunctionName=splitter.name)
    client.update_alias(
        FunctionName=deployment.recognizer.name, Name="live", FunctionVersion="$LATEST"
    )
    account.client("logs").delete_retention_policy(logGroupName=splitter.log_group)
    drifted = account.run("deploy/status.py", deployment)

    assert drifted.returncode == 1
    for text in (
        "Handler 'other.handler' -> 'handler.handler'",
        "Layers [] -> ['arn:",
        f"Role '{other}' -> 'arn:",
        f"set retries of function '{splitter.name}'",
        f"cap concurrency of function '{splitter.name}'",
        f"keep logs in '{splitter.log_group}'",
        "move alias 'live'",
    ):
        assert text in drifted.stdout, text
    account.deploy(deployment, "--snapstart")
    assert account.run("deploy/status.py", deployment).returncode == 0


def test_every_script_that_sets_the_expiry_of_frames_has_the_option(
    account: Account,
) -> None:
    deployment, days = account.deployment(), ("--stage-1-days", "3")
    made = account.run("createS3.py", deployment, *days)
    assert f"deploy/deploy.py {' '.join(deployment.options)} --stage-1-days 3)" in made.stderr

    deployed = account.deploy(deployment, *days)
    same = account.run("deploy/status.py", deployment, *days)
    drifted = account.run("deploy/status.py", deployment)

    (line,) = (line for line in deployed.splitlines() if "objects after" in line)
    assert line.strip().startswith("kept ")
    assert line.endswith("objects after 3 days")
    assert same.returncode == 0, same.stdout
    assert drifted.returncode == 1
    assert "objects after 7 days" in drifted.stdout


def test_destroy_asks_refuses_full_buckets_and_removes_everything(account: Account) -> None:
    deployment, s3 = account.deployment(), account.client("s3")
    account.deploy(deployment, "--snapstart")
    put = partial(s3.put_object, Bucket=deployment.output_bucket, Body=b"x")
    put(Key="0000.txt")
    s3.create_multipart_upload(Bucket=deployment.input_bucket, Key="unfinished.mp4")
    before = account.inventory()

    unasked = account.run("deploy/destroy.py", deployment)
    dry = account.run("deploy/destroy.py", deployment, "--dry-run", "--delete-objects")
    assert dry.returncode == 0, dry.stderr
    assert unasked.returncode == 1
    with ThreadPoolExecutor(8) as pool:  # more than one page, and more than one batch
        list(pool.map(lambda number: put(Key=f"{number:04}.txt"), range(1, 1005)))
    refused = account.run("deploy/destroy.py", deployment, "--yes")
    assert refused.returncode == 1
    assert f"'{deployment.output_bucket}' (1,005 objects): nothing was deleted" in refused.stderr
    assert account.inventory() == before

    done = account.run("deploy/destroy.py", deployment, "--yes", "--delete-objects")

    assert done.returncode == 0, done.stderr
    assert f"nothing of '{deployment.prefix}' is left" in done.stdout
    for kind, names in account.inventory().items():
        ours = [n for n in names if f"{deployment.prefix}-" in n or f"{deployment.namespace}-" in n]
        assert ours == [], kind


def test_destroy_leaves_other_deployments_alone(account: Account) -> None:
    mine, other = account.deployment(), account.deployment()
    account.deploy(mine)
    account.deploy(other)

    account.run("deploy/destroy.py", mine, "--yes")

    assert account.run("deploy/status.py", other).returncode == 0


def test_snapstart_is_switched_on_updated_and_switched_off(account: Account) -> None:
    deployment, client = account.deployment(), account.client("lambda")
    name = deployment.recognizer.name

    def called() -> str:
        config = client.get_function_configuration(FunctionName=deployment.splitter.name)
        return str(config["Environment"]["Variables"]["RECOGNITION_FUNCTION"])

    def versions() -> list[str]:
        found = client.list_versions_by_function(FunctionName=name)["Versions"]
        return [v["Version"] for v in found if v["Version"] != "$LATEST"]

    account.deploy(deployment, "--snapstart")
    assert called() == f"{name}:live"
    assert versions() == ["1"]
    answer = client.invoke(FunctionName=called(), Payload=b'{"a": 1}')
    assert json.load(answer["Payload"]) == {"a": 1}
    assert answer["ExecutedVersion"] == "1"
    assert "Done, 0 changes" in account.deploy(deployment, "--snapstart")

    account.deploy(deployment, "--snapstart", "--set", "face-recognition.FACES=all")
    assert client.get_alias(FunctionName=name, Name="live")["FunctionVersion"] == "2"
    assert versions() == ["2"]  # an unused version would cost money by the hour

    account.deploy(deployment, "--set", "face-recognition.FACES=all")
    assert called() == name
    assert versions() == []
    assert client.list_aliases(FunctionName=name)["Aliases"] == []


@pytest.fixture
def gallery_in_s3(account: Account, tmp_path: Path) -> str:
    """Upload a gallery made with sface and return its URI."""
    s3, key = account.client("s3"), "people/data.pt"
    s3.create_bucket(Bucket="mine")
    s3.upload_file(str(save_gallery(tmp_path / "data.pt", "sface")), "mine", key)
    return f"s3://mine/{key}"


def test_the_role_can_read_only_the_gallery_in_s3(account: Account, gallery_in_s3: str) -> None:
    deployment = account.deployment()
    chosen = ("--set", f"face-recognition.GALLERY_URI={gallery_in_s3}")

    account.deploy(deployment, *chosen, "--set", "face-recognition.MODEL=sface")

    role = account.client("iam").get_role_policy(
        RoleName=deployment.recognizer.role, PolicyName="permissions"
    )
    (statement,) = [s for s in role["PolicyDocument"]["Statement"] if s["Sid"] == "ReadGallery"]
    assert statement["Resource"] == ["arn:aws:s3:::mine/people/data.pt"]
    assert statement["Action"] == ["s3:GetObject"]


@pytest.mark.parametrize(
    ("uri", "model", "result", "text"),
    [
        ("s3://mine/people/data.pt", "sface", "ok", "data.pt, 1,"),
        (
            "s3://mine/people/data.pt",
            "facenet-vggface2",
            "FAILED",
            "The gallery s3://mine/people/data.pt was made with sface, but the function will use",
        ),
        ("s3://mine/none.pt", "sface", "FAILED", "aws s3 cp data.pt s3://mine/none.pt"),
    ],
)
def test_the_gallery_in_s3_is_checked_before_anything_is_created(
    account: Account, gallery_in_s3: str, uri: str, model: str, result: str, text: str
) -> None:
    deployment, before = account.deployment(), account.inventory()
    chosen = ["--set", f"face-recognition.GALLERY_URI={uri}"]
    chosen += ["--set", f"face-recognition.MODEL={model}"]

    looked = doctor(account, deployment, "--before", *chosen)

    assert result_of(looked.stdout, "gallery") == result
    assert text in looked.stdout
    if result == "FAILED":
        image = ("--zip", str(account.zip_path), "--image-uri", image_uri(deployment))
        refused = account.run("deploy/deploy.py", deployment, *image, *chosen)
        assert refused.returncode == 1
        assert text in refused.stderr
        assert account.inventory() == before


@pytest.mark.parametrize("script", ["deploy/image.py", "deploy/deploy.py"])
@pytest.mark.parametrize(
    ("free_gb", "text"), [("1e6", "needs about 1000000 GB"), ("0.5", "pushed")]
)
def test_the_space_that_a_build_needs_is_an_option(
    account: Account, gallery_in_s3: str, tmp_path: Path, script: str, free_gb: str, text: str
) -> None:
    # GIVEN a podman that always succeeds and builds nothing
    tool = tmp_path / "podman"
    tool.write_text(f"#!/bin/sh\necho {tmp_path}\n")
    tool.chmod(0o755)
    model = ("--set", "face-recognition.MODEL=sface")
    options = {
        "deploy/image.py": ("--gallery-uri", gallery_in_s3, "--model", "sface"),
        "deploy/deploy.py": (
            *("--zip", str(account.zip_path), *model),
            *("--set", f"face-recognition.GALLERY_URI={gallery_in_s3}"),
        ),
    }[script]

    before = account.inventory()
    done = account.run(
        script,
        account.deployment(),
        *(*options, "--tool", "podman", "--free-gb", free_gb),
        PATH=f"{tmp_path}:{os.environ['PATH']}",
    )

    assert done.returncode == 1
    assert text in done.stderr
    if text != "pushed" and script == "deploy/deploy.py":  # nothing was made
        assert account.inventory() == before


@pytest.fixture
def deployed(account: Account) -> Deployment:
    """A complete deployment."""
    deployment = account.deployment()
    account.deploy(deployment)
    return deployment


def result_of(text: str, name: str) -> str:
    """Return the doctor's result of one check."""
    return next(line.split()[0] for line in text.splitlines() if f" {name}: " in line)


AFTER = (*("layer", "S3 may invoke", "trigger", "splitter may invoke recognizer", "failure queue"),)


def doctor(account: Account, deployment: Deployment, *options: str) -> Any:
    return account.run("deploy/doctor.py", deployment, "--zip", str(account.zip_path), *options)


def test_the_doctor_passes_a_complete_deployment(account: Account, deployed: Deployment) -> None:
    done = doctor(account, deployed, "--after")

    assert done.returncode == 0, done.stdout
    assert {result_of(done.stdout, name) for name in AFTER} == {"ok"}


def test_the_doctor_downloads_the_layer_if_its_zip_is_missing(
    account: Account, deployed: Deployment
) -> None:
    done = account.run("deploy/doctor.py", deployed, "--after", "--zip", "nowhere.zip")

    assert done.returncode == 0, done.stdout + done.stderr
    assert result_of(done.stdout, "layer") == "ok"
    assert "executable on x86_64" in done.stdout


def test_missing_inputs_of_the_next_deployment_are_warnings(
    account: Account, deployed: Deployment
) -> None:
    done = account.run("deploy/doctor.py", deployed, "--zip", "nowhere.zip")

    assert done.returncode == 0, done.stdout
    for name, only in (
        ("ffmpeg layer", "only to publish another layer"),
        ("gallery", "only to build another image"),
    ):
        if name == "gallery" and HAS_GALLERY:
            continue
        assert result_of(done.stdout, name) == "WARN"
        assert f"Needed {only}." in done.stdout
    strict = account.run("deploy/doctor.py", deployed, "--before", "--zip", "nowhere.zip")
    assert strict.returncode == 1
    assert result_of(strict.stdout, "ffmpeg layer") == "FAILED"


def test_a_layer_that_cannot_be_downloaded_is_a_failed_check(
    account: Account, deployed: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a link to the layer that does not work, as after it expires
    run = Run(deployed, aws_of(account, monkeypatch))
    client = run.aws.client("lambda")
    get = client.get_layer_version

    def expired(**names: Any) -> Any:
        answer = get(**names)
        answer["Content"]["Location"] += "-and-more"
        return answer

    monkeypatch.setattr(client, "get_layer_version", expired)

    (layer,) = [c for c in checks_after(run, Path("nowhere.zip")) if c.name == "layer"]

    assert layer.result == "failed"
    assert "to check it: HTTP Error 404" in layer.detail


def test_the_doctor_runs_before_anything_is_deployed(account: Account) -> None:
    deployment = account.deployment()
    free = doctor(account, deployment)
    assert result_of(free.stdout, "prefix") == "ok"
    assert result_of(free.stdout, "ffmpeg layer") == "ok"
    if not HAS_GALLERY:
        assert result_of(free.stdout, "gallery") == "FAILED"
        assert "enroll.py PEOPLE_DIR --model facenet-vggface2" in free.stdout

    lost = doctor(account, deployment, "--zip", "nowhere.zip")
    assert result_of(lost.stdout, "ffmpeg layer") == "FAILED"
    assert "./install_ffmpeg.sh" in lost.stdout

    wrong = account.run("deploy/doctor.py", deployment, AWS_SECRET_ACCESS_KEY="wrong")
    assert wrong.returncode == 1
    assert result_of(wrong.stdout, "credentials and region") == "FAILED"
    assert "aws configure" in wrong.stdout


def test_failures_are_listed_shown_and_redriven(account: Account, deployed: Deployment) -> None:
    # GIVEN two events that the splitter cannot handle, because its ffmpeg does not run
    s3 = account.client("s3")
    for key in ("a b.mp4", "b.mp4"):
        s3.put_object(Bucket=deployed.input_bucket, Key=key, Body=b"no video")
    deadline = time.monotonic() + 60
    lines: list[str] = []
    while len(lines) < 2 and time.monotonic() < deadline:
        listed = account.run("deploy/failures.py", deployed, "list")
        assert listed.returncode == 0, listed.stderr
        lines = listed.stdout.splitlines()
    assert len(lines) == 2
    assert sorted(line.split("s3://")[1].split(".mp4")[0] for line in lines) == [
        f"{deployed.input_bucket}/a b",
        f"{deployed.input_bucket}/b",
    ]
    assert all("Error" in line or "Failed" in line or ":" in line for line in lines)

    # WHEN one is shown, THEN it is Lambda's own record and stays in the queue
    first, second = (line.split()[0] for line in lines)
    shown = account.run("deploy/failures.py", deployed, "show", first[:13])
    record = json.loads(shown.stdout)
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert len(account.run("deploy/failures.py", deployed, "list").stdout.splitlines()) == 2

    # WHEN one is redriven, THEN it fails again, as a new message
    again = account.run("deploy/failures.py", deployed, "redrive", first)
    assert f"redrive {first}" in again.stderr, again.stderr
    deadline = time.monotonic() + 60
    ids: list[str] = []
    while len(ids) < 2 and time.monotonic() < deadline:
        lines = account.run("deploy/failures.py", deployed, "list").stdout.splitlines()
        ids = [line.split()[0] for line in lines]
    assert second in ids
    assert first not in ids
    assert len(ids) == 2

    nothing = account.run("deploy/failures.py", deployed, "show", "no-such")
    assert nothing.returncode == 1
    assert "No message no-such is in the queue" in nothing.stderr
