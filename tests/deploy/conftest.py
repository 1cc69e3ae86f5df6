"""An account on the local AWS, and the deploy scripts run in it as a user runs them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import pytest

from local_aws.process import LocalAWS
from pipeline.settings import ROOT, Deployment
from tests.deploy.test_layer_zip import X86_64, elf, layer_zip

REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"


def image_uri(deployment: Deployment) -> str:
    """The address of an image in the deployment's repository."""
    return f"{REGISTRY}/{deployment.repository}@sha256:{'a' * 64}"


def save_gallery(path: Path, model: str | None) -> Path:
    """A gallery of one person made with `model` (None: of the older format, without metadata)."""
    import torch

    content: list[Any] = [[torch.zeros(1, 4)], ["Ann"]]
    if model is not None:
        content.append({"model": model, "image_size": 112})
    torch.save(content, path)
    return path


@dataclass
class Account:
    """A local AWS, names that no other test uses, and a layer that takes no time to send."""

    aws: LocalAWS
    zip_path: Path
    python: str = sys.executable
    numbers: Iterator[int] = field(default_factory=count)
    reserving: list[str] = field(default_factory=list)

    def deployment(self, beside: bool = False) -> Deployment:
        """Names of a deployment that does not exist yet.

        Unless it is to be `beside` them, the ones before it give back the concurrency they have
        reserved: the account has enough for nine.
        """
        if not beside:
            self.give_back()
        number = next(self.numbers)
        deployment = Deployment(f"p{number}", f"n{number}")
        self.reserving.append(deployment.splitter.name)
        return deployment

    def give_back(self) -> None:
        """Take the caps of all deployments away."""
        client = self.client("lambda")
        while self.reserving:
            with contextlib.suppress(client.exceptions.ResourceNotFoundException):
                client.delete_function_concurrency(FunctionName=self.reserving.pop())

    def client(self, service: str, region: str | None = None) -> Any:
        """A boto3 client with the administrator's keys."""
        return boto3.Session(
            aws_access_key_id=self.aws.environ["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.aws.environ["AWS_SECRET_ACCESS_KEY"],
            region_name=region or self.aws.region,
        ).client(service, endpoint_url=self.aws.endpoint)

    def run(
        self, script: str, deployment: Deployment, *options: str, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a script of the checkout's top folder; stdout and stderr are text."""
        names = ["--prefix", deployment.prefix, "--namespace", deployment.namespace]
        return subprocess.run(
            [self.python, str(ROOT / script), *names, *options],
            env={**os.environ, **self.aws.environ, **environ},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    def deploy(self, deployment: Deployment, *options: str) -> str:
        """Everything, by deploy.py; fails the test if it fails; returns what it said."""
        image = ("--zip", str(self.zip_path), "--image-uri", image_uri(deployment))
        done = self.run("deploy/deploy.py", deployment, *image, *options)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def inventory(self) -> dict[str, list[str]]:
        """The names of everything in the account that the scripts could make."""
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
            "queues": self.client("sqs").list_queues().get("QueueUrls", []),
            "log groups": [
                g["logGroupName"] for g in self.client("logs").describe_log_groups()["logGroups"]
            ],
            "repositories": [
                r["repositoryName"]
                for r in self.client("ecr").describe_repositories()["repositories"]
            ],
        }


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """One server for all tests of this folder."""
    zip_path = tmp_path_factory.mktemp("layer") / "ffmpeg.zip"
    layer_zip(zip_path, {"bin/ffmpeg": elf(X86_64)})
    image = tmp_path_factory.mktemp("image")
    (image / "handler.py").write_text("def handler(event, context):\n    return event\n")
    # One repository a namespace: any of them runs from the same folder.
    images = {f"n{number}-face-recognition": image for number in range(100)}
    with LocalAWS(images=images, async_retry_delays="0.1,0.1") as aws:
        yield Account(aws, zip_path)
