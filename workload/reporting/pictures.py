"""Thumbnails of frames, embedded in the page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from PIL import Image

THUMBNAIL_PX = (400, 400)  # about 15 KB each as JPEG, so that 100 take less than 2 MB
JPEG_QUALITY = 72


@dataclass(frozen=True)
class Picture:
    """A thumbnail as a data URI, with the width and height of the original frame."""

    uri: str
    width: int
    height: int


def thumbnail(data: bytes) -> Picture | None:
    """A thumbnail of a frame; None if `data` is not an image."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            image.thumbnail(THUMBNAIL_PX)
            small = io.BytesIO()
            image.convert("RGB").save(small, "JPEG", quality=JPEG_QUALITY, optimize=True)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    text = base64.b64encode(small.getvalue()).decode()
    return Picture(f"data:image/jpeg;base64,{text}", width, height)
