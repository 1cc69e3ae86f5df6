"""Fixtures: the splitter with real ffmpeg, a real S3 server and a recognizer over real HTTP."""

from __future__ import annotations

import hashlib
import http.server
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from pipeline.settings import ROOT

FOLDER = Path(__file__).resolve().parents[2] / "video-splitting"
sys.path.insert(0, str(FOLDER))

import step_log

Make = Callable[..., Path]


def face(name: str, distance: float, nearest: str = "Ann") -> dict[str, Any]:
    """A face as the recognizer reports it."""
    return {
        "name": name,
        "distance": distance,
        "probability": 0.99,
        "box": [0.0, 0.0, 9.0, 9.0],
        "nearest": nearest if name == "Unknown" else name,
    }


SETTINGS = {
    "model": "sface",
    "gallery": "0123abcd",
    "threshold": "0.6370",
    "selection": "known",
}


class Callee(http.server.ThreadingHTTPServer):
    """A recognizer behind Lambda's Invoke API: answers from `script` first, then correctly.

    `faces` has the faces of a frame by its key, or by its time in seconds; others show Ann. With
    `s3`, it reads frames and writes outputs as face-recognition does.
    """

    daemon_threads = True
    face = staticmethod(face)

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), CalleeRequest)
        self.script: list[Callable[[dict[str, Any]], tuple[int, dict[str, str], Any]]] = []
        self.payloads: list[dict[str, Any]] = []
        self.faces: dict[Any, list[dict[str, Any]]] = {}
        self.settings = dict(SETTINGS)
        self.s3: Any = None
        self.output = ""
        self.busy = self.most_busy = 0
        self.seconds = 0.0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that disconnect when they stop waiting."""

    def good_answer(self, payload: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        if payload.get("unchanged") == self.settings:
            return 200, {}, {**self.settings, "unchanged": True, "results": []}
        several = payload.get("image_file_names")
        write = "never" if several else payload.get("write", "always")
        keys = several or [payload["image_file_name"]]
        results = [self.result(payload["bucket_name"], key, write) for key in keys]
        return 200, {}, {**self.settings, "results": results}

    def result(self, bucket: str, key: str, write: str) -> dict[str, Any]:
        metadata, etag = {"source-etag": "", "frame-time": "0"}, ""
        if self.s3:
            head = self.s3.head_object(Bucket=bucket, Key=key)
            metadata, etag = head["Metadata"], head["ETag"].strip('"')
        default = [face("Ann", 0.4)]
        faces = self.faces.get(key, self.faces.get(float(metadata["frame-time"]), default))
        target = key.removesuffix(".jpg") + ".txt"
        source = {name: metadata[name] for name in metadata if name.startswith("source-")}
        identity = {**source, "frame-etag": etag, **self.settings}
        known = [one["name"] for one in faces if one["name"] != "Unknown"]
        written = False
        if self.s3 and write != "never":
            text = [*known, *(one["name"] for one in faces), "No face"][0]
            found = self.metadata(target)
            # As face-recognition's, a text without a name in its metadata says the right one.
            written = (
                identity.items() <= found.items()
                and urllib.parse.unquote(found.get("name", text)) == text
            )
            if not written and (known or write == "always"):
                place = {"Bucket": self.output, "Key": target}
                self.s3.put_object(**place, Body=text.encode(), Metadata=identity)
                written = True
        return {
            "image_file_name": key,
            "output_key": target,
            "source_etag": metadata["source-etag"],
            "frame_etag": etag,
            "written": written,
            "faces": faces,
        }

    def metadata(self, key: str) -> dict[str, str]:
        try:
            found: dict[str, str] = self.s3.head_object(Bucket=self.output, Key=key)["Metadata"]
        except self.s3.exceptions.ClientError:
            return {}
        return found


class CalleeRequest(http.server.BaseHTTPRequestHandler):
    server: Callee

    def do_POST(self) -> None:
        assert self.path == "/2015-03-31/functions/namer/invocations"
        payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.payloads.append(payload)
            self.server.busy += 1
            self.server.most_busy = max(self.server.most_busy, self.server.busy)
            answer = self.server.script.pop(0) if self.server.script else self.server.good_answer
        time.sleep(self.server.seconds)
        status, headers, body = answer(payload)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        with self.server.lock:
            self.server.busy -= 1
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Do not log requests."""


class RangeServer(http.server.ThreadingHTTPServer):
    """Serves byte ranges of files, like S3, and counts the bytes requested.

    It keeps connections open, as S3 does, unless `closes`. Requests from byte `lost_from` on end
    without an answer.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), RangeRequest)
        self.folder = folder
        self.served = 0
        self.paths: list[str] = []
        self.status = 206
        self.stall = 0.0
        self.closes = False
        self.lost_from: int | None = None

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}?X-Amz-Signature=SECRET"

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore that ffmpeg disconnects when it has read enough."""


class RangeRequest(http.server.BaseHTTPRequestHandler):
    server: RangeServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # send headers and body together

    def do_GET(self) -> None:
        name = urllib.parse.unquote(self.path.split("?")[0][1:])
        self.server.paths.append(name)
        time.sleep(self.server.stall)
        content = (self.server.folder / name).read_bytes()
        if self.server.status != 206:
            self.send_response(self.server.status)
            self.send_header("Location", "/elsewhere.mp4")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        span = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "bytes=0-"))
        assert span
        start, end = int(span[1]), min(int(span[2] or len(content)), len(content) - 1)
        if self.server.lost_from is not None and start >= self.server.lost_from:
            self.close_connection = True
            return
        if start >= len(content):
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        part = content[start : end + 1]
        self.server.served += len(part)
        self.send_response(206)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Content-Range", f"bytes {start}-{end}/{len(content)}")
        if self.server.closes:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *args: object) -> None:
        """Do not log requests."""


class Context:
    """The part of Lambda's context that the handler uses.

    `seconds` are left when it is made, or whenever they are asked for if it is a function.
    """

    def __init__(self, seconds: float | Callable[[], float] = 60) -> None:
        end = 0.0 if callable(seconds) else time.monotonic() + seconds
        self.left = seconds if callable(seconds) else lambda: end - time.monotonic()

    def get_remaining_time_in_millis(self) -> int:
        return int(self.left() * 1000)


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="session")
def make(ffmpeg: str, videos: Path) -> Make:
    """make(name, *ffmpeg_options, source=...) -> a video file, made once and kept in build/."""
    # Each layer's ffmpeg has its own clips; encoding them takes a third of this folder's time.
    builder = (ROOT / "install_ffmpeg.sh").read_bytes()
    kept = ROOT / "build" / "clips"
    kept.mkdir(parents=True, exist_ok=True)

    def build(name: str, *options: str, source: str = "testsrc2=s=320x240:r=10:d=2") -> Path:
        path = videos / name
        if path.exists():
            return path
        words = [name, source, *options]
        digest = hashlib.sha256(builder + "\0".join(words).encode()).hexdigest()
        clip = kept / f"{digest[:16]}-{name}"
        if not clip.exists():
            command = [ffmpeg, "-v", "error", "-nostdin", "-f", "lavfi", "-i", source]
            subprocess.run([*command, *options, str(path)], check=True)
            part = kept / f"{clip.name}.{os.getpid()}"  # another run may make the same clip
            shutil.copyfile(path, part)
            part.replace(clip)
        else:
            shutil.copyfile(clip, path)
        return path

    return build


@pytest.fixture(scope="session")
def clip(make: Make) -> Path:
    """A clip of 2 s and 20 frames."""
    return make("clip.mp4", "-pix_fmt", "yuv420p")


@pytest.fixture
def files(videos: Path) -> Iterator[RangeServer]:
    server = RangeServer(videos)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def store_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def callee() -> Iterator[Callee]:
    server = Callee()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


class World:
    """The handler, its three buckets and shortcuts for tests."""

    def __init__(self, module: Any, s3: Any, prefix: str) -> None:
        self.module, self.s3 = module, s3
        self.input, self.stage = f"{prefix}-input", f"{prefix}-stage-1"
        self.output = f"{prefix}-output"
        for bucket in (self.input, self.stage, self.output):
            s3.create_bucket(Bucket=bucket)

    def put(self, key: str, body: Path | bytes) -> None:
        content = body.read_bytes() if isinstance(body, Path) else body
        self.s3.put_object(Bucket=self.input, Key=key, Body=content)

    def event(self, *keys: str) -> dict[str, Any]:
        """An event as S3 sends it, with form-encoded keys."""
        return {
            "Records": [
                {
                    "eventSource": "aws:s3",
                    "eventName": "ObjectCreated:Put",
                    "s3": {
                        "bucket": {"name": self.input},
                        "object": {"key": urllib.parse.quote_plus(key, safe="/")},
                    },
                }
                for key in keys
            ]
        }

    def handle(self, *keys: str, seconds: float | Callable[[], float] = 60) -> dict[str, Any]:
        answer: dict[str, Any] = self.module.handler(self.event(*keys), Context(seconds))
        return answer

    def keys(self, bucket: str) -> list[str]:
        return [item["Key"] for item in self.s3.list_objects_v2(Bucket=bucket).get("Contents", [])]

    def versions(self, bucket: str) -> list[tuple[str, str]]:
        """Every object's key and version, which changes whenever it is written."""
        found = self.s3.list_object_versions(Bucket=bucket).get("Versions", [])
        return [(item["Key"], item["VersionId"]) for item in found]

    def keep_versions(self) -> None:
        for bucket in (self.stage, self.output):
            settings = {"Status": "Enabled"}
            self.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=settings)

    def metadata(self, bucket: str, key: str) -> dict[str, str]:
        found: dict[str, str] = self.s3.head_object(Bucket=bucket, Key=key)["Metadata"]
        return found

    def text(self, key: str) -> str:
        body: bytes = self.s3.get_object(Bucket=self.output, Key=key)["Body"].read()
        return body.decode()


@pytest.fixture(autouse=True)
def no_invocation(monkeypatch: pytest.MonkeyPatch) -> None:
    """No invocation of another test is running."""
    monkeypatch.setattr(step_log._Invocation, "fields", {})


@pytest.fixture
def world(
    monkeypatch: pytest.MonkeyPatch, ffmpeg: str, store_url: str, callee: Callee, tmp_path: Path
) -> World:
    prefix = f"t{uuid.uuid4().hex[:10]}"
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    settings = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": store_url,
        "AWS_ENDPOINT_URL_LAMBDA": callee.url,
        "STAGE_1_BUCKET": f"{prefix}-stage-1",
        "OUTPUT_BUCKET": f"{prefix}-output",
        "RECOGNITION_FUNCTION": "namer",
        "RECOGNITION_TIMEOUT_S": "5",
        "FRAMES": "1",
        "FRAMES_PER_INVOKE": "3",
        "INVOKE_CONCURRENCY": "2",
        "FFMPEG_TIMEOUT_S": "20",
        "FFMPEG": ffmpeg,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    spec = importlib.util.spec_from_file_location("video_splitting_handler", FOLDER / "handler.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["video_splitting_handler"] = module
    spec.loader.exec_module(module)
    made = World(module, boto3.client("s3", endpoint_url=store_url), prefix)
    callee.s3, callee.output = made.s3, made.output
    return made


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """The folder for the handler's temporary files."""
    return tmp_path / "tmp"
