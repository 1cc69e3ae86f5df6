"""The bill of materials lists what is really in the image and the layer."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from importlib.metadata import distribution
from pathlib import Path

from samples.sbom import bill_of_materials

PACKAGES = ("numpy", "botocore", "Pillow")
# As some packages have it: a name that the index spells in another way, the license's whole text.
ODD = "Name: Odd_Name.x\nVersion: 1.2\nLicense: Odd License\n        \n        All rights\n"


def test_packages_networks_and_ffmpeg_are_listed(root: Path, tmp_path: Path) -> None:
    # GIVEN an unpacked image with real packages, and a layer
    task = tmp_path / "var" / "task"
    for name in PACKAGES:
        metadata = Path(str(distribution(name).locate_file(""))) / f"{_folder(name)}.dist-info"
        (task / metadata.name).mkdir(parents=True)
        shutil.copyfile(metadata / "METADATA", task / metadata.name / "METADATA")
    (task / "odd-1.2.dist-info").mkdir()
    (task / "odd-1.2.dist-info" / "METADATA").write_text(ODD)
    (task / "models").mkdir()
    (task / "models" / "sface.bin").write_bytes(b"weights")
    (task / "models" / "networks.json").write_text("{}")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "os-release").write_text('ID="amzn"\nVERSION_ID="2023"\n')
    layer = tmp_path / "ffmpeg.zip"
    with zipfile.ZipFile(layer, "w") as archive:
        archive.writestr("bin/ffmpeg", b"program")

    script = (root / "install_ffmpeg.sh").read_text()

    found = bill_of_materials(tmp_path, "sha256:abc", layer)

    parts = {part["name"].lower(): part for part in found["components"]}
    packages = {name.lower() for name in PACKAGES}
    assert set(parts) == {"amzn", "sface.bin", "ffmpeg", "odd_name.x", *packages}
    assert parts["amzn"]["version"] == "2023"
    for name in PACKAGES:
        part = parts[name.lower()]
        assert part["version"] == distribution(name).version
        assert part["purl"] == f"pkg:pypi/{name.lower()}@{distribution(name).version}"
        assert part["licenses"]
    assert parts["odd_name.x"]["purl"] == "pkg:pypi/odd-name-x@1.2"
    assert parts["odd_name.x"]["licenses"] == [{"license": {"name": "Odd License"}}]
    assert parts["sface.bin"]["type"] == "machine-learning-model"
    for file, data in (("sface.bin", b"weights"), ("ffmpeg", b"program")):
        hashed = {"alg": "SHA-256", "content": hashlib.sha256(data).hexdigest()}
        assert parts[file]["hashes"] == [hashed]
    assert f"FFMPEG_VERSION={parts['ffmpeg']['version']}\n" in script
    package, _, version = parts["ffmpeg"]["purl"].partition("@")
    assert package == "pkg:pypi/imageio-ffmpeg"
    assert f"PACKAGE_VERSION={version}\n" in script
    assert parts["ffmpeg"]["licenses"] == [{"license": {"id": "GPL-3.0-or-later"}}]
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    image = found["metadata"]["component"]
    assert (image["type"], image["version"], image["bom-ref"]) == ("container", *["sha256:abc"] * 2)


def test_an_image_without_a_layer_has_no_ffmpeg(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "os-release").write_text("ID=debian\n")
    (tmp_path / "var" / "task" / "models").mkdir(parents=True)

    found = bill_of_materials(tmp_path, "sha256:abc", None)

    assert [part["name"] for part in found["components"]] == ["debian"]


def _folder(name: str) -> str:
    """What the package's folder of metadata is called, without its ending."""
    return f"{distribution(name).metadata['Name'].lower()}-{distribution(name).version}"
