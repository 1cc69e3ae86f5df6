"""Say what is poor about a face in a photo, with numbers: size, sharpness, light, direction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

if TYPE_CHECKING:
    from detect import Face

Array = npt.NDArray[Any]

# Both models look at crops of at least 112 px; a face of 80 px or less is enlarged for that, which
# adds no detail. (MTCNN's box is tighter than SFace's aligned crop.)
MIN_SIDE_PX = 80
# The variance of the Laplacian (Pech-Pacheco et al., "Diatom autofocusing in brightfield
# microscopy", ICPR 2000), measured at one size, so that it does not depend on the camera.
SHARPNESS_SIDE_PX = 112
# The sharp sample faces have 141 or more; with a Gaussian blur of 1 % of the face's width they have
# 21 to 98, and with one of 2 %, which takes the eyes' outlines away, 4 to 15.
MIN_SHARPNESS = 20.0
MIN_BRIGHTNESS = 50.0  # mean luma, 0 to 255
# How far the nose is from the middle between the eyes, in distances between the eyes: 0 in a
# frontal face, half when an eye is above it. The frontal sample faces are at 0.15 or less.
MAX_NOSE_OFFSET = 0.4


def complaints(image: Array, face: Face) -> list[str]:
    """What may make a face hard to recognize in an H x W x 3 uint8 RGB image; empty if nothing."""
    gray = _gray_crop(image, face)
    found = []
    side = min(gray.shape)
    if side < MIN_SIDE_PX:
        found.append(f"small: {side} px, better {MIN_SIDE_PX} or more")
    if (variance := sharpness(gray)) < MIN_SHARPNESS:
        found.append(f"blurred: sharpness {variance:.0f}, better {MIN_SHARPNESS:.0f} or more")
    if (luma := float(gray.mean())) < MIN_BRIGHTNESS:
        found.append(f"dark: brightness {luma:.0f} of 255, better {MIN_BRIGHTNESS:.0f} or more")
    if (offset := nose_offset(face.landmarks)) > MAX_NOSE_OFFSET:
        found.append(
            f"turned away: the nose is {offset:.2f} eye distances off center, better "
            f"{MAX_NOSE_OFFSET} or less"
        )
    return found


def sharpness(gray: Array) -> float:
    """The variance of the Laplacian of an H x W luma crop, reduced to SHARPNESS_SIDE_PX."""
    side = min(gray.shape)
    if side > SHARPNESS_SIDE_PX:
        size = [round(edge * SHARPNESS_SIDE_PX / side) for edge in gray.shape[::-1]]
        reduced = Image.fromarray(gray.astype(np.uint8)).resize((size[0], size[1]))
        gray = np.asarray(reduced, np.float32)
    if min(gray.shape) < 3:
        return 0.0
    middle = gray[1:-1, 1:-1]
    around = gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:]
    return float((around - 4 * middle).var())


def nose_offset(landmarks: Array) -> float:
    """The nose's distance from the middle between the eyes, along the line through the eyes.

    In distances between the eyes; `landmarks` are 5 x (x, y): eyes, nose, mouth corners.
    """
    left, right, nose = np.asarray(landmarks[:3], np.float64)
    between = right - left
    length = float(between @ between)
    return abs(float((nose - (left + right) / 2) @ between)) / length if length else 0.0


def _gray_crop(image: Array, face: Face) -> Array:
    """The visible part of the face as H x W float32 luma (ITU-R BT.601), at least 1 x 1."""
    height, width = image.shape[:2]
    x1 = int(min(max(face.box[0], 0), width - 1))
    y1 = int(min(max(face.box[1], 0), height - 1))
    x2, y2 = max(x1 + 1, int(min(face.box[2], width))), max(y1 + 1, int(min(face.box[3], height)))
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    return np.asarray(image[y1:y2, x1:x2].astype(np.float32) @ weights)
