"""Checks of ffmpeg.zip before it is published."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.parts.ffmpeg_layer import MAX_UNPACKED_BYTES, check_zip
from pipeline.aws import AwsError
from tests.deploy.conftest import ARM64, RISCV, X86_64, elf, layer_zip


@pytest.mark.parametrize(("machine", "name"), [(X86_64, "x86_64"), (ARM64, "arm64")])
def test_the_architecture_is_read_from_the_binary(tmp_path: Path, machine: int, name: str) -> None:
    assert check_zip(layer_zip(tmp_path / "f.zip", {"bin/ffmpeg": elf(machine)})) == name


def test_the_layer_built_by_install_ffmpeg_is_accepted(ffmpeg_zip: Path) -> None:
    assert check_zip(ffmpeg_zip) in ("x86_64", "arm64")


def test_the_error_for_a_missing_zip_says_how_to_build_it(tmp_path: Path) -> None:
    with pytest.raises(AwsError, match=r"no .*nowhere\.zip: run \./install_ffmpeg\.sh"):
        check_zip(tmp_path / "nowhere.zip")


@pytest.mark.parametrize(
    ("files", "mode", "message"),
    [
        ({"ffmpeg": elf(X86_64)}, 0o755, "has no bin/ffmpeg"),
        ({"bin/ffmpeg": elf(X86_64)}, 0o644, "not executable"),
        ({"bin/ffmpeg": elf(RISCV)}, 0o755, "not a program for x86-64 or arm64"),
        ({"bin/ffmpeg": b"#!/bin/sh\n"}, 0o755, "not a program for x86-64 or arm64"),
    ],
)
def test_a_zip_without_a_usable_ffmpeg_is_refused(
    tmp_path: Path, files: dict[str, bytes], mode: int, message: str
) -> None:
    with pytest.raises(AwsError, match=message):
        check_zip(layer_zip(tmp_path / "f.zip", files, mode))


def test_a_file_that_is_not_a_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.zip"
    path.write_text("hello")

    with pytest.raises(AwsError, match="is not a zip file"):
        check_zip(path)


def test_a_layer_over_the_size_limit_is_refused(tmp_path: Path) -> None:
    files = {"bin/ffmpeg": elf(X86_64), "filler": bytes(MAX_UNPACKED_BYTES)}

    with pytest.raises(AwsError, match=r"Lambda takes at most 262,144,000"):
        check_zip(layer_zip(tmp_path / "f.zip", files))
