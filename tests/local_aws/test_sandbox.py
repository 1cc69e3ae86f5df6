"""Zip functions see what they see on Lambda, and nothing else of this machine."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import requires
from pathlib import Path

import psutil
import pytest

from local_aws.errors import NoSandbox
from local_aws.image_sandbox import Image
from local_aws.process import LocalAWS
from local_aws.sandbox import packed
from local_aws.sandboxes import Sandboxes
from local_aws.zip_root import PACKAGES, packages, variables
from tests.local_aws.conftest import ANYTHING, Cloud, zipped
from tests.local_aws.test_concurrency import SPEC

BASE = Path(__file__).resolve().parents[2] / "build" / "base"
FOLDER_HANDLER = """
import os, moto
def handler(event, context):
    return [os.getuid(), os.getcwd(), os.listdir("/tmp"), os.access("/var/task", os.W_OK)]
"""
PROBE = """
import grp, json, os, pwd, resource, shutil, sys
from importlib.util import find_spec
from pathlib import Path

FOLDERS = "/ /dev /dev/shm /etc /home /mnt /opt /opt/bin /proc/sys/kernel /root /run /srv /tmp"
FOLDERS += " /usr /usr/bin /usr/lib /usr/local /var /var/lang /var/runtime /var/task /var/tmp"
MODULES = "awslambdaric boto3 botocore click dateutil jmespath moto ncnn numpy PIL pytest"
MODULES += " s3transfer simplejson torch urllib3 werkzeug yaml"
KERNEL = "/proc/irq /proc/sys/vm/swappiness /proc/sysrq-trigger"
PROGRAMS = "aws bash cat ffmpeg gcc git pip pytest python3 sed sh unshare"

def attempt(folder):
    try:
        path = Path(folder, "written")
        path.touch()
        path.unlink()
        return True
    except OSError:
        return False

def known(find, number):
    try:
        return bool(find(number))
    except KeyError:
        return False

def handler(event, context):
    disk = os.statvfs("/tmp")
    found = os.listdir("/tmp")
    Path("/tmp", event.get("leave", "left")).touch()
    status = Path("/proc/self/status").read_text().splitlines()
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return {
        "user": [os.getuid(), os.getgid()],
        "known": [known(pwd.getpwuid, os.getuid()), known(grp.getgrgid, os.getgid())],
        "home": os.path.expanduser("~"),
        "rights": [line.split()[1] for line in status if line[:6] in ("CapEff", "NoNewP")],
        "roots": [line.split()[1] for line in mounts].count("/"),
        "parents": [os.getppid(), os.getpid() < 10],
        "processes": len([name for name in os.listdir("/proc") if name.isdigit()]),
        "writable": list(filter(attempt, FOLDERS.split())),
        "kernel": [path for path in KERNEL.split() if os.access(path, os.W_OK)],
        "tmp": [found, disk.f_blocks * disk.f_frsize >> 20],
        "devices": sorted(os.listdir("/dev")),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "modules": list(filter(find_spec, MODULES.split())),
        "path": [place for place in sys.path if "packages" not in place and "/lang/" not in place],
        "environ": sorted(os.environ),
        "cwd": os.getcwd(),
    }

def programs(event, context):
    return list(filter(shutil.which, PROGRAMS.split())), find_spec("pip") is not None
"""
ENVIRON = """
AWS_ACCESS_KEY_ID AWS_DEFAULT_REGION AWS_EC2_METADATA_DISABLED AWS_ENDPOINT_URL AWS_EXECUTION_ENV
AWS_LAMBDA_FUNCTION_MEMORY_SIZE AWS_LAMBDA_FUNCTION_NAME AWS_LAMBDA_FUNCTION_VERSION
AWS_LAMBDA_INITIALIZATION_TYPE AWS_LAMBDA_LOG_GROUP_NAME AWS_LAMBDA_LOG_STREAM_NAME
AWS_LAMBDA_RUNTIME_API AWS_REGION AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN LAMBDA_RUNTIME_DIR
LAMBDA_TASK_ROOT LANG LC_CTYPE LD_LIBRARY_PATH PATH PYTHONPATH TZ _HANDLER _X_AMZN_TRACE_ID
"""
EXPECTED = {
    "user": [993, 990],
    "known": [False, False],
    "home": "~",
    "rights": ["0" * 16, "1"],
    "roots": 1,
    "parents": [1, True],
    "processes": 2,
    "writable": ["/tmp"],
    "kernel": [],
    "tmp": [[], 600],
    "devices": ["fd", "full", "null", "random", "stderr", "stdin", "stdout", "urandom", "zero"],
    "files": [1024, 1024],
    "modules": [
        *("awslambdaric", "boto3", "botocore", "dateutil", "jmespath"),
        *("s3transfer", "simplejson", "urllib3"),
    ],
    "path": ["/var/task", "/opt/python", "/var/runtime"],
    "environ": ENVIRON.split(),
    "cwd": "/var/task",
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image with the probe, made like AWS's own Python image; empty if there is no base."""
    folder = tmp_path_factory.mktemp("image")
    if not BASE.is_dir():
        return folder
    root = folder / "rootfs"
    subprocess.run(["cp", "-al", BASE, root], check=True)
    (root / "var" / "task" / "handler.py").write_text(PROBE)
    for source, name in packages():  # AWS's image has boto3, ours only awslambdaric
        target = root / name[1:]
        if source.is_dir() and not target.exists():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("data", "__pycache__"))
        elif not target.exists():
            shutil.copy(source, target)
    variables = {
        "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
        "LD_LIBRARY_PATH": "/var/lang/lib:/opt/lib",
        "PYTHONPATH": "/var/runtime",
        "LANG": "en_US.UTF-8",
        "TZ": ":/etc/localtime",
        "LAMBDA_TASK_ROOT": "/var/task",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
    }
    config = {
        "Env": [f"{name}={value}" for name, value in variables.items()],
        "Entrypoint": ["/lambda-entrypoint.sh"],
        "Cmd": ["handler.handler"],
        "WorkingDir": "/var/task",
    }
    (folder / "config.json").write_text(json.dumps({"config": config}))
    return folder


@pytest.fixture(scope="module")
def cloud(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A server with an image and a folder."""
    folder = tmp_path_factory.mktemp("folder")
    (folder / "handler.py").write_text(FOLDER_HANDLER)
    with LocalAWS(images={"an-image": base, "a-folder": folder}) as aws:
        yield Cloud(aws)


def image_function(cloud: Cloud, repository: str) -> str:
    """The name of a new function that runs this image."""
    name = cloud.name("image")
    uri = f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{repository}:1"
    cloud.client("lambda").create_function(
        FunctionName=name,
        PackageType="Image",
        Code={"ImageUri": uri},
        Role=cloud.role(ANYTHING),
        Timeout=20,
        MemorySize=256,
        EphemeralStorage={"Size": 600},
    )
    return name


def test_a_zip_function_sees_what_it_sees_on_lambda(cloud: Cloud) -> None:
    leave = f"left-{os.getpid()}"

    seen = cloud.invoke(cloud.function(PROBE, EphemeralStorage={"Size": 600}), {"leave": leave})[0]

    assert seen == EXPECTED
    assert not Path("/tmp", leave).exists()
    assert "NOT ISOLATED" not in cloud.aws.log_path.read_text()


def test_an_image_function_sees_the_same(cloud: Cloud) -> None:
    if not BASE.is_dir():
        pytest.skip("no base image here: make image makes one")

    seen = cloud.invoke(image_function(cloud, "an-image"))[0]

    # An image's own Python decides where it looks first.
    differing = {"path": None, "environ": None}
    assert {**seen, **differing} == {**EXPECTED, **differing}
    assert set(ENVIRON.split()) - set(seen["environ"]) <= {"LC_CTYPE"}
    assert set(seen["environ"]) - set(ENVIRON.split()) <= {"PWD"}  # by the entry point's shell


def test_the_machines_programs_and_packages_are_missing(cloud: Cloud) -> None:
    found = cloud.invoke(cloud.function(PROBE, Handler="handler.programs"))[0]

    assert found == [["bash", "cat", "python3", "sed", "sh"], False]


def test_environments_share_no_files_and_no_processes(cloud: Cloud) -> None:
    code = (
        "import os, pathlib, subprocess\ndef handler(event, context):\n"
        "    found = os.listdir('/tmp')\n"
        "    pathlib.Path('/tmp', context.function_name).touch()\n"
        "    subprocess.Popen(['sleep', '60'])\n"
        "    return found, len([pid for pid in os.listdir('/proc') if pid.isdigit()])\n"
    )
    first, second = cloud.function(code), cloud.function(code)

    assert cloud.invoke(first)[0] == [[], 3]
    assert cloud.invoke(second)[0] == [[], 3]
    assert cloud.invoke(first)[0] == [[first], 4]  # its own are kept


def layer(cloud: Cloud, text: str, *more: str) -> str:
    """The ARN of a new layer whose bin/tool, and more such scripts, say `text`."""
    script = f"#!/bin/sh\necho {text}\n"
    files = {"bin/tool": script, **dict.fromkeys(more, script), "python/named.py": f"N = '{text}'"}
    answer = cloud.client("lambda").publish_layer_version(
        LayerName=cloud.name("layer"),
        Content={"ZipFile": zipped(files, dict.fromkeys(files, 0o755))},
    )
    return str(answer["LayerVersionArn"])


def test_layers_are_merged_in_opt_and_the_last_wins(cloud: Cloud) -> None:
    code = (
        "import os, subprocess\ndef handler(event, context):\n"
        "    run = [['/opt/bin/tool'], ['tool'], ['/opt/bin/only']]\n"
        "    return [subprocess.check_output(one, text=True) for one in run]\n"
    )

    layers = [layer(cloud, "first", "bin/only"), layer(cloud, "second")]

    assert cloud.invoke(cloud.function(code, Layers=layers))[0] == [
        "second\n",
        "second\n",
        "first\n",
    ]


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("os.kill(os.getpid(), 9)", "signal: SIGKILL"),
        ("os.abort()", "signal: SIGABRT"),
        ("os._exit(137)", "exit status 137"),
    ],
)
def test_how_a_function_ended_is_reported(cloud: Cloud, statement: str, text: str) -> None:
    code = f"import os\ndef handler(event, context):\n    {statement}\n"

    assert text in cloud.invoke(cloud.function(code))[0]["errorMessage"]


@pytest.mark.parametrize(
    ("line", "status", "kind"),
    [
        ("mine", 125, "ExitError"),
        ("mine", 127, "ExitError"),
        ("sandbox: not permitted", 125, "SandboxFailed"),
        ("python3: error while loading shared libraries: libz.so", 127, "SandboxFailed"),
    ],
)
def test_a_failed_sandbox_is_told_from_a_function_that_ends_likewise(
    cloud: Cloud, line: str, status: int, kind: str
) -> None:
    cloud.invoke(cloud.function("def handler(event, context):\n    pass\n"))  # one has worked
    code = f"import os\nprint({line!r}, flush=True)\nos._exit({status})\n"

    assert cloud.invoke(cloud.function(code))[0]["errorType"] == f"Runtime.{kind}"


def test_programs_and_libraries_are_looked_for_where_lambda_does() -> None:
    # https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
    found = variables(SPEC)

    assert found["PATH"] == "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin"
    assert found["LD_LIBRARY_PATH"] == (
        "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:"
        "/var/task:/var/task/lib:/opt/lib"
    )


@contextlib.contextmanager
def entered(folder: Path, script: str) -> Iterator[subprocess.Popen[bytes]]:
    """A shell script that runs in a zip function's sandbox."""
    code = folder / "code"
    code.mkdir()
    found = Sandboxes(folder / "sandbox").of(replace(SPEC, task_root=code))
    assert found is not None
    sandbox = replace(found, command=("sh", "-c", script))
    alive, end = os.pipe()
    environ = os.memfd_create("environ")
    os.write(environ, packed(sandbox.environment))
    argv = ["sh", "-c", 'ulimit -c unlimited; exec "$@"', "sh", *sandbox.argv(alive, environ, 16)]
    with subprocess.Popen(
        argv, cwd=code, pass_fds=(alive, environ), stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        yield process
    for file in (alive, end, environ):
        os.close(file)
    assert list(code.iterdir()) == []  # no core dump


def enter(folder: Path, script: str) -> tuple[str, int]:
    """Run a shell script in a zip function's sandbox; return its output and its wait status."""
    with entered(folder, script) as process:
        assert process.stdout is not None
        return process.stdout.read().decode(), os.waitpid(process.pid, 0)[1]


def test_a_program_ends_if_the_process_that_watches_it_does(tmp_path: Path) -> None:
    with entered(tmp_path, "echo up; sleep 30") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        inside = psutil.Process(process.pid).children(recursive=True)
        assert len(inside) >= 2

        process.kill()

        _, left = psutil.wait_procs(inside, timeout=5)
        for one in left:
            one.kill()
    assert left == []


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGPIPE])
def test_a_program_that_a_signal_ends_dumps_no_core(tmp_path: Path, number: int) -> None:
    status = enter(tmp_path, f"kill -{number} $$")[1]

    assert (os.WTERMSIG(status), os.WCOREDUMP(status)) == (number, False)


def test_a_program_gets_no_files_of_the_server_and_ignores_no_signal(tmp_path: Path) -> None:
    numbers = (signal.SIGHUP, signal.SIGRTMIN)  # as under nohup
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        output = enter(tmp_path, "grep SigIgn /proc/self/status; ls -m /proc/$$/fd; env")[0]
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)

    ignored, files, *variables = output.splitlines()
    # Signals 32 and 33 are glibc's own: nobody can set them, so a program has what its starter had.
    own = 1 << (32 - 1) | 1 << (33 - 1)
    assert int(ignored.removeprefix("SigIgn:\t"), 16) & ~own == 0
    assert files == "0, 1, 2"
    assert "LAMBDA_TASK_ROOT=/var/task" in variables


def test_a_program_has_namespaces_of_its_own(tmp_path: Path) -> None:
    kinds = ("ipc", "mnt", "pid", "user")

    output = enter(tmp_path, "".join(f"readlink /proc/self/ns/{kind};" for kind in kinds))[0]

    ours = [str(Path("/proc/self/ns", kind).readlink()) for kind in kinds]
    assert [line.partition(":")[0] for line in output.split()] == list(kinds)
    assert set(output.split()).isdisjoint(ours)


def test_an_orphan_that_ends_does_not_end_the_program(tmp_path: Path) -> None:
    status = enter(tmp_path, "(sleep 0.1 &); sleep 0.4; exit 7")[1]

    assert os.waitstatus_to_exitcode(status) == 7


def test_a_folder_function_imports_what_this_python_has(cloud: Cloud) -> None:
    seen = cloud.invoke(image_function(cloud, "a-folder"))[0]

    assert seen == [993, "/var/task", [], False]


def test_without_namespaces_functions_run_and_a_warning_says_how(tmp_path: Path) -> None:
    image = tmp_path / "image"
    (image / "rootfs").mkdir(parents=True)
    (image / "config.json").write_text(json.dumps({"config": {"Cmd": ["/run"]}}))
    aws = LocalAWS(images={"an-image": image})
    # In their own user namespace, anybody may forbid further ones.
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
    aws._argv = ["unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh", *aws._argv]
    with aws:
        cloud = Cloud(aws)
        code = (
            "import os, subprocess, moto, named\ndef handler(event, context):\n"
            "    return os.getcwd(), named.N, subprocess.check_output('tool', text=True)\n"
        )
        layers = [layer(cloud, "first"), layer(cloud, "second")]
        for _ in range(2):
            folder, *said = cloud.invoke(cloud.function(code, Layers=layers))[0]
            assert Path(folder).is_relative_to("/tmp")
            assert said == ["second", "second\n"]
        failed = cloud.invoke(image_function(cloud, "an-image"))[0]
        log = aws.log_path.read_text()

    assert log.count("FUNCTIONS ARE NOT ISOLATED") == 1
    assert "No space left on device (create namespaces)" in log
    assert failed["errorType"] == "Runtime.SandboxFailed"


def test_only_the_first_zip_environment_decides_to_do_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sandboxes, error = Sandboxes(tmp_path / "first"), NoSandbox("sandbox: not permitted", [])
    image = Image(tmp_path, {}, (), ("/run",), "/")

    # A broken image says nothing about this machine.
    with pytest.raises(NoSandbox):
        sandboxes.refuse(replace(SPEC, image=image), error)
    assert sandboxes.of(SPEC) is not None

    # Several may start at the same time, and one may be the first to work without.
    sandboxes.refuse(SPEC, error)
    sandboxes.have_worked(False)
    sandboxes.refuse(SPEC, error)
    assert sandboxes.of(SPEC) is None
    assert caplog.text.count("FUNCTIONS ARE NOT ISOLATED") == 1

    # Where it has worked, a function that fails must not run without.
    others = Sandboxes(tmp_path / "other")
    others.have_worked(True)
    with pytest.raises(NoSandbox):
        others.refuse(SPEC, error)


def test_the_runtime_has_awss_packages_with_all_that_they_need() -> None:
    def needed(name: str) -> Iterator[str]:
        yield re.sub("[-_.]+", "_", name).lower()
        for line in requires(name) or ():
            if "extra ==" not in line:
                yield from needed(re.split("[ <>=!~;(]", line)[0])

    wanted = {*needed("boto3"), *needed("awslambdaric")}

    assert wanted <= set(PACKAGES)
    found = {re.split("[-.]", name.rpartition("/")[2])[0] for _, name in packages()}
    assert found == set(PACKAGES)
