"""Image files of every kind become RGB, and unreadable ones say why."""

from __future__ import annotations

import io
import re
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import images
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images import FORMATS, UnreadableImage, read_rgb
from PIL import Image, ImageOps


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


GRAY = Image.new("L", (4, 2), 100)


@pytest.mark.parametrize(
    ("image", "kind", "pixel"),
    [
        (GRAY, "PNG", (100, 100, 100)),
        (GRAY.convert("P"), "PNG", (100, 100, 100)),
        (Image.new("1", (4, 2), 1), "PNG", (255, 255, 255)),
        (Image.new("CMYK", (4, 2), (0, 0, 0, 0)), "TIFF", (255, 255, 255)),
        (Image.new("RGBA", (4, 2), (200, 0, 0, 255)), "PNG", (200, 0, 0)),
        (Image.new("RGBA", (4, 2), (200, 0, 0, 0)), "PNG", (255, 255, 255)),
        (Image.new("LA", (4, 2), (9, 255)), "PNG", (9, 9, 9)),
        (Image.fromarray(np.full((2, 4), 100 * 257, np.uint16)), "PNG", (100, 100, 100)),
        (Image.fromarray(np.full((2, 4), 100 * 257, np.uint16)), "TIFF", (100, 100, 100)),
        (Image.new("RGB", (4, 2), (1, 2, 3)), "WEBP", None),
    ],
)
def test_any_mode_becomes_rgb(
    image: Image.Image, kind: str, pixel: tuple[int, int, int] | None
) -> None:
    pixels = read_rgb(encoded(image, kind))

    assert pixels.shape == (2, 4, 3)
    assert pixels.dtype == np.uint8
    if pixel is not None:
        assert tuple(pixels[0, 0]) == pixel


@pytest.mark.parametrize("orientation", range(10))  # 0 and 9 mean nothing
def test_the_exif_orientation_is_honored(orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "ROWS_AT_ONCE", 7)  # several strips, the last one shorter
    noise = np.random.default_rng(0).integers(0, 256, (20, 40, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(noise), "PNG", exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))

    pixels = read_rgb(data)

    assert pixels.flags.c_contiguous
    assert np.array_equal(pixels, expected)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty"),
        (b"no image at all", "not a readable image"),
        (encoded(Image.effect_noise((64, 64), 90), "JPEG")[:500], "not a readable image"),
        (encoded(Image.effect_noise((64, 64), 90), "PNG")[:500], "not a readable image"),
    ],
)
def test_an_unreadable_image_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason):
        read_rgb(data)


def test_a_decompression_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = encoded(Image.new("1", (20_000, 20_000)), "PNG")

    assert len(bomb) < 100_000
    with pytest.raises(UnreadableImage):
        read_rgb(bomb)


@pytest.mark.parametrize(
    ("kind", "height", "most"), [("PNG", 10_100, 100), ("TIFF", 7_100, 70), ("BMP", 7_100, 70)]
)
def test_a_format_has_a_limit_by_what_its_decoder_needs(kind: str, height: int, most: int) -> None:
    large = encoded(Image.new("1", (10_000, height)), kind)

    with pytest.raises(
        UnreadableImage, match=f"10000 x {height} px, and {kind} may have at most {most} mega"
    ):
        read_rgb(large)


def png_of(width: int, height: int) -> bytes:
    """A black PNG with one bit per pixel, made row by row."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    row = bytes(1 + (width + 7) // 8)
    many = row * max(1, (1 << 17) // len(row))
    packer, size = zlib.compressobj(9), len(row) * height
    parts = [packer.compress(many[: size - at]) for at in range(0, size, len(many))]
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = chunk(b"IDAT", b"".join([*parts, packer.flush()]))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def jpeg_of(width: int, height: int, scans: int) -> bytes:
    """A gray progressive JPEG whose last scan is repeated."""
    data = encoded(Image.new("L", (width, height), 128), "JPEG", progressive=True)
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:end] + data[last:end] * (scans - data.count(b"\xff\xda")) + data[end:]


def tiff_of(tile: int) -> bytes:
    """A TIFF of 16 x 16 px in one tile, which is much larger."""
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(bytes(3 * tile)) for _ in range(tile)) + packer.flush()
    pixels += bytes(len(pixels) % 2)
    entries = [(256, 4, 1, 16), (257, 4, 1, 16), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 2)]
    entries += [(277, 3, 1, 3), (322, 4, 1, tile), (323, 4, 1, tile), (324, 4, 1, 8)]
    entries += [(325, 4, 1, len(pixels))]
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return (
        struct.pack("<2sHI", b"II", 42, 8 + len(pixels))
        + pixels
        + struct.pack("<H", len(entries))
        + directory
        + bytes(4)
    )


def peak_kb(reset: bool = False) -> int:
    """The most memory that this process had since the last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: png_of(1, 99_999_999), "1 x 99999999 px, and a side may have at most 65,535"),
        (lambda: png_of(99_999_999, 1), "99999999 x 1 px, and a side may have at most 65,535"),
        (lambda: jpeg_of(3000, 2000, 2000), "takes too long to decode: .* in 2000 scans"),
        (lambda: jpeg_of(8000, 8000, 100), "takes too long to decode: .* in 100 scans"),
        (lambda: tiff_of(9000), "tiles of 9000 x 9000 px, and TIFF may have at most 70 mega"),
    ],
)
def test_a_bomb_is_refused_before_it_costs_anything(make: Any, reason: str) -> None:
    bomb = make()
    assert len(bomb) < 400_000
    before, started = peak_kb(reset=True), time.process_time()
    with pytest.raises(UnreadableImage, match=reason):
        read_rgb(bomb)
    assert time.process_time() - started < 0.5
    assert peak_kb() - before < 20_000


def test_what_is_no_bomb_is_read() -> None:
    assert read_rgb(png_of(1, 65_535)).shape == (65_535, 1, 3)
    assert read_rgb(jpeg_of(400, 300, 100)).shape == (300, 400, 3)
    assert read_rgb(tiff_of(256)).shape == (16, 16, 3)


PHOTO = Image.effect_noise((48, 32), 90).convert("RGB")


@pytest.mark.filterwarnings("ignore")  # Pillow warns about damage that it can read
@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_images_are_either_read_or_refused(kind: str) -> None:
    whole, random = encoded(PHOTO, kind), np.random.default_rng(0)
    assert read_rgb(whole).shape == (32, 48, 3)
    refused = 0
    for _ in range(200):
        damaged = bytearray(whole[: int(random.integers(1, len(whole) + 1))])
        for _ in range(3):
            damaged[int(random.integers(min(len(damaged), 400)))] = int(random.integers(256))
        try:
            assert read_rgb(bytes(damaged)).shape[2] == 3
        except UnreadableImage:
            refused += 1
    assert refused > 50


WHOLE = [encoded(PHOTO, kind) for kind in FORMATS] + [jpeg_of(48, 32, 12), tiff_of(32)]
SIZES = st.sampled_from((0, 1, 0x7FFF, 0xFFFF, 0x10000, 0xFFFFFF, 0x7FFFFFFF, 0xFFFFFFFF))
NUMBERS = st.builds(
    lambda number, length, order: (number & (256**length - 1)).to_bytes(length, order),
    *(SIZES, st.sampled_from((2, 3, 4)), st.sampled_from(("big", "little"))),
)
CHANGES = st.lists(st.tuples(st.integers(0, 300), st.binary(max_size=4) | NUMBERS), max_size=4)
BYTES = st.binary(max_size=300)


def with_changes(whole: bytes, changes: list[tuple[int, bytes]], cut: int, end: bytes) -> bytes:
    data = bytearray(whole)
    for at, new in changes:
        data[at : at + len(new)] = new
    return bytes(data[: len(data) - cut]) + end


DAMAGED = st.builds(with_changes, st.sampled_from(WHOLE), CHANGES, st.integers(0, 200), BYTES)
NO_PICTURES = st.builds(
    lambda whole, size, end: whole[:size] + end, st.sampled_from(WHOLE), st.integers(0, 60), BYTES
)


def check_bytes(data: bytes) -> None:
    """The bytes give an image, or UnreadableImage, within two seconds and 700 MB."""
    before, started = peak_kb(reset=True), time.process_time()
    pixels, reason = np.zeros((1, 1, 3), np.uint8), "none"
    try:
        pixels = read_rgb(data)
    except UnreadableImage as error:
        reason = str(error)
    assert pixels.dtype == np.uint8
    assert pixels.shape[2:] == (3,)
    assert pixels.size
    assert 0 < len(reason) < 500
    assert time.process_time() - started < 2
    assert peak_kb() - before < 700_000


@pytest.mark.filterwarnings("ignore")  # Pillow warns about damage that it can read
@pytest.mark.parametrize("whole", WHOLE, ids=[*FORMATS, "progressive JPEG", "tiled TIFF"])
def test_a_large_number_anywhere_in_a_header_costs_little(whole: bytes) -> None:
    for number in (b"\xff\xff", b"\x75\x30", b"\x30\x75", b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff"):
        for at in range(64):
            check_bytes(whole[:at] + number + whole[at + len(number) :])


quick = settings(max_examples=200, deadline=None, derandomize=True)


@pytest.mark.filterwarnings("ignore")  # Pillow warns about damage that it can read
@quick
@given(BYTES | DAMAGED | NO_PICTURES)
def test_any_bytes_are_an_image_or_refused_soon(data: bytes) -> None:
    check_bytes(data)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@settings(quick, max_examples=10_000)
@given(BYTES | DAMAGED | NO_PICTURES)
def test_many_bytes_are_an_image_or_refused_soon(data: bytes) -> None:
    check_bytes(data)


def test_an_avif_without_its_pixels_is_refused() -> None:
    head, _, pixels = encoded(PHOTO, "AVIF").partition(b"mdat")

    with pytest.raises(UnreadableImage, match="not a readable image"):
        read_rgb(head + b"mdat" + bytes(len(pixels)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Pillow deprecates writing IM
@pytest.mark.parametrize("kind", ["DDS", "IM", "PPM"])
def test_a_format_that_no_camera_writes_is_refused_with_the_accepted_ones(kind: str) -> None:
    with pytest.raises(UnreadableImage, match="not one of JPEG, PNG, WEBP, TIFF, GIF, BMP, AVIF"):
        read_rgb(encoded(PHOTO, kind))


def test_an_iphones_heic_says_what_to_do() -> None:
    with pytest.raises(UnreadableImage, match=r"it is HEIC.* export it as JPEG"):
        read_rgb(b"\0\0\0\x24ftypheic\0\0\0\0mif1heic" + bytes(100))
