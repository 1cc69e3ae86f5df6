"""Image functions: the image's own files, read-only, as a user without a home."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from local_aws.function import CannotStart
from local_aws.image import read_image
from local_aws.process import LocalAWS

BUILT = Path(__file__).resolve().parents[2] / "build" / "image"

PROBE = """
import os, pathlib

def attempt(path):
    try:
        pathlib.Path(path).write_text("x")
        return "written"
    except OSError as error:
        return error.strerror

def handler(event, context):
    return {
        "uid": os.getuid(), "home": os.environ["HOME"], "pid": os.getpid(),
        "task": attempt("/var/task/x"), "root": attempt("/x"), "tmp": attempt("/tmp/x"),
        "sees": sorted(os.listdir("/var/task"))[:3], "extra": os.environ.get("EXTRA"),
    }
"""


@pytest.mark.parametrize(
    "config", [{}, {"Cmd": None, "Entrypoint": None}, {"Cmd": [], "Env": ["A=b"]}]
)
def test_an_image_that_names_nothing_to_run_is_refused(tmp_path: Path, config: Any) -> None:
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "config.json").write_text(json.dumps({"config": config}))

    with pytest.raises(CannotStart, match="neither an entry point nor a command"):
        read_image(tmp_path)


def test_a_task_root_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "handler.py").touch()

    assert read_image(tmp_path) is None


def test_the_functions_settings_come_before_the_images(tmp_path: Path) -> None:
    (tmp_path / "rootfs").mkdir()
    config = {"Entrypoint": ["/e"], "Cmd": ["c"], "WorkingDir": "/var/task", "Env": ["A=b=c"]}
    (tmp_path / "config.json").write_text(json.dumps({"config": config}))
    image = read_image(tmp_path)
    assert image is not None

    assert image.environment == {"A": "b=c"}
    assert image.argv({}, 512)[-5:] == [str(tmp_path / "rootfs"), "512", "/var/task", "/e", "c"]
    overrides = {"Command": ["other"], "WorkingDirectory": "/w"}
    assert image.argv(overrides, 1024)[-4:] == ["1024", "/w", "/e", "other"]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image that `make image` built, with a probe in place of its handler."""
    if not (BUILT / "config.json").is_file():
        pytest.skip("no image here: make image builds one")
    folder = tmp_path_factory.mktemp("image")
    # everything is linked but the task root, which gets a handler of its own
    subprocess.run(["cp", "-al", BUILT / "rootfs", folder / "rootfs"], check=True)
    shutil.rmtree(folder / "rootfs" / "var" / "task")
    (folder / "rootfs" / "var" / "task").mkdir()
    (folder / "rootfs" / "var" / "task" / "handler.py").write_text(PROBE)
    shutil.copy(BUILT / "config.json", folder)
    return folder


def test_it_runs_read_only_as_a_user_without_a_home(
    image: Path, started: Callable[..., LocalAWS]
) -> None:
    aws = started(images={"probed": image})
    session = boto3.Session(
        aws_access_key_id=aws.environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=aws.environ["AWS_SECRET_ACCESS_KEY"],
        region_name=aws.region,
    )
    iam, client = (session.client(n, endpoint_url=aws.endpoint) for n in ("iam", "lambda"))
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "lambda.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
    role = iam.create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    client.create_function(
        FunctionName="probe",
        PackageType="Image",
        Code={"ImageUri": f"123456789012.dkr.ecr.{aws.region}.amazonaws.com/probed:1"},
        Role=role,
        Timeout=30,
        MemorySize=512,
        Environment={"Variables": {"EXTRA": "set"}},
    )

    answer = client.invoke(FunctionName="probe", Payload=b"{}")
    seen = json.load(answer["Payload"])

    assert "FunctionError" not in answer, seen
    assert seen["uid"] == 993
    assert seen["home"] == "/tmp"
    assert seen["pid"] < 10  # processes of its own
    assert seen["task"] == seen["root"] == "Read-only file system"
    assert seen["tmp"] == "written"
    assert seen["sees"] == ["handler.py"]
    assert seen["extra"] == "set"
    assert not (image / "rootfs" / "tmp" / "x").exists()
    mounts = Path("/proc/self/mounts").read_text()
    assert str(image) not in mounts  # nothing is mounted outside its namespace
    assert os.getuid() != 993
