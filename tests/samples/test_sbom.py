"""The bill of materials lists what is really in the image and the layer."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from importlib.metadata import distribution
from pathlib import Path

from samples.sbom import bill_of_materials

PACKAGES = ("numpy", "botocore", "Pillow")


def test_packages_networks_and_ffmpeg_are_listed(tmp_path: Path) -> None:
    # GIVEN an unpacked image with real packages, and a layer
    task = tmp_path / "var" / "task"
    for name in PACKAGES:
        metadata = Path(str(distribution(name).locate_file(""))) / f"{_folder(name)}.dist-info"
        (task / metadata.name).mkdir(parents=True)
        shutil.copyfile(metadata / "METADATA", task / metadata.name / "METADATA")
    (task / "models").mkdir()
    (task / "models" / "sface.bin").write_bytes(b"weights")
    (task / "models" / "networks.json").write_text("{}")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "os-release").write_text('ID="amzn"\nVERSION_ID="2023"\n')
    layer = tmp_path / "ffmpeg.zip"
    with zipfile.ZipFile(layer, "w") as archive:
        archive.writestr("bin/ffmpeg", b"program")

    found = bill_of_materials(tmp_path, "sha256:abc", layer)

    parts = {part["name"].lower(): part for part in found["components"]}
    assert set(parts) == {"amzn", "sface.bin", "ffmpeg", *(name.lower() for name in PACKAGES)}
    for name in PACKAGES:
        part = parts[name.lower()]
        assert part["purl"] == f"pkg:pypi/{name.lower()}@{distribution(name).version}"
        assert part["licenses"]
    for file, data in (("sface.bin", b"weights"), ("ffmpeg", b"program")):
        hashed = {"alg": "SHA-256", "content": hashlib.sha256(data).hexdigest()}
        assert parts[file]["hashes"] == [hashed]
    assert parts["ffmpeg"]["purl"].startswith("pkg:pypi/imageio-ffmpeg@")
    assert parts["ffmpeg"]["licenses"] == [{"license": {"id": "GPL-3.0-or-later"}}]
    assert found["metadata"]["component"]["version"] == "sha256:abc"


def _folder(name: str) -> str:
    """What the package's folder of metadata is called, without its ending."""
    return f"{distribution(name).metadata['Name'].lower()}-{distribution(name).version}"
