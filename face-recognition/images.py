"""Read image files of the formats that cameras, phones and browsers write."""

from __future__ import annotations

import io
import warnings
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

Array = npt.NDArray[Any]

# What each decoder needs at most, with the pixels that it gives, is 700 MB: measured.
MAX_PIXELS = 100_000_000
MAX_PIXELS_OF = {
    "WEBP": 45_000_000,
    "TIFF": 70_000_000,
    "BMP": 70_000_000,
    "AVIF": 75_000_000,
    "HEIF": 75_000_000,
}
MAX_SIDE = 65_535  # px, JPEG's limit. Pillow needs 8 bytes more for every row.
# Every scan of a JPEG goes through all pixels, whatever it changes. Cameras write up to 10.
MAX_SCANS = 200
MAX_SCANNED_PIXELS = 4_000_000_000  # in all scans: about 2 s
ROWS_AT_ONCE = 256
# EXIF's orientations, by what is stored: columns of the picture as rows, the last row or the last
# column first.
SIDEWAYS, FROM_BELOW, FROM_RIGHT = (5, 6, 7, 8), (3, 4, 6, 7), (2, 3, 7, 8)
TILE_WIDTH, TILE_LENGTH = 322, 323  # TIFF's tags
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
                _check_size(image)
                _check_scans(image, data)
                image.load()
                return _upright_rgb(image)
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


def _check_size(image: Image.Image) -> None:
    most = MAX_PIXELS_OF.get(image.format or "", MAX_PIXELS)
    sizes = [("", *image.size)]
    tags = getattr(image, "tag_v2", {})  # of a TIFF, whose module takes 25 ms to import
    if TILE_WIDTH in tags:  # a tile is decoded whole, even if the image has only a corner of it
        sizes.append(("tiles of ", tags[TILE_WIDTH], tags[TILE_LENGTH]))
    for what, width, height in sizes:
        if width * height > most:
            raise UnreadableImage(
                f"it is too large: {what}{width} x {height} px, and {image.format} may have at "
                f"most {most // 1_000_000} megapixels"
            )
        if max(width, height) > MAX_SIDE:
            raise UnreadableImage(
                f"it is too large: {what}{width} x {height} px, and a side may have at most "
                f"{MAX_SIDE:,} px"
            )


def _check_scans(image: Image.Image, data: bytes) -> None:
    scans = data.count(b"\xff\xda") if image.format == "JPEG" else 0
    if scans > MAX_SCANS or scans * image.width * image.height > MAX_SCANNED_PIXELS:
        raise UnreadableImage(
            f"it takes too long to decode: {image.width} x {image.height} px in {scans} scans. "
            "Save it again as a JPEG that is not progressive"
        )


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


def _upright_rgb(image: Image.Image) -> Array:
    """The pixels, turned as EXIF says, without a second copy of the whole image in memory."""
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    width, height = image.size
    upright = np.empty(
        (*((width, height) if orientation in SIDEWAYS else (height, width)), 3), np.uint8
    )
    stored = upright.transpose(1, 0, 2) if orientation in SIDEWAYS else upright
    stored = stored[
        :: -1 if orientation in FROM_BELOW else 1, :: -1 if orientation in FROM_RIGHT else 1
    ]
    white = _white(image)
    for top in range(0, height, ROWS_AT_ONCE):
        bottom = min(height, top + ROWS_AT_ONCE)
        stored[top:bottom] = np.asarray(_rgb(image.crop((0, top, width, bottom)), white))
    return upright


def _white(image: Image.Image) -> float:
    """What stands for 255 in an image of one channel: 16 bits are scaled, unless 8 are enough."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        extrema: Any = image.getextrema()
        return 65_535.0 if extrema[1] > 255 else 255.0
    return 255.0


def _rgb(image: Image.Image, white: float) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        pixels = np.array(image, np.float32) * (255 / white)
        return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(canvas, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
