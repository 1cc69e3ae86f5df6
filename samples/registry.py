"""A registry on loopback, and an image in it: pushed, measured by layer, pulled and unpacked."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samples.packages import SampleError

CONFIG = """version: 0.1
storage:
  filesystem:
    rootdirectory: {folder}
http:
  addr: 127.0.0.1:{port}
"""
MANIFESTS = "application/vnd.docker.distribution.manifest.v2+json"
MANIFESTS += ", application/vnd.oci.image.manifest.v1+json"
BLOCK = 1 << 20


@dataclass(frozen=True)
class LayerSize:
    """One layer: its bytes as they are pulled and as they lie unpacked, and what made it."""

    compressed: int
    unpacked: int
    made_by: str


@contextmanager
def registry() -> Iterator[str]:
    """Debian's docker-registry on a free port of 127.0.0.1; yields its host:port.

    Raises SampleError when it is not installed or does not start.
    """
    program = shutil.which("docker-registry")
    if program is None:
        raise SampleError("docker-registry is not installed: apt-get install docker-registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="registry-") as folder:
        config = Path(folder) / "config.yml"
        config.write_text(CONFIG.format(folder=folder, port=port))
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(
                [program, "serve", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            address = f"127.0.0.1:{port}"
            _wait(process, address, Path(folder) / "log")
            yield address
        finally:
            process.terminate()
            process.wait(20)


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            urllib.request.urlopen(f"http://{address}/v2/", timeout=5).close()
            return
        except (urllib.error.URLError, OSError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                text = log.read_text(errors="replace")[-600:]
                raise SampleError(f"docker-registry does not start: {text}") from error
            time.sleep(0.1)


def read_manifest(address: str, repository: str, reference: str) -> tuple[str, dict[str, Any]]:
    """The digest and the manifest of an image in the registry."""
    request = urllib.request.Request(
        f"http://{address}/v2/{repository}/manifests/{reference}", headers={"Accept": MANIFESTS}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return answer.headers["Docker-Content-Digest"], json.load(answer)


def read_config(address: str, repository: str, manifest: dict[str, Any]) -> dict[str, Any]:
    """The image's configuration: what runs it, with which environment, and its history."""
    url = f"http://{address}/v2/{repository}/blobs/{manifest['config']['digest']}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        config: dict[str, Any] = json.load(answer)
    return config


def layer_sizes(
    address: str, repository: str, manifest: dict[str, Any], config: dict[str, Any]
) -> list[LayerSize]:
    """The size of each layer, compressed as in the manifest and unpacked as it inflates."""
    steps = [h.get("created_by", "") for h in config["history"] if not h.get("empty_layer")]
    sizes = []
    for index, layer in enumerate(manifest["layers"]):
        url = f"http://{address}/v2/{repository}/blobs/{layer['digest']}"
        inflate, unpacked = zlib.decompressobj(wbits=31), 0
        with urllib.request.urlopen(url, timeout=60) as answer:
            while block := answer.read(BLOCK):
                unpacked += len(inflate.decompress(block))
        step = steps[index] if index < len(steps) else ""
        sizes.append(LayerSize(layer["size"], unpacked, step))
    return sizes
