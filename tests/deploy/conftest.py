"""An account on the local AWS, in which the tests run the deploy scripts."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner

from deploy.parts.concurrency import Concurrency, read_concurrency
from local_aws.process import LocalAWS
from pipeline.aws import Aws
from pipeline.cli import Run
from pipeline.settings import ROOT, Deployment, Function

X86_64, ARM64, RISCV = 62, 183, 243  # e_machine in an ELF header
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"  # an image manifest
REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"


def image_uri(deployment: Deployment) -> str:
    """Return the URI of an image in the deployment's repository."""
    return f"{REGISTRY}/{deployment.repository}@sha256:{'a' * 64}"


def elf(machine: int) -> bytes:
    """Return the start of a 64-bit little-endian ELF program for `machine` (e_machine)."""
    return (
        b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00" + machine.to_bytes(2, "little") + bytes(44)
    )


def layer_zip(path: Path, files: dict[str, bytes], mode: int = 0o755) -> Path:
    """Write a zip with these files, all with the same mode."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return path


def save_gallery(path: Path, model: str | None) -> Path:
    """Write a gallery of one person made with `model`; None writes the older format."""
    import torch

    content: list[Any] = [[torch.zeros(1, 4)], ["Ann"]]
    if model is not None:
        content.append({"model": model, "image_size": 112})
    torch.save(content, path)
    return path


@dataclass
class Account:
    """A local AWS, names that no other test uses, and a small layer that is quick to send."""

    aws: LocalAWS
    zip_path: Path
    python: str = sys.executable
    numbers: Iterator[int] = field(default_factory=count)
    reserving: list[str] = field(default_factory=list)
    clients: dict[tuple[str, str], Any] = field(default_factory=dict)

    def deployment(self, beside: bool = False) -> Deployment:
        """Return the names of a deployment that does not exist yet.

        Unless it is `beside` earlier ones, their reserved concurrency is released: an account has
        enough for nine deployments.
        """
        if not beside:
            self.give_back()
        number = next(self.numbers)
        deployment = Deployment(f"p{number}", f"n{number}")
        self.reserving.append(deployment.splitter.name)
        return deployment

    def give_back(self) -> None:
        """Remove the caps of all deployments."""
        client = self.client("lambda")
        while self.reserving:
            with contextlib.suppress(client.exceptions.ResourceNotFoundException):
                client.delete_function_concurrency(FunctionName=self.reserving.pop())

    def client(self, service: str, region: str | None = None) -> Any:
        """Return a boto3 client with the administrator's keys, created on first use."""
        key = (service, region or self.aws.region)
        if key not in self.clients:
            session: Any = boto3.Session(
                aws_access_key_id=self.aws.environ["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=self.aws.environ["AWS_SECRET_ACCESS_KEY"],
                region_name=key[1],
            )
            self.clients[key] = session.client(service, endpoint_url=self.aws.endpoint)
        return self.clients[key]

    def run(
        self, script: str, deployment: Deployment, *options: str, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a script in this process, which saves the time it takes to import boto3.

        `start` runs it as users do. An unexpected error is raised here.
        """
        names = ("--prefix", deployment.prefix, "--namespace", deployment.namespace)
        return self.run_alone(script, *names, *options, **environ)

    def run_alone(
        self, script: str, *words: str, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a script like `run`, without the options that select a deployment."""
        module = importlib.import_module(script.removesuffix(".py").replace("/", "."))
        done = CliRunner().invoke(module.main, words, env={**self.aws.environ, **environ})
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        outcome = (done.exit_code, done.stdout, done.stderr)
        return subprocess.CompletedProcess([script, *words], *outcome)

    def start(
        self, script: str, deployment: Deployment, *options: str, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a script as a separate program, as users do."""
        names = ["--prefix", deployment.prefix, "--namespace", deployment.namespace]
        return subprocess.run(
            [self.python, str(ROOT / script), *names, *options],
            env={**os.environ, **self.aws.environ, **environ},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    def deploy(self, deployment: Deployment, *options: str) -> str:
        """Deploy everything with deploy.py, which must succeed; return its stderr."""
        image = ("--zip", str(self.zip_path), "--image-uri", image_uri(deployment))
        done = self.run("deploy/deploy.py", deployment, *image, *options)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def inventory(self) -> dict[str, list[str]]:
        """Return the names of everything in the account that the scripts could create."""
        s3, iam, functions = self.client("s3"), self.client("iam"), self.client("lambda")
        return {
            "buckets": [b["Name"] for b in s3.list_buckets()["Buckets"]],
            "roles": [r["RoleName"] for r in iam.list_roles()["Roles"]],
            "functions": [
                f["FunctionName"]
                for page in functions.get_paginator("list_functions").paginate()
                for f in page["Functions"]
            ],
            "layers": [
                layer["LatestMatchingVersion"]["LayerVersionArn"]
                for layer in functions.list_layers()["Layers"]
            ],
            "alarms": [
                a["AlarmName"] for a in self.client("cloudwatch").describe_alarms()["MetricAlarms"]
            ],
            "dashboards": [
                d["DashboardName"]
                for d in self.client("cloudwatch").list_dashboards()["DashboardEntries"]
            ],
            "topics": [t["TopicArn"] for t in self.client("sns").list_topics()["Topics"]],
            "queues": self.client("sqs").list_queues().get("QueueUrls", []),
            "log groups": [
                g["logGroupName"] for g in self.client("logs").describe_log_groups()["logGroups"]
            ],
            "repositories": [
                r["repositoryName"]
                for r in self.client("ecr").describe_repositories()["repositories"]
            ],
        }


def see_limit(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Let the scripts see another limit, as if AWS had changed the account's quota."""

    def read(run: Run, function: Function) -> Concurrency:
        own = read_concurrency(run, function).own
        return Concurrency(limit, limit - own, own)

    for module in ("deploy.parts.rights", "deploy.parts.concurrency", "deploy.trigger"):
        monkeypatch.setattr(f"{module}.read_concurrency", read)


def program(folder: Path, name: str, script: str) -> Path:
    """Write an executable shell script."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def put_image(account: Account, repository: str, tag: str, media_type: str) -> str:
    """Put an image of one layer, which does not exist, into ECR; return its digest."""
    layer = {"digest": f"sha256:{hashlib.sha256(tag.encode()).hexdigest()}", "size": 1_000_000}
    manifest = {"schemaVersion": 2, "mediaType": media_type, "config": {}, "layers": [layer]}
    image = account.client("ecr").put_image(
        repositoryName=repository,
        imageManifest=json.dumps(manifest),
        imageManifestMediaType=media_type,
        imageTag=tag,
    )["image"]
    return str(image["imageId"]["imageDigest"])


def aws_of(account: Account, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """Give this process the administrator's keys."""
    for name, value in account.aws.environ.items():
        monkeypatch.setenv(name, value)
    return Aws()


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """One server per process for the tests in this folder."""
    zip_path = tmp_path_factory.mktemp("layer") / "ffmpeg.zip"
    layer_zip(zip_path, {"bin/ffmpeg": elf(X86_64)})
    image = tmp_path_factory.mktemp("image")
    (image / "handler.py").write_text("def handler(event, context):\n    return event\n")
    # One repository per namespace; all of them run the code in the same folder.
    images = {f"n{number}-face-recognition": image for number in range(1000)}
    with LocalAWS(images=images, async_retry_delays="0.1,0.1") as aws:
        yield Account(aws, zip_path)


@pytest.fixture(autouse=True)
def rights_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for new rights, which the local AWS gives at once."""
    monkeypatch.setattr("deploy.roles.SETTLING_S", 0)


@pytest.fixture(params=["sface", "older"])
def shared_gallery(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A gallery, with or without metadata, and the model that it was made with."""
    model = "sface" if request.param == "sface" else None
    return save_gallery(tmp_path / "made.pt", model), model or "facenet-vggface2"


@pytest.fixture
def run(account: Account, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run of a script in the account, on a deployment that does not exist yet."""
    return Run(account.deployment(), aws_of(account, monkeypatch))
