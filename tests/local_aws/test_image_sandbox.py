"""Image functions run from the image's files, read-only, as a user without a home."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from local_aws.errors import CannotStart
from local_aws.image_sandbox import read_image
from local_aws.process import LocalAWS
from tests.local_aws.conftest import TRUST

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
        "extra": os.environ.get("EXTRA"),
    }
"""

LIGHT = """
import json, sys
from importlib.util import find_spec
from pathlib import Path

import numpy
import recognition
from engine import DETECTION

def handler(event, context):
    folder = Path("/var/task/models")
    model = list(json.loads((folder / "networks.json").read_text()))[-1]
    load, x = recognition.networks(folder), numpy.zeros((1, 3, 48, 48), numpy.float32)
    shapes = [load(name)(x).shape for name in ("p-net", "o-net")]
    left_out = ("torch", "facenet_pytorch", "cv2", "sympy", "numpy.f2py")
    return {"shapes": shapes, "model": model, "left out": list(filter(found, left_out))}

def found(name):
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False
"""


@pytest.mark.parametrize(
    "config", [{}, {"Cmd": None, "Entrypoint": None}, {"Cmd": [], "Env": ["A=b"]}]
)
def test_an_image_that_names_nothing_to_run_is_refused(tmp_path: Path, config: Any) -> None:
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "config.json").write_text(json.dumps({"config": config}))

    with pytest.raises(CannotStart, match="neither an entry point nor a command"):
        read_image(tmp_path)


def test_a_task_root_is_not_an_image(tmp_path: Path) -> None:
    (tmp_path / "handler.py").touch()

    assert read_image(tmp_path) is None


def test_the_functions_settings_override_the_images(tmp_path: Path) -> None:
    (tmp_path / "rootfs").mkdir()
    config = {"Entrypoint": ["/e"], "Cmd": ["c"], "WorkingDir": "/var/task", "Env": ["A=b=c"]}
    (tmp_path / "config.json").write_text(json.dumps({"config": config}))
    image = read_image(tmp_path)
    assert image is not None

    assert image.environment == {"A": "b=c"}
    own = image.sandbox({})
    assert (own.root, own.folder, own.command) == (tmp_path / "rootfs", "/var/task", ("/e", "c"))
    other = image.sandbox({"Command": ["other"], "WorkingDirectory": "/w"})
    assert (other.folder, other.command) == ("/w", ("/e", "other"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hard-linked copy of the image that `make image` built, for the tests' handlers."""
    if not (BUILT / "config.json").is_file():
        pytest.skip("no image here: make image builds one")
    folder = tmp_path_factory.mktemp("image")
    subprocess.run(["cp", "-al", BUILT / "rootfs", folder / "rootfs"], check=True)
    shutil.copy(BUILT / "config.json", folder)
    (
        folder / "rootfs" / "var" / "task" / "handler.py"
    ).unlink()  # only this link: the image keeps its file
    return folder


def invoked(started: Callable[..., LocalAWS], image: Path, handler: str, memory_mb: int) -> Any:
    """The response of an image function with this handler.py."""
    (image / "rootfs" / "var" / "task" / "handler.py").write_text(handler)
    aws = started(images={"probed": image})
    session = boto3.Session(
        aws_access_key_id=aws.environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=aws.environ["AWS_SECRET_ACCESS_KEY"],
        region_name=aws.region,
    )
    iam = session.client("iam", endpoint_url=aws.endpoint)
    client: Any = session.client("lambda", endpoint_url=aws.endpoint)
    role = iam.create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    client.create_function(
        FunctionName="probe",
        PackageType="Image",
        Code={"ImageUri": f"123456789012.dkr.ecr.{aws.region}.amazonaws.com/probed:1"},
        Role=role,
        Timeout=60,
        MemorySize=memory_mb,
        Environment={"Variables": {"EXTRA": "set"}},
    )
    answer = client.invoke(FunctionName="probe", Payload=b"{}")
    seen = json.load(answer["Payload"])
    assert "FunctionError" not in answer, seen
    return seen


def test_an_image_runs_read_only_as_a_user_without_a_home(
    built: Path, started: Callable[..., LocalAWS]
) -> None:
    seen = invoked(started, built, PROBE, 512)

    assert seen["uid"] == 993
    assert seen["home"] == "/tmp"
    assert seen["pid"] < 10  # its own process namespace
    assert seen["task"] == seen["root"] == "Read-only file system"
    assert seen["tmp"] == "written"
    assert seen["extra"] == "set"
    assert not (built / "rootfs" / "tmp" / "x").exists()
    mounts = Path("/proc/self/mounts").read_text()
    assert str(built) not in mounts  # no mounts outside its namespace
    assert os.getuid() != 993


def test_the_image_has_its_networks_and_no_torch(
    built: Path, started: Callable[..., LocalAWS]
) -> None:
    seen = invoked(started, built, LIGHT, 1769)

    assert seen["shapes"] == [[1, 6, 19, 19], [1, 16]]
    assert seen["model"] in ("facenet-vggface2", "sface")
    assert seen["left out"] == []


def test_everybody_may_read_an_image_whose_builder_keeps_files_private(built: Path) -> None:
    # GIVEN `make image`, which builds with umask 077
    task = built / "rootfs" / "var" / "task"

    modes = {path: path.stat().st_mode for path in (task, *task.rglob("*"))}

    assert len(modes) > 1000
    assert [p for p, mode in modes.items() if not mode & stat.S_IROTH] == []
    assert [p for p, m in modes.items() if stat.S_ISDIR(m) and not m & stat.S_IXOTH] == []


def test_the_image_has_only_the_part_of_botocores_data_that_it_needs(built: Path) -> None:
    task = built / "rootfs" / "var" / "task"

    assert (task / "s3-data" / "endpoints.json").is_file()
    assert not (task / "botocore" / "data").exists()
