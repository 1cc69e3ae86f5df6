#!/usr/bin/env python3
"""Measure a gallery's threshold with strangers: python3 bench/strangers.py data.pt

Each person in turn is left out of the gallery and plays the stranger. The benchmark counts the
photos of strangers that are taken for somebody, with the model's own threshold and with the one
that fits the rest of the gallery, and the photos that would still get their own person's name.
Without a gallery, it enrolls the faces in the sample photos, which show nine people.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "face-recognition"), str(ROOT)]

import embed
import gallery
import numpy as np
import recognition
from detect import Detector
from gallery import THRESHOLDS, Array
from images import read_rgb
from review import SAME_PICTURE
from thresholds import suggest

from samples.packages import fetch_photos
from samples.stack import networks

PORTRAITS = {"Obama": ("obama.jpg", "obama2.jpg", "obama3.jpg"), "Biden": ("biden.jpg",)}
GROUPS = ("astronaut.png", "t1.jpg")  # every face is another person


def sample_people() -> tuple[str, Array, list[str]]:
    """The model, the embeddings and the names of the people in the sample photos."""
    folder = fetch_photos(ROOT / "build" / "samples" / "photos")
    load = recognition.networks(networks("sface"))
    detector, embedder = Detector(load), embed.load("sface", load, 112)
    rows, names = list[Array](), list[str]()
    photos = {photo: name for name, photos in PORTRAITS.items() for photo in photos}
    for photo in (*photos, *GROUPS):
        image = read_rgb((folder / photo).read_bytes())
        faces = detector.all(image)
        rows += list(embedder.embed(image, faces))
        names += [photos.get(photo, f"{photo} {number}") for number in range(len(faces))]
    return "sface", np.stack(rows), names


def main() -> None:
    """Print how many strangers and how many known people are accepted at each threshold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gallery", type=Path, nargs="?", help="default: the sample photos")
    path = parser.parse_args().gallery
    if path is None:
        model, rows, names = sample_people()
    else:
        loaded = gallery.load(path, None)
        model, rows, names = loaded.model, loaded.embeddings, list(loaded.names)
    who, strangers = np.array(names), {"the model's": 0, "the gallery's": 0}
    for name in sorted(set(names)):
        known = who != name
        apart = gallery.distance(model, rows[~known] @ rows[known].T).min(axis=1)
        fitting = suggest(model, rows[known], list(who[known])).threshold
        strangers["the model's"] += int((apart <= THRESHOLDS[model]).sum())
        strangers["the gallery's"] += int((apart <= fitting).sum())
    found = suggest(model, rows, names)
    apart = gallery.distance(model, rows @ rows.T)
    own = np.where((who[:, None] == who) & (apart > SAME_PICTURE), apart, np.inf).min(axis=1)
    own = own[np.isfinite(own)]
    print(f"{len(set(names))} people, {len(names)} photos, model {model}")
    print(found.line(model))
    print(f"{'threshold':16} {'strangers taken for somebody':>30} {'own photos accepted':>22}")
    for which, limit in (
        ("the model's", THRESHOLDS[model]),
        ("the gallery's", found.threshold),
    ):
        taken = f"{strangers[which]} of {len(names)}"
        print(f"{which:16} {taken:>30} {f'{int((own <= limit).sum())} of {len(own)}':>22}")


if __name__ == "__main__":
    main()
