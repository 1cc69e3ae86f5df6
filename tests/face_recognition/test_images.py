"""Image files of every kind become RGB, and what cannot be read says why."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from images import UnreadableImage, read_rgb
from PIL import Image


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


GREY = Image.new("L", (4, 2), 100)


@pytest.mark.parametrize(
    ("image", "kind", "pixel"),
    [
        (GREY, "PNG", (100, 100, 100)),
        (GREY.convert("P"), "PNG", (100, 100, 100)),
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


def test_the_exif_orientation_is_honoured() -> None:
    image = Image.new("RGB", (40, 20), "black")
    image.paste("white", (0, 0, 20, 20))  # white on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter: what was left is on top

    pixels = read_rgb(encoded(image, "JPEG", exif=exif))

    assert pixels.shape == (40, 20, 3)
    assert pixels[5, 10].mean() > 200
    assert pixels[35, 10].mean() < 50


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty"),
        (b"no image at all", "no image that can be read"),
        (encoded(Image.effect_noise((64, 64), 90), "JPEG")[:500], "no image that can be read"),
        (encoded(Image.effect_noise((64, 64), 90), "PNG")[:500], "no image that can be read"),
    ],
)
def test_what_cannot_be_read_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason):
        read_rgb(data)


def test_a_decompression_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = encoded(Image.new("1", (20_000, 20_000)), "PNG")
    large = encoded(Image.new("1", (11_000, 10_000)), "PNG")

    assert len(bomb) < 100_000
    with pytest.raises(UnreadableImage):
        read_rgb(bomb)
    with pytest.raises(UnreadableImage, match="11000 x 10000 px, at most 100 megapixels"):
        read_rgb(large)
