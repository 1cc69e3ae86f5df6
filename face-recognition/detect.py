"""Find the faces in an image with MTCNN's networks, whose weights facenet-pytorch ships.

The cascade follows Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded
Convolutional Networks" (2016), with the thresholds and arithmetic of facenet-pytorch's
models/utils/detect_face.py. It is faster for two reasons: one integral image provides every
pyramid level and every crop (area.py), and the search for the largest face runs from coarse to
fine and stops when no larger face can follow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from area import ROWS_AT_ONCE, AreaAverages
from boxes import nms, refined, squared
from engine import DETECTION, Load, Network
from PIL import Image

Array = npt.NDArray[Any]

MIN_FACE_PX = 20
THRESHOLDS = (0.6, 0.7, 0.7)  # of P-, R- and O-Net
PYRAMID_FACTOR = 0.709
P_NET_CELL = 12
P_NET_STRIDE = 2
# Less probable faces are not reported. O-Net lets weak false detections pass (a stack of poker
# chips scores 0.87); the faces in the sample photos score 0.975 or more.
MIN_PROBABILITY = 0.9
# The largest face so far ends the search if it has at least this probability and its visible side
# is at least this many base boxes of the next finer level, which rarely adds larger faces.
SURE_PROBABILITY = 0.95
SURE_SIDE = 2.0
# Larger images are searched in a smaller copy, to stay within the function's memory: the search
# takes 25 bytes a pixel.
MAX_SEARCHED_PIXELS = 16_000_000
BOXES_AT_ONCE = 512  # each takes up to 1 MB in O-Net, and a picture of a crowd has thousands


@dataclass(frozen=True)
class Face:
    """One face: box (x1, y1, x2, y2) in px, probability, landmarks 5 x (x, y) in px.

    Landmarks: eyes, nose, mouth corners; of each pair, the one further left in the image first.
    """

    box: tuple[float, float, float, float]
    probability: float
    landmarks: Array

    @property
    def area(self) -> float:
        """The box's area in px²."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


class Detector:
    """MTCNN on the CPU. Build it once; it keeps no state between images.

    An image of more than MAX_SEARCHED_PIXELS is searched at that size, which raises the smallest
    face size that is found. Boxes and landmarks are still in pixels of the original image.
    """

    def __init__(self, load: Load) -> None:
        """Load the three networks with `load` (engine.py); raises EngineError."""
        self._p_net, self._r_net, self._o_net = map(load, DETECTION)

    def search(self, image: Array) -> Search:
        """The search for faces in an H x W x 3 uint8 RGB image."""
        return Search(self, image)

    def largest(self, image: Array) -> list[Face]:
        """The largest face in an H x W x 3 uint8 RGB image, as a list of at most one face."""
        return self.search(image).largest()

    def all(self, image: Array) -> list[Face]:
        """All faces in an H x W x 3 uint8 RGB image, largest first."""
        return self.search(image).all()

    def memos(self, area: AreaAverages) -> tuple[Memo, Memo]:
        """R-Net and O-Net for the boxes of one image."""
        return Memo(self._r_net, area, 24), Memo(self._o_net, area, 48)

    def propose(self, area: AreaAverages, scale: float) -> Array:
        """P-Net's boxes at one pyramid level: rows x1, y1, x2, y2, score, 4 regressions."""
        size = (int(area.height * scale + 1), int(area.width * scale + 1))
        out = self._p_net(_normalized(area.whole(size)[None]))[0]
        # softmax(a)[1] = sigmoid(a1 - a0), so the threshold applies to the difference
        logit = out[1] - out[0]
        ys, xs = np.nonzero(logit >= np.log(THRESHOLDS[0] / (1 - THRESHOLDS[0])))
        if not len(ys):
            return np.empty((0, 9), np.float32)
        corner = np.stack([xs, ys], axis=1)
        low = np.floor((P_NET_STRIDE * corner + 1) / scale)
        high = np.floor((P_NET_STRIDE * corner + P_NET_CELL) / scale)
        score = 1 / (1 + np.exp(-logit[ys, xs]))
        boxes = np.concatenate([low, high, score[:, None], out[2:, ys, xs].T], axis=1)
        boxes = boxes.astype(np.float32)
        return boxes[nms(boxes, 0.5)]


class Search:
    """The search for faces in one image.

    `largest` and `all` share the integral image, the proposals and the networks' answers, so
    asking for all faces after the largest costs only what the first search left out.
    """

    def __init__(self, detector: Detector, image: Array) -> None:
        """Prepare the search of an H x W x 3 uint8 RGB image; the networks run later."""
        self._detector, self._image = detector, image
        self._searched = _searched(image)
        self._area = AreaAverages(self._searched)
        self._scales = pyramid(*self._searched.shape[:2])
        self._levels: dict[int, Array] = {}
        self._r_net, self._o_net = detector.memos(self._area)
        self._found: list[Face] | None = None  # all faces, once every level has been searched

    def largest(self) -> list[Face]:
        """The largest face, as a list of at most one face.

        Levels finer than the one where the search stops are skipped. Occasionally such a level has
        a better box for the same face, or a surer face inside a false one, and the first face of
        `all` differs: in 3 of 1,000 mosaics of overlapping photos, and in no sample photo.
        """
        candidates, found = np.empty((0, 9), np.float32), list[Face]()
        for level in reversed(range(len(self._scales))):  # the last level has the largest faces
            new = self._proposals(level)
            # in the order that `all` uses, since scores may tie
            candidates = np.concatenate([new, candidates])
            finer = P_NET_CELL / self._scales[level - 1] if level else 0.0
            if level and not _has_side(candidates, SURE_SIDE * finer):
                continue
            if len(new) or not level:
                found = _confirm(self._r_net, self._o_net, candidates)
            best = _reported(found)[:1]
            if level and best and _is_sure(best[0], SURE_SIDE * finer, self._searched):
                break
        else:
            self._found = found  # every level has been searched
        return self._in_image(_reported(found)[:1])

    def all(self) -> list[Face]:
        """All faces, largest first. After `largest`, only the levels that it skipped cost time."""
        if self._found is None:
            levels = [self._proposals(level) for level in range(len(self._scales))]
            candidates = np.concatenate([np.empty((0, 9), np.float32), *levels])
            self._found = _confirm(self._r_net, self._o_net, candidates)
        return self._in_image(_reported(self._found))

    def _proposals(self, level: int) -> Array:
        if level not in self._levels:
            self._levels[level] = self._detector.propose(self._area, self._scales[level])
        return self._levels[level]

    def _in_image(self, faces: list[Face]) -> list[Face]:
        """Convert faces from the searched copy to pixels of the image."""
        if self._searched is self._image:
            return faces
        height, width = self._image.shape[:2]
        x, y = width / self._searched.shape[1], height / self._searched.shape[0]
        return [
            Face(
                (face.box[0] * x, face.box[1] * y, face.box[2] * x, face.box[3] * y),
                face.probability,
                face.landmarks * np.array([x, y], np.float32),
            )
            for face in faces
        ]


class Memo:
    """Remembers a network's outputs for the boxes of one image, so that each box runs only once.

    The search for the largest face repeats most boxes at every finer level.
    """

    def __init__(self, net: Network, area: AreaAverages, side: int) -> None:
        """`net` takes crops of `side` x `side` px."""
        self.area = area
        self._net, self._side = net, side
        self._answers: dict[bytes, Array] = {}

    def __call__(self, boxes: Array) -> Array:
        """The network's outputs for each box (rows x1, y1, x2, y2, ...): n x all."""
        keys = [row.tobytes() for row in np.ascontiguousarray(boxes[:, :4])]
        new = [i for i, key in enumerate(keys) if key not in self._answers]
        for start in range(0, len(new), BOXES_AT_ONCE):
            some = new[start : start + BOXES_AT_ONCE]
            rows = self._net(_normalized(self.area.crops(boxes[some], self._side)))
            self._answers.update(zip([keys[i] for i in some], rows, strict=True))
        return np.stack([self._answers[key] for key in keys])


def _confirm(r_net: Memo, o_net: Memo, candidates: Array) -> list[Face]:
    """The faces that R-Net and O-Net confirm among P-Net's boxes."""
    if not len(candidates):
        return []
    c = candidates[nms(candidates, 0.7)]
    size = np.stack([c[:, 2] - c[:, 0], c[:, 3] - c[:, 1]] * 2, axis=1)
    boxes = squared(np.concatenate([c[:, :4] + c[:, 5:9] * size, c[:, 4:5]], axis=1))

    boxes = r_net.area.within(boxes)
    if not len(boxes):
        return []
    answers = r_net(boxes)  # 4 of regression, 2 of probability
    keep = answers[:, 5] > THRESHOLDS[1]
    boxes = np.concatenate([boxes[keep, :4], answers[keep, 5:]], axis=1)
    picked = nms(boxes, 0.7)
    boxes = squared(refined(boxes[picked], answers[keep][picked, :4]))

    boxes = o_net.area.within(boxes)
    if not len(boxes):
        return []
    answers = o_net(boxes)  # 4 of regression, 10 of landmarks, 2 of probability
    keep = answers[:, 15] > THRESHOLDS[2]
    boxes = np.concatenate([boxes[keep, :4], answers[keep, 15:]], axis=1)
    points = answers[keep, 4:14].reshape(-1, 2, 5)
    sides = (boxes[:, 2:4] - boxes[:, 0:2] + 1)[:, :, None]
    points = points * sides + boxes[:, 0:2, None] - 1
    boxes = refined(boxes, answers[keep, :4])
    picked = nms(boxes, 0.7, by_smaller=True)
    return [
        Face((float(b[0]), float(b[1]), float(b[2]), float(b[3])), float(b[4]), p.T)
        for b, p in zip(boxes[picked], points[picked], strict=True)
    ]


def _searched(image: Array) -> Array:
    """The image, or a copy with at most MAX_SEARCHED_PIXELS."""
    height, width = image.shape[:2]
    factor = (MAX_SEARCHED_PIXELS / (height * width)) ** 0.5
    if factor >= 1:
        return image
    wide, high = max(1, int(width * factor)), max(1, int(height * factor))
    searched = np.empty((high, wide, 3), np.uint8)
    for start in range(0, high, ROWS_AT_ONCE):  # Pillow's copy of a large image is larger still
        end = min(high, start + ROWS_AT_ONCE)
        top, bottom = start * height / high, end * height / high
        first = int(top)
        strip = Image.fromarray(image[first : math.ceil(bottom)])
        box = (0, top - first, width, bottom - first)
        resized = strip.resize((wide, end - start), Image.Resampling.BOX, box)
        searched[start:end] = np.asarray(resized)
    return searched


def pyramid(height: int, width: int) -> list[float]:
    """The scales at which P-Net searches an image; the first finds the smallest faces."""
    scale = P_NET_CELL / MIN_FACE_PX
    scales = []
    while min(height, width) * scale >= P_NET_CELL:
        scales.append(scale)
        scale *= PYRAMID_FACTOR
    return scales


def _normalized(pixels: Array) -> Array:
    """Convert n x h x w x 3 float32 pixels to network input: n x 3 x h x w, contiguous."""
    n, height, width, channels = pixels.shape
    planes = np.empty((n, channels, height, width), np.float32)
    np.subtract(pixels.transpose(0, 3, 1, 2), np.float32(127.5), out=planes)
    planes *= np.float32(1 / 128)
    return planes


def _reported(faces: list[Face]) -> list[Face]:
    """The faces that are probable enough to report, largest first."""
    kept = [face for face in faces if face.probability >= MIN_PROBABILITY]
    return sorted(kept, key=lambda face: -face.area)


def _has_side(candidates: Array, side: float) -> bool:
    return bool(len(candidates)) and float((candidates[:, 2] - candidates[:, 0]).max()) >= side / 2


def _is_sure(face: Face, side: float, image: Array) -> bool:
    """Whether the face is sure and its visible part, which is all P-Net sees, has this side."""
    (x1, y1, x2, y2), (height, width) = face.box, image.shape[:2]
    shown = min(min(x2, width) - max(x1, 0), min(y2, height) - max(y1, 0))
    return face.probability >= SURE_PROBABILITY and shown >= side
