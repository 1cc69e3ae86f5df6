"""What a user can cause ends every script with one line that says what, where and what to do."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from local_aws.client_environ import isolated
from pipeline.requirements import INSTALL
from pipeline.settings import ROOT
from tests.deploy.conftest import X86_64, Account, elf, layer_zip

SCRIPTS = (
    "createS3.py",
    *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "deploy").glob("[a-z]*.py")),
    *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "workload").glob("[a-z]*.py")),
)
# Keys for the causes that come after the credentials; they are AWS's own examples.
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}
START_URL = "https://example.awsapps.com/start"
SSO = f"""
sso_session = work
sso_account_id = 123456789012
sso_role_name = admin
[sso-session work]
sso_region = us-east-1
sso_start_url = {START_URL}
"""


@pytest.fixture
def words(tmp_path: Path) -> Callable[[str], list[str]]:
    """Return the options with which a script gets as far as AWS."""
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "a.mp4").write_bytes(b"video")
    run = tmp_path / "run.json"
    video = {"key": "a.mp4", "size_bytes": 1, "started": 1.0, "stored": 2.0, "answered": 3.0}
    content = {"prefix": "p", "namespace": "", "region": "us-east-1", "started": 1.0}
    more = {"ended": 3.0, "skew_s": 0.0, "videos": [video]}
    run.write_text(json.dumps({**content, **more}))
    layer = layer_zip(tmp_path / "ffmpeg.zip", {"bin/ffmpeg": elf(X86_64)})
    own = {
        "deploy/layer.py": ["--zip", str(layer)],
        "workload/generate.py": ["--testcase-folder", str(videos)],
        "workload/tune.py": ["--testcase-folder", str(videos)],
        "workload/report.py": ["--run", str(run), "--output", str(tmp_path / "report.html")],
        "workload/recognize.py": [str(videos / "a.mp4")],
        "deploy/destroy.py": ["--yes"],
        "deploy/prune.py": ["--yes"],
        "deploy/image.py": ["--gallery-uri", "s3://b/data.pt"],
        "deploy/failures.py": ["list"],
    }
    return lambda script: ["--prefix", "p", *own.get(script, [])]


def start(script: str, options: list[str], tmp_path: Path, environ: dict[str, str]) -> Result:
    """Run a script in this process, with nothing of this machine's AWS settings."""
    module = importlib.import_module(script.removesuffix(".py").replace("/", "."))
    command: click.Command = module.main
    unset = {name: None for name in os.environ if name.startswith("AWS_")}
    settings = {
        "HOME": str(tmp_path),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return CliRunner().invoke(command, options, env={**unset, **settings, **environ})


def config(tmp_path: Path, text: str) -> dict[str, str]:
    path = tmp_path / "config"
    path.write_text(text)
    return {"AWS_CONFIG_FILE": str(path)}


Cause = Callable[[Path], tuple[list[str], dict[str, str]]]
CAUSES: dict[str, tuple[Cause, str]] = {
    "endpoint option": (lambda _: (["--endpoint-url", "nowhere"], KEYS), "Check --endpoint-url"),
    "endpoint variable": (
        lambda _: ([], {**KEYS, "AWS_ENDPOINT_URL": "localhost:4566"}),
        "Check --endpoint-url, AWS_ENDPOINT_URL",
    ),
    "no credentials": (lambda _: ([], {}), "pass --profile, or run `aws configure`"),
    "credential_process fails": (
        lambda path: ([], config(path, "[default]\ncredential_process = false\n")),
        "credential_process in ~/.aws/config",
    ),
    "credential_process is missing": (
        lambda path: ([], config(path, "[default]\ncredential_process = /no/such\n")),
        "/no/such",
    ),
    "credential_process prints no JSON": (
        lambda path: ([], config(path, "[default]\ncredential_process = echo hello\n")),
        "credential_process in ~/.aws/config",
    ),
    "not signed in": (lambda path: ([], config(path, f"[default]{SSO}")), "aws sso login"),
    "no profile": (lambda _: (["--profile", "nobody"], {}), "aws configure list-profiles"),
    "broken config": (lambda path: ([], config(path, "[default\nregion")), "config"),
    "no region": (lambda _: ([], {**KEYS, "AWS_DEFAULT_REGION": ""}), "pass --region"),
    "bad region": (lambda _: (["--region", "us east"], KEYS), "us east"),
    "bad prefix": (lambda _: (["--prefix", "No_Prefix"], KEYS), "cannot start a bucket name"),
}
# The run names the prefix and the region.
ELSEWHERE = {("workload/report.py", "no region"), ("workload/report.py", "bad prefix")}


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_cause_is_one_line(
    words: Callable[[str], list[str]], tmp_path: Path, script: str, cause: str
) -> None:
    if (script, cause) in ELSEWHERE:
        pytest.skip("the run file has this setting")
    make, advice = CAUSES[cause]
    options, environ = make(tmp_path)

    done = start(script, [*words(script), *options], tmp_path, environ)

    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == 1
    if script == "deploy/doctor.py" and "FAILED" in done.stdout:  # it goes on with other checks
        lines = [line for line in done.stdout.splitlines() if advice in line]
        assert sum(" credentials and region: " in line for line in done.stdout.splitlines()) == 1
    else:
        lines = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
        assert done.stderr.splitlines()[-1:] == lines
    assert len(lines) == 1, done.output
    assert advice in lines[0]


@pytest.mark.parametrize("package", ["boto3", "click"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_missing_package_is_one_line(tmp_path: Path, script: str, package: str) -> None:
    (tmp_path / f"{package}.py").write_text("raise ImportError('it is not installed')")
    environ = {**isolated(os.environ), "PYTHONPATH": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, str(ROOT / script), "--prefix", "p"],
        env=environ,
        capture_output=True,
        text=True,
    )

    said = done.stdout if script == "deploy/doctor.py" else done.stderr
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"{package} cannot be imported" in said
    assert INSTALL in said
    assert len(said.splitlines()) == (2 if script == "deploy/doctor.py" else 1)


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("script", ["createS3.py", "deploy/status.py", "workload/grade.py"])
def test_a_full_disk_is_one_line(account: Account, script: str, unbuffered: str) -> None:
    environ = {**isolated(os.environ), **account.aws.environ, "PYTHONUNBUFFERED": unbuffered}
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, str(ROOT / script), "--prefix", "full"],
            env=environ,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )

    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line[:2] != "  "]
    assert lines[-1].startswith("Error: Cannot go on: No space left on device. The disk is full")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
@pytest.mark.parametrize("option", ["-h", "--version"])
@pytest.mark.parametrize("script", ["createS3.py", "workload/report.py"])
def test_help_to_a_full_disk_is_one_line(script: str, option: str) -> None:
    with FULL.open("w") as full:
        command = [sys.executable, str(ROOT / script), option]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("Error: Cannot go on: No space left on device.")
