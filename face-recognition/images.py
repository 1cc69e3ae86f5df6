"""Image files to pixels: every kind a camera or a tool may have written."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

Array = npt.NDArray[Any]

MAX_PIXELS = 100_000_000  # 100 megapixels: 300 MB as RGB, within the function's memory


class UnreadableImage(ValueError):
    """The bytes are no image that can be read; the message says why."""


def read_rgb(data: bytes) -> Array:
    """An image file's pixels: H x W x 3 uint8 RGB, turned as its EXIF orientation says.

    Greyscale, palette, CMYK, 16-bit and images with transparency (on white) become RGB. Raises
    UnreadableImage.
    """
    if not data:
        raise UnreadableImage("it is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS decides
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > MAX_PIXELS:
                    size = f"{image.width} x {image.height}"
                    raise UnreadableImage(f"it is too large: {size} px, at most 100 megapixels")
                return np.array(_rgb(ImageOps.exif_transpose(image)))
    except UnreadableImage:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        # Pillow's decoders raise SyntaxError for broken PNG chunks
        raise UnreadableImage(f"it is no image that can be read: {error}") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        pixels = np.asarray(image, np.float64)
        # 16 bits to 8; what is already within 8 bits stays as it is
        scale = 257.0 if pixels.max(initial=0) > 255 else 1.0
        return Image.fromarray(np.clip(pixels / scale, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(canvas, rgba).convert("RGB")
    return image.convert("RGB")
