"""The server as a process: starting, stopping, its leftovers and its memory."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import md5
from pathlib import Path

import psutil
import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner

from local_aws.__main__ import main
from local_aws.disk_bodies import Body
from local_aws.process import LocalAWS, StartError
from tests.local_aws.conftest import MISLEADING, Cloud

Start = Callable[..., LocalAWS]


def test_stopping_leaves_no_process_no_port_and_no_file(
    started: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)  # forget the cached value
    aws = started()
    cloud = Cloud(aws)
    cloud.invoke(cloud.function("def handler(event, context):\n    return 1\n"))
    server = psutil.Process(aws.pid)
    functions = server.children(recursive=True)
    assert len(list(tmp_path.iterdir())) == 2  # its log and its data
    port = int(aws.endpoint.rsplit(":", 1)[1])
    assert functions

    aws.stop()

    assert not psutil.wait_procs(functions, timeout=5)[1]
    with socket.socket() as sock:
        assert sock.connect_ex(("127.0.0.1", port)) != 0
    assert list(tmp_path.iterdir()) == []


def test_functions_die_with_a_killed_server(started: Start, tmp_path: Path) -> None:
    aws = started(data=tmp_path)  # a killed server leaves its files
    cloud = Cloud(aws)
    code = "import time\ndef handler(event, context):\n    time.sleep(event.get('seconds', 0))\n"
    idle, busy = cloud.function(code), cloud.function(code, Timeout=60)
    for name in (idle, busy):
        cloud.invoke(name)
    cloud.client("lambda").invoke(
        FunctionName=busy, InvocationType="Event", Payload=b'{"seconds": 50}'
    )
    time.sleep(0.5)
    functions = psutil.Process(aws.pid).children(recursive=True)
    assert functions

    os.kill(aws.pid, signal.SIGKILL)

    assert not psutil.wait_procs(functions, timeout=10)[1]


def test_an_idle_server_hardly_wakes_up(started: Start) -> None:
    aws = started()
    cloud = Cloud(aws)
    for name in [cloud.function("def handler(event, context):\n    return 1\n") for _ in range(3)]:
        cloud.invoke(name)
    time.sleep(0.5)  # telemetry of the last invocation
    before = wake_ups(aws.pid)

    time.sleep(1)

    assert wake_ups(aws.pid) - before < 10


def wake_ups(pid: int) -> int:
    """How often the threads of a process have waited for something so far."""
    texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return sum(
        int(line.split()[1])
        for t in texts
        for line in t.splitlines()
        if "nonvol" not in line and "voluntary" in line
    )


def test_a_busy_port_is_a_clear_error() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        with pytest.raises(StartError, match=f"Port {port} of 127.0.0.1 is in use"):
            LocalAWS(port=port).__enter__()


def test_another_port_is_used_if_4566_is_taken(started: Start) -> None:
    first, second = started(port=None), started(port=None)

    assert first.endpoint != second.endpoint


def test_only_loopback_is_served(started: Start) -> None:
    server = psutil.Process(started().pid)

    listening = [c.laddr.ip for c in server.net_connections() if c.status == psutil.CONN_LISTEN]

    assert set(listening) == {"127.0.0.1"}


def test_a_shell_can_evaluate_the_printed_lines() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "local_aws", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(6)]
    process.send_signal(signal.SIGINT)

    assert process.wait(20) == 0
    process.stdout.close()
    assert all(re.fullmatch(r"export AWS_[A-Z0-9_]+=\S+\n", line) for line in lines)


STARTER = """
import time
from local_aws.process import LocalAWS
with LocalAWS() as aws:
    print(aws.pid, flush=True)
    time.sleep(600)
"""


def test_the_server_ends_if_its_starter_is_killed(root: Path, tmp_path: Path) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER],
        cwd=root,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert starter.stdout is not None
    server = psutil.Process(int(starter.stdout.readline()))

    starter.kill()
    starter.communicate()

    try:
        server.wait(20)
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            server.kill()
    (left,) = tmp_path.iterdir()
    assert left.suffix == ".log"  # which the starter would have removed


def test_a_server_that_ends_by_itself_is_reported_in_one_line(
    started: Start, tmp_path: Path
) -> None:
    aws = started(data=tmp_path)  # a killed server leaves its files

    os.kill(aws.pid, signal.SIGKILL)

    # the message does not name its log, which is removed
    with pytest.raises(StartError, match=r"^The local AWS ended with status -9: .* serving at .*$"):
        aws.wait()


def test_the_commands_in_the_help_work(root: Path, tmp_path: Path) -> None:
    text = CliRunner().invoke(main, ["--help"]).output
    serve, use = "python3 -m local_aws | tee aws.env", ". ./aws.env"
    assert serve in text
    assert use in text
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environ = {**os.environ, **MISLEADING, "PATH": paths, "PYTHONPATH": str(root)}
    process = subprocess.Popen(
        ["bash", "-c", serve.replace(" |", " --port 0 |")],  # 4566 may be in use
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    printed = tmp_path / "aws.env"
    try:
        while not printed.exists() or "unset " not in printed.read_text():
            assert process.poll() is None
            time.sleep(0.1)

        done = subprocess.run(
            ["bash", "-c", f"{use} && aws s3 mb s3://made && aws s3 ls"],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
        )
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(20)

    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(" made\n")


def test_the_shells_variables_do_not_mislead_the_server(
    started: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in MISLEADING.items():
        monkeypatch.setenv(name, value)
    aws = started()
    for name in MISLEADING:  # the test's own clients
        monkeypatch.delenv(name)
    cloud = Cloud(aws)

    name = cloud.function(
        "import boto3, os\n"
        "def handler(event, context):\n"
        "    print('listed', boto3.client('s3').list_buckets()['Buckets'])\n"
        "    return sorted(os.environ)\n"
    )
    seen, error, _ = cloud.invoke(name)

    assert error is None
    assert not {"AWS_PROFILE", "AWS_ENDPOINT_URL_S3", "http_proxy"} & set(seen)
    assert "listed []" in cloud.log_lines(name)


def test_a_failure_to_start_is_one_line_and_its_log_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "click.py").write_text("raise RuntimeError('this click is broken')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    with pytest.raises(StartError) as error:
        LocalAWS().__enter__()

    text = str(error.value)
    match = re.fullmatch(
        r"The local AWS did not start: RuntimeError: this click is broken \(see (\S+)\)", text
    )
    assert match, text
    assert "Traceback" in Path(match[1]).read_text()
    Path(match[1]).unlink()


def test_bodies_stay_out_of_memory_and_descriptors(started: Start) -> None:
    aws = started()
    s3, server = Cloud(aws).client("s3"), psutil.Process(aws.pid)
    s3.create_bucket(Bucket="big")
    s3.put_object(Bucket="big", Key="warm-up", Body=bytes(4_000_000))
    rss, descriptors = server.memory_info().rss, server.num_fds()
    body = os.urandom(4_000_000)

    for index in range(100):
        answer = s3.put_object(Bucket="big", Key=f"{index}", Body=body)
        assert answer["ETag"] == f'"{md5(body).hexdigest()}"'

    assert server.memory_info().rss - rss < 100_000_000
    assert server.num_fds() - descriptors < 60
    assert s3.get_object(Bucket="big", Key="99")["Body"].read() == body


def test_only_the_requested_range_is_read(started: Start) -> None:
    aws = started()
    s3, server = Cloud(aws).client("s3"), psutil.Process(aws.pid)
    s3.create_bucket(Bucket="big")
    body = os.urandom(1 << 20) * 100
    s3.put_object(Bucket="big", Key="k", Body=body)
    before = server.io_counters().read_chars

    def read(text: str) -> bytes:
        answer = s3.get_object(Bucket="big", Key="k", Range=text)
        data: bytes = answer["Body"].read()
        assert answer["ContentLength"] == len(data)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == (200 if data == body else 206)
        return data

    assert read("bytes=1000-1999") == body[1000:2000]
    assert read("bytes=-10") == body[-10:]
    assert read(f"bytes={len(body) - 5}-") == body[-5:]
    assert read(f"bytes={len(body) - 5}-{len(body) + 5}") == body[-5:]
    assert server.io_counters().read_chars - before < 1 << 20
    assert read("bytes=0-1,5-6") == body  # several ranges: the whole body, as in S3
    with pytest.raises(ClientError, match="InvalidRange"):
        read(f"bytes={len(body)}-")

    # the whole body is sent block by block
    rss = server.memory_info().rss
    sent = s3.get_object(Bucket="big", Key="k")["Body"]
    first = sent.read(1 << 20)
    assert server.memory_info().rss - rss < 20 << 20
    s3.delete_object(Bucket="big", Key="k")  # it exists until it has been sent
    assert first + sent.read() == body
    s3.put_object(Bucket="big", Key="empty", Body=b"")
    assert s3.get_object(Bucket="big", Key="empty")["Body"].read() == b""


def test_reading_while_writing_never_mixes_two_bodies(cloud: Cloud) -> None:
    s3, bucket = cloud.client("s3"), cloud.name("bucket")
    s3.create_bucket(Bucket=bucket)
    bodies = [bytes([n]) * 500_000 for n in range(8)]
    etags = {f'"{md5(body).hexdigest()}"': body for body in bodies}
    s3.put_object(Bucket=bucket, Key="k", Body=bodies[0])

    def read(_: int) -> bool:
        answer = s3.get_object(Bucket=bucket, Key="k")
        return bool(answer["Body"].read() == etags[answer["ETag"]])

    with ThreadPoolExecutor(4) as pool:
        writes = [pool.submit(s3.put_object, Bucket=bucket, Key="k", Body=b) for b in bodies * 3]
        assert all(pool.map(read, range(30)))
        for write in writes:
            write.result()


def test_a_body_exists_as_long_as_a_reader(tmp_path: Path) -> None:
    kept = body = Body(tmp_path, b"content")

    del body  # as if overwritten during a read
    assert kept.read() == b"content"
    del kept

    assert list(tmp_path.iterdir()) == []


def test_a_deleted_object_leaves_no_file(started: Start, tmp_path: Path) -> None:
    aws = started(data=tmp_path)
    s3 = Cloud(aws).client("s3")
    s3.create_bucket(Bucket="gone")
    s3.put_object(Bucket="gone", Key="k", Body=b"x" * 1000)
    s3.put_object(Bucket="gone", Key="k", Body=b"y" * 2000)
    deadline = time.monotonic() + 5
    while len(list((tmp_path / "objects").iterdir())) > 1 and time.monotonic() < deadline:
        time.sleep(0.1)
    (left,) = (tmp_path / "objects").iterdir()
    assert left.stat().st_size == 2000

    s3.delete_object(Bucket="gone", Key="k")

    while list((tmp_path / "objects").iterdir()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not list((tmp_path / "objects").iterdir())
