"""Frames made small, to be part of the page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from PIL import Image

THUMBNAIL_PX = (400, 400)  # about 15 KB each as JPEG: a hundred stay below 2 MB
JPEG_QUALITY = 72


@dataclass(frozen=True)
class Picture:
    """A thumbnail as a data URI, and the width and height of the frame it was made from."""

    uri: str
    width: int
    height: int


def thumbnail(data: bytes) -> Picture | None:
    """A frame made small; None when `data` are no picture."""
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
