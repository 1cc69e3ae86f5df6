"""A gallery's file: what torch writes is read without torch, and torch reads what is written."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import gallery_format
import numpy as np
import pytest
import torch
from gallery_format import GalleryFormatError
from hypothesis import given
from hypothesis import strategies as st

FOLDER = Path(gallery_format.__file__).parent
METADATA: dict[str, Any] = {"model": "sface", "image_size": 240, "threshold": 0.5}


def saved(content: Any, is_zip: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=is_zip)
    return file.getvalue()


def as_gallery(payload: bytes) -> bytes:
    """A zip like torch's with this pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", payload)
        archive.writestr("archive/data/0", b"\0" * 16)
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_what_torch_wrote_is_read(dtype: torch.dtype, is_zip: bool) -> None:
    # GIVEN rows that lie in their storage in every way, and a parameter
    x = torch.randn(6, 4).to(dtype)
    rows = [x[1:2], x[:4, 2], torch.nn.Parameter(x[3]), x[4:5].clone()]

    content = gallery_format.read(saved([rows, ["a", "b", "ü", "b"], METADATA], is_zip))

    assert content.names == ["a", "b", "ü", "b"]
    assert content.metadata == METADATA
    for ours, theirs in zip(content.embeddings, rows, strict=True):
        assert ours.shape == tuple(theirs.shape)
        np.testing.assert_array_equal(ours.astype(np.float64), theirs.detach().double().numpy())


@pytest.mark.parametrize("is_zip", [True, False])
def test_two_elements_are_the_older_format(is_zip: bool) -> None:
    content = gallery_format.read(saved([[torch.ones(1, 4)], ["a"]], is_zip))
    assert (content.names, content.metadata) == (["a"], None)


@given(st.lists(st.text(min_size=1), max_size=20), st.integers(1, 6), st.booleans())
def test_torch_reads_what_is_written(names: list[str], length: int, bare: bool) -> None:
    names = [name for name in names if name.isprintable()]
    rows = np.random.default_rng(0).normal(size=(len(names), length)).astype(np.float32)
    metadata: dict[str, Any] = {"model": "sface"} if bare else METADATA

    data = gallery_format.write(rows, names, metadata)

    assert data == gallery_format.write(rows, names, metadata)
    theirs, ours = torch.load(io.BytesIO(data), weights_only=True), gallery_format.read(data)
    assert theirs[1:] == [names, metadata] == [ours.names, ours.metadata]
    for row, tensor, array in zip(rows, theirs[0], ours.embeddings, strict=True):
        assert tensor.shape == array.shape == (1, length)
        assert tensor.dtype == torch.float32
        np.testing.assert_array_equal(tensor.numpy()[0], row)
        np.testing.assert_array_equal(array[0], row)


def test_what_torch_wrote_again_is_read() -> None:
    data = gallery_format.write(np.eye(3, 4), ["a", "b", "c"], METADATA)
    again = gallery_format.read(saved(torch.load(io.BytesIO(data), weights_only=True)))
    np.testing.assert_array_equal(np.concatenate(again.embeddings), np.eye(3, 4))


def test_rows_and_names_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="2 names need as many rows"):
        gallery_format.write(np.eye(3), ["a", "b"], METADATA)


def test_a_hundred_thousand_rows_take_less_than_a_second() -> None:
    count = 100_000
    # GIVEN a file with a storage for each row, as torch.save makes it of a list
    rows = list(torch.zeros(count, 4).numpy().copy())
    data = saved([[torch.from_numpy(row.copy()) for row in rows], ["Barbara"] * count, METADATA])

    started = time.process_time()
    content = gallery_format.read(data)

    assert time.process_time() - started < 2  # 0.7 to 1 s on a busy machine
    assert len(content.embeddings) == count
    # AND one written here takes half of that
    started = time.process_time()
    gallery_format.read(gallery_format.write(np.zeros((count, 4)), ["Barbara"] * count, METADATA))
    assert time.process_time() - started < 1.5


class Calls:
    """Does something when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("is_zip", [True, False])
def test_a_malicious_pickle_does_nothing(protocol: int, is_zip: bool, tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    payload = pickle.dumps([[Calls(trap)], ["a"]], protocol)
    prefix = saved([[], []], False)
    data = as_gallery(payload) if is_zip else prefix[: prefix.index(b"}q\0(X")] + payload

    with pytest.raises(GalleryFormatError):
        gallery_format.read(data)
    with pytest.raises(GalleryFormatError):
        gallery_format.read_metadata(data)
    assert not trap.exists()


def test_a_malicious_pickle_is_named() -> None:
    data = as_gallery(pickle.dumps([[Calls(Path("x"))], ["a"]], 2))
    with pytest.raises(GalleryFormatError, match=r"would call \w+\.system when it is read"):
        gallery_format.read(data)


@pytest.mark.parametrize(
    "payload",
    [
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nX\x01\0\0\0ab.",  # BUILD of a function
        b"\x80\x02]r\xff\xff\xff\x7f.",  # a memo slot that takes 16 GB
        b"\x80\x02]q\x00" + b"(h\x00h\x00e" * 5,  # no end
        b"\x80\x02ccollections\nOrderedDict\n(dR.",
        b"\x80\x02X\xff\xff\xff\xffa.",
        b"\x80\x02X\x05\0\0\0helloQ.",
        b"\x80\x02" + b"(" * 100_000 + b".",
        b"",
    ],
)
def test_pickles_that_torch_never_writes_are_refused(payload: bytes) -> None:
    with pytest.raises(GalleryFormatError):
        gallery_format.read(as_gallery(payload))


def tensor_of(offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """A gallery with one row, of a storage of four numbers, that lies so in it."""

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"

    text = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ"
    row = b"ctorch._utils\n_rebuild_tensor_v2\n(" + text + b"J" + struct.pack("<i", offset)
    row += numbers(size) + numbers(stride) + b"\x89ccollections\nOrderedDict\n)RtR"
    return as_gallery(b"\x80\x02](](" + row + b"e](X\x01\0\0\0aee.")


def test_a_row_must_lie_within_its_numbers() -> None:
    assert gallery_format.read(tensor_of(0, (1, 4), (4, 1))).embeddings[0].shape == (1, 4)
    cases = [(1, (1, 4), (4, 1)), (0, (5,), (1,)), (-1, (1,), (1,)), (3, (2,), (-4,))]
    for offset, size, stride in cases:
        with pytest.raises(GalleryFormatError):
            gallery_format.read(tensor_of(offset, size, stride))


def test_the_numbers_of_a_file_are_bounded() -> None:
    # GIVEN a row of 2 billion numbers that are one and the same
    with pytest.raises(GalleryFormatError, match="more than 250,000,000 numbers"):
        gallery_format.read(tensor_of(0, (2_000_000_000,), (0,)))


def test_a_file_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery_format, "MAX_BYTES", 100)
    with pytest.raises(GalleryFormatError, match=r"bytes, and 100 are allowed"):
        gallery_format.read(saved([[torch.ones(4)], ["a"]]))


def test_a_zip_bomb_is_refused() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"(" * 50_000_000)
    with pytest.raises(GalleryFormatError, match="compressed"):
        gallery_format.read(file.getvalue())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([[torch.ones(4)]], "must hold"),
        ({"a": 1}, "must hold"),
        ([{}, ["a"]], "lists"),
        ([[torch.ones(4)], [1]], "name is not text"),
        ([[torch.ones(4)], ["a"], "sface"], "metadata must be a dict"),
        ([[torch.ones(4, dtype=torch.int64)], ["a"]], r"torch\.LongStorage"),
    ],
)
def test_another_content_is_refused(content: Any, reason: str) -> None:
    with pytest.raises(GalleryFormatError, match=reason):
        gallery_format.read(saved(content))


@given(st.data(), st.booleans())
def test_damaged_bytes_give_this_error_or_a_gallery(draw: st.DataObject, is_zip: bool) -> None:
    data = bytearray(saved([[torch.ones(1, 4)] * 2, ["a", "b"], METADATA], is_zip))
    for _ in range(draw.draw(st.integers(1, 4))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    end = draw.draw(st.integers(0, len(data)))
    for damaged in (bytes(data), bytes(data[:end])):
        with contextlib.suppress(GalleryFormatError):
            gallery_format.read(damaged)


def test_metadata_are_read_without_numpy() -> None:
    code = (
        "import sys, gallery_format\n"
        "print(gallery_format.read_metadata(sys.stdin.buffer.read())['model'])\n"
        "print('numpy' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    data = saved([[torch.ones(1, 4)], ["a"], METADATA])
    run = subprocess.run(command, input=data, capture_output=True, cwd=FOLDER, check=True)
    assert run.stdout.decode().split() == ["sface", "False"]
