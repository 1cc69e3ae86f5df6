"""The layer builder: the real layer and, with a small wheel of the same structure, every error."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "install_ffmpeg.sh"
BINARY = b"\x7fELF small stand-in" * 50
MEMBERS = {
    "x86_64": (
        "imageio_ffmpeg/binaries/ffmpeg-linux-x86_64-v9.0.2",
        "manylinux_2_28_x86_64",
    ),
    "arm64": (
        "imageio_ffmpeg/binaries/ffmpeg-linux-aarch64-v9.0.2",
        "manylinux_2_28_aarch64",
    ),
}


class Builder:
    """A copy of the script that expects a small wheel, which is in a folder that pip searches."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wheels, self.temp = folder / "wheels", folder / "tmp"
        self.output = folder / "out" / "ffmpeg.zip"
        text = SCRIPT.read_text()
        for path in (self.wheels, self.temp):
            path.mkdir()
        for arch, (member, platform) in MEMBERS.items():
            wheel = self.wheels / f"imageio_ffmpeg-0.8.1-py3-none-{platform}.whl"
            info = "imageio_ffmpeg-0.8.1.dist-info"
            with zipfile.ZipFile(wheel, "w") as archive:
                archive.writestr(member, BINARY + arch.encode())
                archive.writestr(f"{info}/licenses/LICENSE", "BSD")
                archive.writestr(
                    f"{info}/METADATA",
                    "Metadata-Version: 2.1\nName: imageio-ffmpeg\nVersion: 0.8.1\n"
                    "Requires-Python: >=3.10\n",
                )
                archive.writestr(
                    f"{info}/WHEEL",
                    f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-{platform}\n",
                )
                archive.writestr(f"{info}/RECORD", "")
            text = self._pin(text, platform, wheel.read_bytes(), BINARY + arch.encode())
        self.script = folder / "install_ffmpeg.sh"
        self.script.write_text(text)
        self.script.chmod(0o755)

    @staticmethod
    def _pin(text: str, platform: str, wheel: bytes, binary: bytes) -> str:
        before, after = text.split(f"platform={platform}\n")
        lines = after.split("\n")
        for index, name, content in ((0, "wheel_sha256", wheel), (2, "binary_sha256", binary)):
            assert lines[index].strip().startswith(f"{name}=")
            lines[index] = f"    {name}={hashlib.sha256(content).hexdigest()}"
        return f"{before}platform={platform}\n" + "\n".join(lines)

    def run(self, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
        settings = {
            **os.environ,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
            "TMPDIR": str(self.temp),
            **environment,
        }
        command = [str(self.script), "--output", str(self.output), *args]
        return subprocess.run(command, env=settings, capture_output=True, text=True, check=False)

    def edit(self, old: str, new: str) -> None:
        text = self.script.read_text()
        assert old in text
        self.script.write_text(text.replace(old, new))

    def refused(self, run: subprocess.CompletedProcess[str], *words: str) -> None:
        """Check that it failed, said why, and left no files behind."""
        assert run.returncode == 1
        for word in words:
            assert word in run.stderr
        assert not self.output.exists()
        self.clean()

    def clean(self) -> None:
        assert not list(self.temp.iterdir())
        assert not list(self.folder.rglob("*.partial"))


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    return Builder(tmp_path)


@pytest.mark.parametrize("arch", ["x86_64", "arm64", "aarch64"])
def test_the_layer_contains_ffmpeg_and_licenses(builder: Builder, arch: str) -> None:
    run = builder.run("--arch", arch)
    assert run.returncode == 0, run.stderr
    with zipfile.ZipFile(builder.output) as layer:
        info = layer.getinfo("bin/ffmpeg")
        assert info.external_attr >> 16 == 0o100755
        assert layer.read(info) == BINARY + arch.replace("aarch64", "arm64").encode()
        assert layer.namelist() == [
            "bin/ffmpeg",
            "licenses/ffmpeg.txt",
            "licenses/imageio-ffmpeg.txt",
        ]
        assert b"GNU\nGeneral Public License" in layer.read("licenses/ffmpeg.txt")
    for words in ("n9.0.2", "GPL-3.0-or-later", f"{builder.output.stat().st_size:,} bytes zipped"):
        assert words in run.stdout
    builder.clean()


def test_every_build_gives_the_same_bytes(builder: Builder) -> None:
    builder.run()
    first = builder.output.read_bytes()
    builder.run("--force")
    assert builder.output.read_bytes() == first


def test_a_good_layer_is_kept(builder: Builder) -> None:
    # GIVEN a layer, and no package index to fetch from
    builder.run()
    before = builder.output.stat().st_mtime_ns
    shutil.rmtree(builder.wheels)
    # WHEN it is built again
    run = builder.run()
    # THEN it is kept, but not with --force or for another architecture
    assert run.returncode == 0
    assert "Kept" in run.stderr
    assert "zipped" in run.stdout
    assert builder.output.stat().st_mtime_ns == before
    assert builder.run("--force").returncode == 1
    assert builder.run("--arch", "arm64").returncode == 1
    assert builder.output.stat().st_mtime_ns == before
    builder.clean()


@pytest.mark.slow
def test_a_damaged_layer_is_built_again(builder: Builder) -> None:
    builder.run()
    good = builder.output.read_bytes()
    for bad in (b"", good[:200], good[:60] + b"????" + good[64:]):
        builder.output.write_bytes(bad)
        assert builder.run().returncode == 0
        assert builder.output.read_bytes() == good


def test_a_wheel_with_another_checksum_is_refused(builder: Builder) -> None:
    for wheel in builder.wheels.iterdir():
        with zipfile.ZipFile(wheel, "a") as archive:
            archive.writestr("imageio_ffmpeg/added.py", "")
    builder.refused(builder.run(), "has SHA-256", "expected", "Not used")


def test_a_layer_over_lambdas_limit_is_refused(builder: Builder) -> None:
    assert "LIMIT=262144000\n" in SCRIPT.read_text()
    builder.edit("LIMIT=262144000", "LIMIT=1000")
    builder.refused(builder.run("--arch", "x86_64"), "over Lambda's limit of 1,000")


def test_a_failed_download_is_reported(builder: Builder) -> None:
    shutil.rmtree(builder.wheels)
    builder.refused(builder.run(), "pip could not fetch imageio-ffmpeg 0.8.1", "network")


def test_the_password_of_the_index_is_not_shown(builder: Builder) -> None:
    shutil.rmtree(builder.wheels)
    run = builder.run(
        PIP_NO_INDEX="",
        PIP_INDEX_URL="http://user:hidden-word@127.0.0.1:9/simple",
        PIP_RETRIES="0",
    )
    builder.refused(run, "pip could not fetch")
    assert "hidden-word" not in run.stderr


def test_a_python_without_pip_is_reported(builder: Builder) -> None:
    python = builder.folder / "python-without-pip"
    python.write_text('#!/bin/sh\n[ "$2" = pip ] && exit 1\nexec python3 "$@"\n')
    python.chmod(0o755)
    builder.refused(builder.run(PYTHON=str(python)), "has no pip", "ensurepip")


def test_a_missing_python_is_reported(builder: Builder) -> None:
    builder.refused(builder.run(PYTHON="no-such-python"), "is not installed")


def test_an_unwritable_output_is_reported(builder: Builder) -> None:
    (builder.folder / "out").write_text("a file where a folder should be")
    run = builder.run()
    assert run.returncode == 1
    assert "Cannot write in" in run.stderr
    builder.clean()


def test_a_full_disk_is_reported(builder: Builder) -> None:
    # GIVEN that files cannot grow beyond 1 KB after the download, so that writing the zip fails
    builder.edit('note "Checking and zipping ..."', 'ulimit -f 1; trap "" XFSZ')
    noise = os.urandom(50_000)
    member, platform = MEMBERS["x86_64"]
    wheel = builder.wheels / f"imageio_ffmpeg-0.8.1-py3-none-{platform}.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in {**names, member: noise}.items():
            archive.writestr(name, content)
    text = builder.script.read_text()
    builder.script.write_text(builder._pin(text, platform, wheel.read_bytes(), noise))
    builder.refused(builder.run("--arch", "x86_64"), "Cannot write", "About 70 MB are needed")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--arch", "mips"], "no architecture 'mips'"),
        (["--arch"], "--arch needs a value"),
        (["--outptu", "x"], "Unknown argument '--outptu'"),
        (["--output", "/"], "'/' is a folder"),
    ],
)
def test_wrong_arguments_are_reported(args: list[str], words: str) -> None:
    run = subprocess.run([SCRIPT, *args], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert words in run.stderr


def test_help_lists_every_option() -> None:
    run = subprocess.run([SCRIPT, "--help"], capture_output=True, text=True, check=True)
    for option in ("--output", "--arch", "--force", "-h, --help", "--version"):
        assert f"\n  {option}" in run.stdout


def test_the_real_layer_works(ffmpeg: str, ffmpeg_zip: Path, tmp_path: Path) -> None:
    """The pinned build runs, has the version and license that are printed, and resolves names."""
    text = SCRIPT.read_text()
    version = subprocess.run([ffmpeg, "-version"], capture_output=True, text=True, check=True)
    pinned = text.split("FFMPEG_VERSION=")[1].split("\n")[0]
    assert version.stdout.startswith(f"ffmpeg version {pinned}")
    license = subprocess.run([ffmpeg, "-L"], capture_output=True, text=True, check=True)
    assert "version 3 of the License, or" in " ".join(license.stdout.split())
    with zipfile.ZipFile(ffmpeg_zip) as layer:
        assert sum(info.file_size for info in layer.infolist()) < 262_144_000
    # Statically linked builds crash here.
    command = [ffmpeg, "-v", "error", "-i", "http://no-such-host.invalid/x.mp4", "-f", "null", "-"]
    lookup: Any = subprocess.run(command, capture_output=True, text=True, check=False)
    assert lookup.returncode > 0
    assert "Failed to resolve hostname" in lookup.stderr
