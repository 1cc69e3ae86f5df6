#!/usr/bin/env python3
"""Measure how many strangers several frames name, compared with one: python3 bench/second_look.py

Every face in the sample photos plays the stranger against a gallery of the other people. A video of
a stranger is five pictures of one face, moved, turned, scaled, blurred and noised a little. The
thresholds are chosen so that one frame names 5, 10 and 20 % of the strangers, which is far more
than a fitted threshold allows: the rules are compared where they matter. `any` is the rule that
gives a name as soon as one frame has it.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / part) for part in ("video-splitting", "face-recognition", "")]

import agreement
import embed
import gallery
import numpy as np
import recognition
from detect import Detector
from gallery import UNKNOWN, Array
from images import read_rgb
from PIL import Image, ImageFilter

from bench.command import parser
from samples.packages import fetch_photos
from samples.stack import networks

PHOTOS = ("astronaut.png", "t1.jpg", "obama.jpg", "obama2.jpg", "obama3.jpg", "biden.jpg")
FRAMES = 5
VIDEOS_PER_FACE = 24


def jittered(face: Image.Image, random: np.random.Generator) -> Image.Image:
    """The picture of a face a moment later."""
    width, height = face.size
    turned = face.rotate(random.uniform(-8, 8), Image.Resampling.BILINEAR)
    side = random.uniform(0.86, 1.0)
    left, top = random.uniform(0, 1 - side) * width, random.uniform(0, 1 - side) * height
    box = (int(left), int(top), int(left + side * width), int(top + side * height))
    small = turned.crop(box).filter(ImageFilter.GaussianBlur(random.uniform(0, 1.6)))
    pixels = np.asarray(small, np.float32) * random.uniform(0.75, 1.2)
    noisy = pixels + random.normal(0, random.uniform(0, 10), pixels.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def strangers() -> list[tuple[Array, Array]]:
    """For each face: its own embedding, and those of its videos (VIDEOS_PER_FACE x FRAMES x D)."""
    folder = fetch_photos(ROOT / "build" / "samples" / "photos")
    load = recognition.networks(networks("sface"))
    detector, embedder = Detector(load), embed.load("sface", load, 112)
    random, found = np.random.default_rng(0), []
    for name in PHOTOS:
        image = read_rgb((folder / name).read_bytes())
        for face in detector.all(image):
            x1, y1, x2, y2 = (int(edge) for edge in face.box)
            margin = (x2 - x1) // 2
            picture = Image.fromarray(image).crop(
                (x1 - margin, y1 - margin, x2 + margin, y2 + margin)
            )
            rows: list[Array] = []
            while len(rows) < VIDEOS_PER_FACE * FRAMES:
                later = np.asarray(jittered(picture, random))
                rows += list(embedder.embed(later, detector.largest(later)))
            videos = np.stack(rows).reshape(VIDEOS_PER_FACE, FRAMES, -1)
            found.append((embedder.embed(image, [face])[0], videos))
    return found


def distances() -> Array:
    """The nearest other person of every frame: videos x FRAMES x (distance, index)."""
    people = strangers()
    known = np.stack([own for own, _ in people])
    rows = []
    for own, videos in people:
        others = known[gallery.distance("sface", known @ own) > 0.5]  # the same person is left out
        nearest = gallery.distance("sface", videos @ others.T)
        rows.append(np.stack([nearest.min(axis=2), nearest.argmin(axis=2)], axis=2))
    return np.concatenate(rows)


def main() -> None:
    """Print a row per threshold."""
    parser(__doc__).parse_args()
    found = distances()
    print(f"{len(found)} videos of strangers, {FRAMES} frames each; named by")
    print("threshold  one frame  any of five  the rule  the first frame, then the rule")
    for share in (0.05, 0.10, 0.20):
        threshold = float(np.quantile(found[:, 0, 0], share))
        named = np.zeros(4, int)
        for video in found:
            looks = [
                agreement.Look(
                    index,
                    [{"name": str(int(who)) if near <= threshold else UNKNOWN, "distance": near}],
                )
                for index, (near, who) in enumerate(video)
            ]
            first = video[0, 0] <= threshold
            ruled = agreement.agree(looks, threshold).name != agreement.UNKNOWN
            named += [first, (video[:, 0] <= threshold).any(), ruled, first or ruled]
        one, any_of, rule, auto = (f"{100 * count / len(found):.1f} %" for count in named)
        print(f"{threshold:9.3f}  {one:>9}  {any_of:>11}  {rule:>8}  {auto:>8}")


if __name__ == "__main__":
    main()
