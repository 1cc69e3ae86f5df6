"""`make local` and `make demo`, run as users run them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlparse

import boto3
import psutil
import pytest

from pipeline.settings import ROOT
from samples.one_at_a_time import one_at_a_time
from samples.stack import BUILD, IMAGE
from tests.e2e.conftest import eventually
from tests.local_aws.conftest import MISLEADING


@pytest.fixture
def local(ffmpeg_zip: Path, people: Path) -> Iterator[subprocess.Popen[str]]:
    """The command that `make local` runs, running."""
    process = subprocess.Popen(
        [sys.executable, "-m", "samples.local", "--prefix", "left-running", "--people", people],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_local_serves_any_client_and_leaves_nothing_behind(
    local: subprocess.Popen[str], videos: Path, number: signal.Signals
) -> None:
    assert local.stdout is not None
    environ: dict[str, str] = {}
    while "PREFIX" not in environ:
        line = local.stdout.readline()
        assert line.startswith("export "), line
        name, _, value = line.removeprefix("export ").strip().partition("=")
        environ[name] = value
    prefix = environ.pop("PREFIX")
    address = urlparse(environ["AWS_ENDPOINT_URL"])

    # WHEN a client uses only the printed variables
    client = (
        "import boto3, sys\nboto3.client('s3').upload_file(sys.argv[1], sys.argv[2], 'clip.mp4')\n"
    )
    subprocess.run(
        [sys.executable, "-c", client, videos / "test_02.mp4", f"{prefix}-input"],
        env={**os.environ, **environ},
        check=True,
    )
    s3 = boto3.Session(
        aws_access_key_id=environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environ["AWS_SECRET_ACCESS_KEY"],
        region_name=environ["AWS_DEFAULT_REGION"],
    ).client("s3", endpoint_url=environ["AWS_ENDPOINT_URL"])

    # THEN the name comes out
    def text() -> str:
        keys = s3.list_objects_v2(Bucket=f"{prefix}-output").get("Contents", [])
        if not keys:
            return ""
        answer: bytes = s3.get_object(Bucket=f"{prefix}-output", Key="clip.txt")["Body"].read()
        return answer.decode()

    assert eventually(text) == "Joe Biden"

    # WHEN it is stopped, THEN no process, port or folder is left
    assert len(psutil.Process(local.pid).children(recursive=True)) >= 3  # server, 2 environments
    assert stop_and_check(local, partial(local.send_signal, number)) == 0
    with socket.socket() as probe:
        assert probe.connect_ex((address.hostname, address.port)) != 0


def in_a_terminal() -> None:
    """Restore SIGHUP, which is ignored if the tests run under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def image_folders(processes: list[psutil.Process]) -> list[Path]:
    """The image folders that these processes made in build/, by the local AWS's command line.

    There is none if the local AWS runs the image that `make image` built.
    """
    words = [word for process in processes for word in process.cmdline()]
    return [Path(word.partition("=")[2]) for word in words if f"={BUILD / 'image-'}" in word]


def stop_and_check(process: subprocess.Popen[str], stop: Callable[[], object]) -> int:
    """Stop a program that runs a local AWS, check that nothing is left, and return its status."""
    children = psutil.Process(process.pid).children(recursive=True)
    folders = image_folders(children)
    assert folders or IMAGE.exists()
    stop()
    try:
        process.communicate(timeout=60)
    finally:
        process.kill()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    assert [folder for folder in folders if folder.exists()] == []
    return process.returncode


@pytest.mark.slow
def test_local_overrides_the_shells_variables_and_ends_with_its_terminal(
    people: Path, tmp_path: Path
) -> None:
    # GIVEN a shell with misleading variables
    environ = {**os.environ, **MISLEADING}
    with (tmp_path / "stderr").open("w") as stderr:
        local = subprocess.Popen(
            [sys.executable, "-m", "samples.local", "--prefix", "led", "--people", people],
            cwd=ROOT,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
            preexec_fn=in_a_terminal,
        )
    assert local.stdout is not None
    lines: list[str] = []
    try:
        while not lines or not lines[-1].startswith("unset "):
            lines.append(local.stdout.readline())
            assert lines[-1], (tmp_path / "stderr").read_text()

        # WHEN that shell evaluates the printed lines
        client = "import boto3; print(len(boto3.client('s3').list_buckets()['Buckets']))"
        done = subprocess.run(
            ["bash", "-c", f'{"".join(lines)}"$0" -c "$1"', sys.executable, client],
            env=environ,
            capture_output=True,
            text=True,
        )
    finally:
        # WHEN its terminal is closed
        status = stop_and_check(local, partial(os.killpg, local.pid, signal.SIGHUP))

    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr
    assert status == 0


def test_a_server_that_cannot_start_is_reported_in_one_line(people: Path, tmp_path: Path) -> None:
    (tmp_path / "moto").mkdir()
    (tmp_path / "moto" / "__init__.py").write_text("raise RuntimeError('no moto')\n")

    done = subprocess.run(
        [sys.executable, "-m", "samples.local", "--people", people],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    found = re.fullmatch(
        r"Error: The local AWS did not start: RuntimeError: no moto \(see (\S+)\)", last
    )
    assert found, done.stderr
    Path(found[1]).unlink()
    assert "Traceback" not in done.stderr


def demo_argv(people: Path, videos: Path, folder: Path) -> list[str | Path]:
    """The command that `make demo` runs, with the report in `folder`."""
    options = ("--people", people, "--videos", videos, "--report", folder / "report.html")
    return [sys.executable, "-m", "samples.demo", *options]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_demo_leaves_nothing_behind_when_it_is_stopped(
    videos: Path, people: Path, tmp_path: Path, number: signal.Signals
) -> None:
    demo = subprocess.Popen(
        demo_argv(people, videos, tmp_path),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=in_a_terminal,
    )
    assert demo.stderr is not None
    while not demo.stderr.readline().startswith("Uploading"):
        assert demo.poll() is None

    assert stop_and_check(demo, partial(demo.send_signal, number)) == 1


@pytest.mark.slow
def test_the_demo_ignores_the_shells_variables_and_waits_while_another_run_prepares_build(
    videos: Path, people: Path, tmp_path: Path
) -> None:
    (tmp_path / "who.mp4").write_bytes((videos / "test_02.mp4").read_bytes())

    with one_at_a_time():
        demo = subprocess.Popen(
            demo_argv(people, tmp_path, tmp_path),
            cwd=ROOT,
            env={**os.environ, **MISLEADING},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert demo.stderr is not None
        # THEN it says so before it enrolls: the gallery still belongs to the other run
        assert demo.stderr.readline().startswith("Waiting for another run to finish preparing ")
    out, err = demo.communicate(timeout=120)

    assert demo.returncode == 0, err
    assert "1 of 1 video answered, model" in out  # nothing is expected of it


@pytest.mark.slow
def test_the_demo_exits_with_1_if_an_answer_is_wrong(
    videos: Path, people: Path, tmp_path: Path
) -> None:
    (tmp_path / "who.mp4").write_bytes((videos / "test_02.mp4").read_bytes())
    (tmp_path / "expected.csv").write_text("video,name\nwho.mp4,Barack Obama\n")

    demo = subprocess.run(
        demo_argv(people, tmp_path, tmp_path),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert demo.returncode == 1, demo.stderr
    (line,) = [line for line in demo.stdout.splitlines() if line.startswith("who.mp4")]
    assert line.split() == [
        *("who.mp4", "Barack", "Obama", "Joe", "Biden"),
        *line.split()[5:9],
        "WRONG",
    ]
    assert "0 of 1 right, 1 wrong, model" in demo.stdout
    assert f"Report: {tmp_path / 'report.html'}" in demo.stdout
    assert "who.mp4" in (tmp_path / "report.html").read_text()
