"""Pictures of frames, embedded in the page and so small that the page stays below 10 MB."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

# A page of 1,000 videos stays below 10 MB. Card, rows and bars of a video take 6 kB of it in a run
# with FRAMES=5; the pictures, as text in the page, share the rest.
PAGE_BYTES = 9_500_000
VIDEO_BYTES = 6_500
MOST_BYTES, FEWEST_BYTES = 6_000_000, 1_000_000  # of all pictures
TEXT_PER_BYTE = 4 / 3  # base64
LARGEST_PX = 1280  # the longer side of a picture; a larger frame is reduced
SMALLEST_PX = 64
JPEG_QUALITY = 72
STRIP_WEIGHT = 4  # the answer's frame may take this many times what another of its video may
# A picture needs 1,024 bytes to show anything, so frames in too many videos to have them get none.
LEAST_BYTES = 1024


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI, its size, and the width and height of the original frame."""

    uri: str
    width: int
    height: int
    shown_width: int
    shown_height: int

    @property
    def is_whole(self) -> bool:
        """Whether it has all pixels of the frame."""
        return (self.shown_width, self.shown_height) == (self.width, self.height)


@dataclass(frozen=True)
class Share:
    """How many bytes the picture of an answer's frame may have, and that of another frame."""

    main: int
    other: int

    @classmethod
    def of(cls, mains: int, others: int) -> Share:
        """Divide the page's bytes; `other` is 0 if the other frames would get too little."""
        text = max(FEWEST_BYTES, min(MOST_BYTES, PAGE_BYTES - VIDEO_BYTES * mains))
        total = text / TEXT_PER_BYTE
        part = total / max(STRIP_WEIGHT * mains + others, 1)
        if part < LEAST_BYTES:
            return cls(int(total / max(mains, 1)), 0)
        return cls(int(STRIP_WEIGHT * part), int(part))


def fit(data: bytes, limit: int) -> Picture | None:
    """The frame as a picture of at most `limit` bytes; None if `data` is not an image.

    A frame that is small enough is embedded as it is. A picture is never less than SMALLEST_PX.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            whole = image.size
            if len(data) <= limit and max(whole) <= LARGEST_PX and image.format == "JPEG":
                image.load()  # damaged data raise here
                return Picture(_uri(data), *whole, *whole)
            image.draft("RGB", (LARGEST_PX, LARGEST_PX))
            colors = image.convert("RGB")
            side = min(LARGEST_PX, max(whole))
            while True:
                small, size = _reduced(colors, side)
                if len(small) <= limit or side <= SMALLEST_PX:
                    return Picture(_uri(small), *whole, *size)
                # bytes grow a little slower than the area
                side = max(SMALLEST_PX, int(side * min(0.9, math.sqrt(limit / len(small)))))
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def cut_out(data: bytes, box: Sequence[float], side: int) -> str:
    """A face with what is around it, as a data URI of `side` pixels; empty if not an image."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            half = min(0.75 * max(box[2] - box[0], box[3] - box[1]), width / 2, height / 2)
            x = min(max((box[0] + box[2]) / 2, half), width - half)
            y = min(max((box[1] + box[3]) / 2, half), height - half)
            around = (round(x - half), round(y - half), round(x + half), round(y + half))
            face = image.convert("RGB").crop(around).resize((side, side))
            out = io.BytesIO()
            face.save(out, "JPEG", quality=JPEG_QUALITY, optimize=True)
    except (OSError, ValueError, Image.DecompressionBombError):
        return ""
    return _uri(out.getvalue())


def _reduced(image: Image.Image, side: int) -> tuple[bytes, tuple[int, int]]:
    """The image as JPEG with a longer side of at most `side` pixels, and its size."""
    copy, out = image.copy(), io.BytesIO()
    copy.thumbnail((side, side))
    copy.save(out, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return out.getvalue(), copy.size


def _uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
