"""Faces turned and scaled so that their landmarks lie where SFace expects them.

The same as OpenCV's FaceRecognizerSF.alignCrop, in NumPy: 112 x 112 px by the similarity transform
that fits the five landmarks best (Umeyama, "Least-Squares Estimation of Transformation Parameters
Between Two Point Patterns", 1991), and bilinear sampling, black outside the image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

SIDE = 112
# x, y of the eyes (left one of the picture first), nose and mouth corners:
# modules/objdetect/src/face_recognize.cpp in github.com/opencv/opencv
TARGET = np.array(
    [
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ]
)


def similarity(source: Array, target: Array) -> Array:
    """The rotation, uniform scale and shift that best takes points to points (n x 2): 2 x 3."""
    source, target = source.astype(np.float64), target.astype(np.float64)
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    a, b = source - source_mean, target - target_mean
    u, strengths, vt = np.linalg.svd(b.T @ a / len(source))
    signs = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt)) or 1.0])
    rotation = (u * signs) @ vt
    variance = max(a.var(axis=0).sum(), np.finfo(np.float64).tiny)
    linear = rotation * (strengths @ signs / variance)
    return np.column_stack([linear, target_mean - linear @ source_mean])


def align(image: Array, landmarks: Array) -> Array:
    """An aligned face: 112 x 112 x 3 uint8 of an H x W x 3 uint8 image and its 5 landmarks."""
    forward = similarity(landmarks, TARGET)
    inverse = np.linalg.pinv(forward[:, :2])
    shift = -inverse @ forward[:, 2]
    grid = np.arange(SIDE)
    x = inverse[0, 0] * grid[None, :] + (inverse[0, 1] * grid[:, None] + shift[0])
    y = inverse[1, 0] * grid[None, :] + (inverse[1, 1] * grid[:, None] + shift[1])
    return sample(image, x, y)


def sample(image: Array, x: Array, y: Array) -> Array:
    """Bilinear samples at x, y (both h x w) of an H x W x 3 uint8 image; black outside."""
    height, width = image.shape[:2]
    # Beyond one pixel outside all is black: bounded so that no coordinate overflows. OpenCV rounds
    # coordinates to 1/32 px.
    x = np.rint(np.clip(x, -2, width + 1) * 32) / 32
    y = np.rint(np.clip(y, -2, height + 1) * 32) / 32
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    across, down = (x - left).astype(np.float32), (y - top).astype(np.float32)
    flat = image.reshape(-1, image.shape[2])
    total = np.zeros((*x.shape, image.shape[2]), np.float32)
    for dy, row_weight in ((0, 1 - down), (1, down)):
        for dx, weight in ((0, (1 - across) * row_weight), (1, across * row_weight)):
            xs, ys = left + dx, top + dy
            inside = (xs >= 0) & (xs < width) & (ys >= 0) & (ys < height)
            taps = np.take(flat, ys * width + xs, axis=0, mode="clip")
            total += taps * np.where(inside, weight, np.float32(0))[..., None]
    return np.asarray(np.rint(total), np.uint8)
