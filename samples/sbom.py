"""A bill of materials of what is deployed: the image's packages and networks, the layer's ffmpeg.

The format is CycloneDX 1.6. It lists what is really there, not what was asked for.
https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from datetime import datetime, timezone
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from uuid import uuid4

from pipeline.settings import ROOT

TASK_ROOT = "var/task"
NETWORKS = (".bin", ".param", ".pt", ".onnx")
Component = dict[str, Any]


def bill_of_materials(rootfs: Path, digest: str, layer: Path | None) -> dict[str, Any]:
    """The document for an image unpacked in `rootfs`, and the layer's zip if there is one."""
    task = rootfs / TASK_ROOT
    components = [_base(rootfs)]
    components += [_package(found) for found in distributions(path=[str(task)])]
    components += [
        _file(path, path.read_bytes(), "machine-learning-model")
        for path in sorted((task / "models").iterdir())
        if path.suffix in NETWORKS
    ]
    if layer is not None:
        components.append(_ffmpeg(layer))
    now = datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
    image = {"type": "container", "bom-ref": digest, "name": "face-recognition", "version": digest}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid4()}",
        "version": 1,
        "metadata": {"timestamp": now, "component": image},
        "components": sorted(components, key=lambda one: (one["type"], one["name"])),
    }


def _base(rootfs: Path) -> Component:
    """The base image's operating system. Lambda's base brings Python and boto3 as well."""
    lines = (rootfs / "etc" / "os-release").read_text().splitlines()
    values = {k: v.strip('"') for k, _, v in (line.partition("=") for line in lines)}
    return {
        "type": "operating-system",
        "name": values["ID"],
        "version": values.get("VERSION_ID", ""),
        "description": values.get("PRETTY_NAME", ""),
    }


def _package(found: Distribution) -> Component:
    """A Python package, by its own metadata."""
    name = re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower()
    purl = f"pkg:pypi/{name}@{found.version}"
    component: Component = {
        "type": "library",
        "bom-ref": purl,
        "name": found.metadata["Name"],
        "version": found.version,
        "purl": purl,
    }
    if "License-Expression" in found.metadata:
        component["licenses"] = [{"expression": found.metadata["License-Expression"]}]
    elif "License" in found.metadata:
        name = found.metadata["License"].partition("\n")[0]
        component["licenses"] = [{"license": {"name": name}}]
    return component


def _file(path: Path, data: bytes, kind: str) -> Component:
    hashed = {"alg": "SHA-256", "content": hashlib.sha256(data).hexdigest()}
    return {"type": kind, "name": path.name, "hashes": [hashed]}


def _ffmpeg(layer: Path) -> Component:
    """The layer's program, with the package and version that install_ffmpeg.sh pins."""
    script = (ROOT / "install_ffmpeg.sh").read_text()
    pins = dict(re.findall(r"^([A-Z_]+)=(\S+)$", script, re.MULTILINE))
    with zipfile.ZipFile(layer) as archive:
        component = _file(Path("ffmpeg"), archive.read("bin/ffmpeg"), "application")
    return {
        **component,
        "version": pins["FFMPEG_VERSION"],
        "licenses": [{"license": {"id": pins["LICENSE"]}}],
        "purl": f"pkg:pypi/{pins['PACKAGE']}@{pins['PACKAGE_VERSION']}",
    }
