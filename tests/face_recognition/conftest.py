"""Fixtures: the recognizer's task root, a model, an S3 server and a gallery of sample people."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from samples.one_at_a_time import one_at_a_time

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "face-recognition"
sys.path.insert(0, str(FOLDER))

import export
import gallery
import models
import recognition
import torch
import torchvision_substitute
from engine import Load
from enroll import enroll

torchvision_substitute.install()  # the tests import facenet-pytorch

# One thread, like the function: threads of test processes that share two cores wait for each
# other, which makes detection 6 times as slow.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """The folder in build/ with the sface model, which is fetched once."""
    folder = ROOT / "build" / "models"
    with one_at_a_time():
        models.fetch("sface", folder)
    return folder


@pytest.fixture(scope="session")
def networks_dir(models_dir: Path) -> Path:
    """The folder in build/ with MTCNN's networks and sface for ncnn, which are made once."""
    folder = ROOT / "build" / "networks" / export.folder_name("sface", models_dir)
    with one_at_a_time():
        if not folder.is_dir():
            pictures = export.read_pictures(ROOT / "build" / "samples" / "photos")
            export.export("sface", models_dir, folder, pictures)
    return folder


@pytest.fixture(scope="session")
def load_network(networks_dir: Path) -> Load:
    """Loads MTCNN's networks and sface in the default engine."""
    return recognition.networks(networks_dir)


@pytest.fixture(scope="session")
def people(sample_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one folder of linked photos per sample person."""
    folder = tmp_path_factory.mktemp("people")
    for person, photo in (
        ("Barack Obama", "obama.jpg"),
        ("Joe Biden", "biden.jpg"),
        ("Eileen Collins", "astronaut.png"),
    ):
        (folder / person).mkdir()
        (folder / person / photo).symlink_to(sample_photos / photo)
    return folder


@pytest.fixture(scope="session")
def data_pt(people: Path, networks_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of the sample people, made with sface."""
    path = tmp_path_factory.mktemp("gallery") / "data.pt"
    done = enroll(people, "sface", networks_dir, 240)
    names = [photo.person for photo in done.photos]
    gallery.save(path, done.embeddings, names, "sface", 240)
    return path


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """A real S3 server: moto on the loopback interface."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def s3(endpoint: str) -> Any:
    """A client of that server, with the buckets created."""
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    for bucket in ("p-stage-1", "p-output"):
        client.create_bucket(Bucket=bucket)
    return client


@pytest.fixture(scope="session")
def load_handler(endpoint: str, networks_dir: Path, data_pt: Path) -> Callable[..., ModuleType]:
    """load(**variables) loads handler.py like a cold start, with extra environment variables."""

    def load(**variables: str) -> ModuleType:
        environment = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "OUTPUT_BUCKET": "p-output",
            "MODEL": "sface",
            "MODELS_DIR": str(networks_dir),
            "GALLERY": str(data_pt),
            "FACES": "known",
            "THRESHOLD": "",
            **variables,
        }
        before = dict(os.environ)
        os.environ.update(environment)
        try:
            name = "face_recognition_handler"
            spec = importlib.util.spec_from_file_location(name, FOLDER / "handler.py")
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module  # dataclasses look up their module
            spec.loader.exec_module(module)
        finally:
            os.environ.clear()
            os.environ.update(before)
        return module

    return load


@pytest.fixture
def output_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment variable that the handler reads on each invocation."""
    monkeypatch.setenv("OUTPUT_BUCKET", "p-output")
