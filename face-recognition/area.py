"""Area averages of an image and its parts, with four look-ups per pixel in an integral image."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# The sums wrap around at 32 bits, which leaves the sum of a cell exact up to this many pixels.
MAX_CELL_PIXELS = (2**32 - 1) // 255
ROWS_AT_ONCE = 64  # of a level, so that a large image needs no copies of its own size


class AreaAverages:
    """Resample an image and its parts by area averages, from one integral image.

    The results equal torch's interpolate(mode="area"): output cell i of n averages the input from
    floor(i * size / n) up to, but not including, ceil((i + 1) * size / n).
    """

    def __init__(self, image: Array) -> None:
        """Build the integral image of an H x W x 3 uint8 image."""
        self.height, self.width = image.shape[:2]
        self._sums = np.zeros((self.height + 1, self.width + 1, 3), np.uint32)
        inner = self._sums[1:, 1:]
        inner[:] = image  # first, as a cumsum that also converts takes twice the time
        np.cumsum(inner, axis=1, out=inner)
        # Row by row, each still in the cache: half the time of a second cumsum.
        for y in range(2, self.height + 1):
            self._sums[y] += self._sums[y - 1]

    def whole(self, size: tuple[int, int]) -> Array:
        """The whole image at `size` (height, width): float32, h x w x 3."""
        y0, y1 = _cells(0, self.height, size[0])
        x0, x1 = _cells(0, self.width, size[1])
        averages = np.empty((*size, 3), np.float32)
        for start in range(0, size[0], ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            strips: Array = self._sums[y1[rows]]  # rows first: each is read once and in order
            strips -= self._sums[y0[rows]]
            total = strips[:, x1] - strips[:, x0]
            count = (y1[rows] - y0[rows])[:, None] * (x1 - x0)[None, :]
            averages[rows] = total / count[:, :, None]
        return averages

    def within(self, boxes: Array) -> Array:
        """The boxes (rows x1, y1, x2, y2, ...) that overlap the image."""
        x1, y1, x2, y2 = self._cut(boxes)
        return boxes[(y2 > y1) & (x2 > x1)]

    def crops(self, boxes: Array, side: int) -> Array:
        """The part of each box inside the image, resized: float32, n x side x side x 3."""
        x1, y1, x2, y2 = (edge[:, None] for edge in self._cut(boxes))
        top, bottom = _cells(y1, y2 - y1, side)
        left, right = _cells(x1, x2 - x1, side)
        total = self._at(bottom, right) - self._at(top, right)
        total -= self._at(bottom, left) - self._at(top, left)
        count = (bottom - top)[:, :, None] * (right - left)[:, None, :]
        return np.asarray(total / count[..., None], np.float32)

    def _cut(self, boxes: Array) -> tuple[Array, Array, Array, Array]:
        """The boxes' x1, y1, x2, y2 in whole pixels, counted from 0, clipped to the image."""
        x1, y1, x2, y2 = np.trunc(boxes[:, :4]).astype(np.int64).T
        x1, y1 = np.maximum(x1, 1) - 1, np.maximum(y1, 1) - 1
        return x1, y1, np.minimum(x2, self.width), np.minimum(y2, self.height)

    def _at(self, ys: Array, xs: Array) -> Array:
        """The sums at each pair of a box's ys and xs (both n x side): n x side x side x 3."""
        flat = (ys * (self.width + 1))[:, :, None] + xs[:, None, :]
        return np.asarray(np.take(self._sums.reshape(-1, 3), flat, axis=0))


def _cells(start: Any, size: Any, n: int) -> tuple[Array, Array]:
    """The starts and ends of the n cells that divide `size` pixels from `start` on."""
    index = np.arange(n)
    return start + index * size // n, start - (-(index + 1) * size // n)
