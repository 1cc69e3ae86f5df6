"""Image files of every kind become RGB, and unreadable ones say why."""

from __future__ import annotations

import io
from typing import Any

import images
import numpy as np
import pytest
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
