"""Read image files of the formats that cameras, phones and browsers write."""

from __future__ import annotations

import io
import warnings
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

Array = npt.NDArray[Any]

MAX_PIXELS = 100_000_000  # 100 megapixels: 300 MB as RGB, and at most 2.1 GB to decode (WebP)
# Pillow's names of the accepted formats. No camera writes the others that Pillow can decode.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF")
# The brands, in bytes 8 to 12, of the HEIC files that an iPhone writes and Pillow cannot read.
HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
HEIC = (
    "it is HEIC, which cannot be read without the package pillow-heif: pip install pillow-heif, or "
    "export it as JPEG (for JPEG photos from an iPhone, choose Settings, Camera, Formats, Most "
    "Compatible)"
)


class UnreadableImage(ValueError):
    """The data is not a readable image; the message says why."""


def read_rgb(data: bytes) -> Array:
    """Decode an image file to H x W x 3 uint8 RGB and apply its EXIF orientation.

    Grayscale, palette, CMYK, 16-bit and transparent images (on white) become RGB. Raises
    UnreadableImage.
    """
    if not data:
        raise UnreadableImage("it is empty")
    is_heic = data[4:8] == b"ftyp" and data[8:12] in HEIC_BRANDS
    formats = (*FORMATS, "HEIF") if is_heic and _can_read_heic() else FORMATS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", Image.DecompressionBombWarning
            )  # MAX_PIXELS is the limit
            with Image.open(io.BytesIO(data), formats=formats) as image:
                if image.width * image.height > MAX_PIXELS:
                    size = f"{image.width} x {image.height}"
                    raise UnreadableImage(f"it is too large: {size} px, at most 100 megapixels")
                ImageOps.exif_transpose(image, in_place=True)
                return np.array(_rgb(image))
    except UnreadableImage:
        raise
    except UnidentifiedImageError as error:
        if is_heic and "HEIF" not in formats:
            raise UnreadableImage(HEIC) from error
        kinds = f"not one of {', '.join(formats)}, or damaged"
        raise UnreadableImage(f"it is not a readable image: {kinds}") from error
    except Exception as error:
        # Pillow's decoders raise many errors for damaged data: OSError, ValueError, SyntaxError
        # (PNG), RuntimeError (AVIF), struct.error, IndexError and others.
        reason = str(error).strip() or type(error).__name__
        raise UnreadableImage(f"it is not a readable image: {reason}") from error


@cache
def _can_read_heic() -> bool:
    """Whether pillow-heif is installed; imports it, which only an image in HEIC is worth.

    It is an extra for enroll.py, and no part of the function's image.
    """
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        pixels = np.array(image, np.float32)
        # scale 16 bits to 8, but leave values that already fit into 8
        pixels /= 257 if pixels.max(initial=0) > 255 else 1
        return Image.fromarray(np.clip(pixels, 0, 255, out=pixels).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(canvas, rgba).convert("RGB")
    return image.convert("RGB")
