"""What deploy/layer.py refuses before it sends anything."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from deploy.layer import MAX_UNPACKED_BYTES, check_zip
from pipeline.aws import AwsError

X86_64, ARM64, RISCV = 62, 183, 243


def elf(machine: int) -> bytes:
    """The start of a 64-bit little-endian ELF program for `machine` (e_machine)."""
    return (
        b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00" + machine.to_bytes(2, "little") + bytes(44)
    )


def layer_zip(path: Path, files: dict[str, bytes], mode: int = 0o755) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return path


@pytest.mark.parametrize(("machine", "name"), [(X86_64, "x86_64"), (ARM64, "arm64")])
def test_the_architecture_is_the_binarys_own(tmp_path: Path, machine: int, name: str) -> None:
    assert check_zip(layer_zip(tmp_path / "f.zip", {"bin/ffmpeg": elf(machine)})) == name


def test_the_layer_that_install_ffmpeg_builds_is_taken(ffmpeg_zip: Path) -> None:
    assert check_zip(ffmpeg_zip) in ("x86_64", "arm64")


def test_a_missing_zip_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(AwsError, match=r"no .*nowhere\.zip: run \./install_ffmpeg\.sh"):
        check_zip(tmp_path / "nowhere.zip")


@pytest.mark.parametrize(
    ("files", "mode", "message"),
    [
        ({"ffmpeg": elf(X86_64)}, 0o755, "has no bin/ffmpeg"),
        ({"bin/ffmpeg": elf(X86_64)}, 0o644, "not executable"),
        ({"bin/ffmpeg": elf(RISCV)}, 0o755, "no program for x86-64 or arm64"),
        ({"bin/ffmpeg": b"#!/bin/sh\n"}, 0o755, "no program for x86-64 or arm64"),
    ],
)
def test_a_zip_without_a_usable_ffmpeg_is_refused(
    tmp_path: Path, files: dict[str, bytes], mode: int, message: str
) -> None:
    with pytest.raises(AwsError, match=message):
        check_zip(layer_zip(tmp_path / "f.zip", files, mode))


def test_a_file_that_is_no_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.zip"
    path.write_text("hello")

    with pytest.raises(AwsError, match="is no zip"):
        check_zip(path)


def test_a_layer_over_lambdas_limit_is_refused(tmp_path: Path) -> None:
    files = {"bin/ffmpeg": elf(X86_64), "filler": bytes(MAX_UNPACKED_BYTES)}

    with pytest.raises(AwsError, match=r"Lambda takes at most 262,144,000"):
        check_zip(layer_zip(tmp_path / "f.zip", files))
