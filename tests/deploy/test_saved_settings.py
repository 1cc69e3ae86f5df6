"""A deployment's file: what writes it, what reads it, and what overrides it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import botocore.client
import pytest

from pipeline.aws import AwsError
from pipeline.settings import Deployment
from tests.deploy.conftest import Account, image_uri
from tests.deploy.test_scripts import STEPS

CHOSEN = ("--set", "video-splitting.FRAMES=5", "--set", "video-splitting.memory_mb=1024")


def variables(account: Account, name: str) -> Any:
    """The environment variables of a deployed function."""
    config = account.client("lambda").get_function_configuration(FunctionName=name)
    return config["Environment"]["Variables"]


def image_and_layer(account: Account, deployment: Deployment) -> tuple[str, ...]:
    """The options that name the test's layer and image."""
    return ("--zip", str(account.zip_path), "--image-uri", image_uri(deployment))


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a file that does not exist yet, which PIPELINE_CONFIG names."""
    path = tmp_path / "deployment.ini"
    monkeypatch.setenv("PIPELINE_CONFIG", str(path))
    return path


def test_the_first_deployment_writes_the_file_and_every_script_needs_nothing_else(
    account: Account, config: Path
) -> None:
    deployment, client = account.deployment(), account.client("lambda")
    given = (*image_and_layer(account, deployment), "--stage-1-days", "3", *CHOSEN)

    # GIVEN a first deployment, dry and then for good
    dry = account.run("deploy/deploy.py", deployment, *given, "--dry-run")
    assert f"Would save the settings in {config}" in dry.stderr
    assert not config.exists()
    first = account.run("deploy/deploy.py", deployment, *given)
    assert first.returncode == 0, first.stderr
    assert f"saved   the settings in {config}" in first.stderr

    # THEN every other script runs without an option, agrees, and changes nothing
    alone = account.run_alone("deploy/deploy.py")
    assert "Done, 0 changes." in alone.stderr, alone.stderr
    status = account.run_alone("deploy/status.py")
    assert status.stdout.endswith("Everything matches this checkout.\n"), status.stdout
    for script in STEPS:
        done = account.run_alone(script)
        lines = [line for line in done.stderr.splitlines() if line.startswith("  ")]
        assert done.returncode == 0, f"{script}: {done.stderr}"
        assert [line for line in lines if not line.startswith("  kept")] == [], script
    assert account.run_alone("deploy/image.py").stdout == f"{image_uri(deployment)}\n"
    assert "0 failed" in account.run_alone("deploy/doctor.py").stderr
    assert "0 failures" in account.run_alone("deploy/failures.py", "list").stderr
    assert account.run_alone("workload/grade.py", "--initial").returncode == 0
    # AND what they print to run next is as short
    assert "Next: python3 deploy/roles.py\n" in account.run_alone("deploy/failures.py").stderr

    # WHEN an option or the file says something else, THEN that is drift, and deployed
    drifted = account.run_alone("deploy/status.py", "--set", "video-splitting.FRAMES=1")
    assert "FRAMES '5' -> '1'" in drifted.stdout
    config.write_text(config.read_text().replace("memory_mb = 1024", "memory_mb = 2048"))
    assert "MemorySize 1024 -> 2048" in account.run_alone("deploy/status.py").stdout
    assert account.run_alone("deploy/deploy.py").returncode == 0
    splitter = deployment.splitter.name
    assert client.get_function_configuration(FunctionName=splitter)["MemorySize"] == 2048
    # AND one setting on the command line leaves the others alone, and is not saved
    account.run_alone("deploy/deploy.py", "--set", "video-splitting.FRAMES=2")
    assert variables(account, splitter)["FRAMES"] == "2"
    assert client.get_function_configuration(FunctionName=splitter)["MemorySize"] == 2048
    assert "FRAMES = 5" in config.read_text()
    # UNLESS --save asks for it
    account.run_alone("deploy/deploy.py", "--set", "video-splitting.FRAMES=2", "--save")
    assert "FRAMES = 2" in config.read_text()
    assert "memory_mb = 2048" in config.read_text()
    assert account.run_alone("deploy/destroy.py", "--yes").returncode == 0


def test_any_script_saves_its_options_if_asked(account: Account, config: Path) -> None:
    deployment = account.deployment()

    made = account.run("createS3.py", deployment, "--stage-1-days", "3", "--save")

    assert made.returncode == 0, made.stderr
    assert "later commands need no options" in made.stderr
    assert config.read_text().splitlines()[3:] == [
        "[deployment]",
        f"prefix = {deployment.prefix}",
        f"namespace = {deployment.namespace}",
        "stage-1-days = 3",
        "region = us-east-1",
    ]
    again = account.run_alone("createS3.py")
    assert again.stdout.split() == list(deployment.buckets)
    assert "objects after 3 days" in again.stderr


def test_nothing_is_saved_of_a_prefix_that_cannot_be_used(account: Account, config: Path) -> None:
    taken = account.deployment()
    account.client("s3", "eu-west-1").create_bucket(
        Bucket=taken.input_bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )

    refused = account.run("createS3.py", taken, "--save")
    image = image_and_layer(account, taken)
    stopped = account.run("deploy/deploy.py", taken, *image)

    assert (refused.returncode, stopped.returncode) == (1, 1)
    assert not config.exists()


def test_a_deployment_that_stops_halfway_has_saved_what_it_was_told(
    account: Account, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = account.deployment()
    given = (*image_and_layer(account, deployment), *CHOSEN)
    real = vars(botocore.client.BaseClient)["_make_api_call"]

    def make_api_call(client: Any, name: str, params: Any) -> Any:
        if name == "CreateFunction":
            raise AwsError("Stopped.")
        return real(client, name, params)

    with monkeypatch.context() as stopping:
        stopping.setattr(botocore.client.BaseClient, "_make_api_call", make_api_call)
        stopped = account.run("deploy/deploy.py", deployment, *given)
    finished = account.run_alone("deploy/deploy.py")

    assert (stopped.returncode, stopped.stderr[-16:]) == (1, "Error: Stopped.\n")
    assert finished.returncode == 0, finished.stderr
    assert variables(account, deployment.splitter.name)["FRAMES"] == "5"


def test_another_prefix_does_not_use_the_file(account: Account, config: Path) -> None:
    mine, other = account.deployment(), account.deployment()
    account.run("createS3.py", mine, "--stage-1-days", "3", "--save")
    before = config.read_text()

    made = account.run("createS3.py", other)
    image = image_and_layer(account, other)
    deployed = account.run("deploy/deploy.py", other, *image)
    saved = account.run("createS3.py", other, "--save")
    own = account.run("createS3.py", other, "--save", "--config", f"{config}.other.ini")

    note = f"is for prefix '{mine.prefix}', so it is not used for '{other.prefix}'"
    assert note in made.stderr
    assert "objects after 7 days" in made.stderr
    assert f"python3 deploy/failures.py --prefix {other.prefix} --namespace" in made.stderr
    assert deployed.returncode == 0, deployed.stderr
    assert saved.returncode == 1
    assert f"save '{other.prefix}' in a separate file, --config {other.prefix}.ini" in saved.stderr
    assert config.read_text() == before
    # AND its own file is named in what to run next
    assert own.returncode == 0, own.stderr
    listed = account.run_alone("deploy/failures.py", "--config", f"{config}.other.ini")
    assert f"Next: python3 deploy/roles.py --config {config}.other.ini\n" in listed.stderr


@pytest.mark.parametrize(
    "setting",
    [
        *("video-splitting.FRAMES=abc", "face-recognition.MODEL=nosuch"),
        *("face-recognition.THRESHOLD=zz", "video-splitting.timeout_s=100"),
    ],
)
@pytest.mark.parametrize("is_in_file", [True, False])
def test_a_wrong_setting_is_refused_before_anything_changes(
    account: Account, config: Path, setting: str, is_in_file: bool
) -> None:
    deployment, before = account.deployment(), account.inventory()
    function, _, assignment = setting.partition(".")
    if is_in_file:
        config.write_text(f"[{function}]\n{assignment}\n")
    words = () if is_in_file else ("--set", setting)

    done = account.run(
        "deploy/deploy.py", deployment, *image_and_layer(account, deployment), *words
    )

    assert done.returncode == 1
    assert assignment.partition("=")[0] in done.stderr
    assert done.stderr.startswith(f"Error: {config}" if is_in_file else "Error: ")
    assert done.stderr.count("\n") == 1
    assert account.inventory() == before


def test_a_file_that_is_named_must_be_there(account: Account, config: Path) -> None:
    done = account.run_alone("deploy/status.py")

    assert done.returncode == 1
    assert f"There is no {config}, which --config or PIPELINE_CONFIG names" in done.stderr


def test_without_a_prefix_the_error_says_how_to_do_without_it(account: Account) -> None:
    done = account.run_alone("workload/generate.py", "--testcase-folder", ".")

    assert done.returncode == 2
    assert "Missing option '--prefix'. With --save, later commands do without it." in done.stderr


def test_status_compares_the_image_and_snapstart_that_the_file_names(
    account: Account, config: Path
) -> None:
    deployment = account.deployment()
    account.run("deploy/deploy.py", deployment, *image_and_layer(account, deployment))
    assert account.run_alone("deploy/status.py").returncode == 0
    text = config.read_text()

    config.write_text(text.replace("a" * 64, "b" * 64))
    assert "Would update code of function" in account.run_alone("deploy/status.py").stdout
    config.write_text(text.replace("[deployment]", "[deployment]\nsnapstart = yes"))
    assert "SnapStart" in account.run_alone("deploy/status.py").stdout
    json_text = account.run_alone("deploy/status.py", "--json", "--no-snapstart").stdout
    assert json.loads(json_text)["drift"] == []
