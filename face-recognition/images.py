"""Image files to pixels: the kinds that cameras, phones and browsers write."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

Array = npt.NDArray[Any]

MAX_PIXELS = 100_000_000  # 100 megapixels: 300 MB as RGB, and at most 2.1 GB to decode (WebP)
# Pillow's names of what is read. Its other decoders are for files that nobody photographs with.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF")
# The brands, in bytes 8 to 12, of what an iPhone writes: Pillow cannot read it.
HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
HEIC = (
    "it is HEIC, which cannot be read: export it as JPEG (an iPhone takes JPEG with Settings, "
    "Camera, Formats, Most Compatible)"
)


class UnreadableImage(ValueError):
    """The bytes are no image that can be read; the message says why."""


def read_rgb(data: bytes) -> Array:
    """An image file's pixels: H x W x 3 uint8 RGB, turned as its EXIF orientation says.

    Grayscale, palette, CMYK, 16-bit and images with transparency (on white) become RGB. Raises
    UnreadableImage.
    """
    if not data:
        raise UnreadableImage("it is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS decides
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    size = f"{image.width} x {image.height}"
                    raise UnreadableImage(f"it is too large: {size} px, at most 100 megapixels")
                ImageOps.exif_transpose(image, in_place=True)
                return np.array(_rgb(image))
    except UnreadableImage:
        raise
    except UnidentifiedImageError as error:
        if data[4:8] == b"ftyp" and data[8:12] in HEIC_BRANDS:
            raise UnreadableImage(HEIC) from error
        kinds = f"none of {', '.join(FORMATS)}, or damaged"
        raise UnreadableImage(f"it is no image that can be read: {kinds}") from error
    except Exception as error:
        # What damaged bytes raise depends on Pillow's decoder: OSError, ValueError, SyntaxError
        # (PNG), RuntimeError (AVIF), struct.error, IndexError and others.
        reason = str(error) or type(error).__name__
        raise UnreadableImage(f"it is no image that can be read: {reason}") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        pixels = np.array(image, np.float32)
        # 16 bits to 8; what is already within 8 bits stays as it is
        pixels /= 257 if pixels.max(initial=0) > 255 else 1
        return Image.fromarray(np.clip(pixels, 0, 255, out=pixels).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(canvas, rgba).convert("RGB")
    return image.convert("RGB")
