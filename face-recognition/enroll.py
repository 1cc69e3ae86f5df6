#!/usr/bin/env python3
"""Enrol people: photos to a gallery, and how well its people can be told apart."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import embed
import gallery
import numpy as np
from detect import Detector
from gallery import NO_FACE, THRESHOLDS, UNKNOWN, Array
from images import UnreadableImage, read_rgb
from models import DEFAULT_DIR, MODELS, ModelError, model_path

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}


class EnrolError(RuntimeError):
    """Nobody can be enrolled from the folder; the message says why."""


@dataclass(frozen=True)
class Photo:
    """A photo of a person."""

    person: str
    path: Path


def find_photos(folder: Path) -> Iterator[Photo]:
    """The photos below `folder`, in a stable order: a folder a person, or a file a person.

    Raises EnrolError for a person whose name is one that answers have for something else.
    """
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        person = entry.name if entry.is_dir() else entry.stem
        if person in (UNKNOWN, NO_FACE):
            raise EnrolError(f"{entry}: nobody can be called {person!r}, an answer of its own.")
        paths = sorted(entry.rglob("*")) if entry.is_dir() else [entry]
        for path in paths:
            if path.is_file() and path.suffix.lower() in SUFFIXES:
                yield Photo(person, path)


@dataclass(frozen=True)
class Enrolled:
    """What enrolling came to: an embedding and a name a photo used, a reason a photo refused."""

    embeddings: list[Array]
    photos: list[Photo]
    refused: list[str]


def enrol(folder: Path, model: str, models_dir: Path, image_size: int) -> Enrolled:
    """Embed every photo that shows exactly one face.

    Raises EnrolError when there is no such photo, ModelError when there is no model file.
    """
    photos = list(find_photos(folder))
    if not photos:
        raise EnrolError(f"{folder} has no photos: it must hold a folder a person, or a photo.")
    detector = Detector()
    embedder = embed.load(model, model_path(model, models_dir), image_size)
    done = Enrolled([], [], [])
    for photo in _counted(photos):
        try:
            image = read_rgb(photo.path.read_bytes())
        except (UnreadableImage, OSError) as error:
            done.refused.append(f"{photo.path}: {error}")
            continue
        faces = detector.all(image)
        if len(faces) != 1:
            done.refused.append(f"{photo.path}: {len(faces) or 'no'} faces, one is needed")
            continue
        done.embeddings.append(embedder.embed(image, faces)[0])
        done.photos.append(photo)
    if not done.photos:
        raise EnrolError("No photo shows exactly one face:\n" + "\n".join(done.refused))
    return done


def _counted(photos: list[Photo]) -> Iterator[Photo]:
    """The photos, counted on the terminal as they come: each takes a tenth of a second or more."""
    for number, photo in enumerate(photos, 1):
        if sys.stderr.isatty():
            end = "\n" if number == len(photos) else ""
            print(f"\rphoto {number} of {len(photos)}", end=end, file=sys.stderr, flush=True)
        yield photo


def describe(done: Enrolled, model: str) -> list[str]:
    """How well the people can be told apart, in lines of text."""
    names = [photo.person for photo in done.photos]
    matrix = np.stack(done.embeddings)
    distances = gallery.distance(model, matrix @ matrix.T)
    closest: tuple[float, str] | None = None
    furthest: tuple[float, str] | None = None
    for i in range(len(names)):
        for j in range(i):
            between = float(distances[i, j])
            pair = f"{done.photos[j].path.name} and {done.photos[i].path.name}"
            if names[i] != names[j] and (closest is None or between < closest[0]):
                closest = between, f"{names[j]} and {names[i]}"
            if names[i] == names[j] and (furthest is None or between > furthest[0]):
                furthest = between, f"{names[i]}: {pair}"
    lines = [f"{len(set(names))} people, {len(names)} photos used, {len(done.refused)} refused"]
    if closest:
        lines.append(f"closest two people: {closest[0]:.3f} ({closest[1]})")
    if furthest:
        lines.append(f"furthest within a person: {furthest[0]:.3f} ({furthest[1]})")
    threshold = THRESHOLDS[model]
    # Half way between what belongs together and what does not, but never laxer than the model's.
    if closest and furthest and furthest[0] < closest[0]:
        threshold = min(threshold, (closest[0] + furthest[0]) / 2)
    elif closest and closest[0] <= threshold:
        lines.append(f"WARNING: {closest[1]} are nearer than the model's threshold {threshold:.3f}")
    lines.append(f"suggested threshold: {threshold:.3f} (the model's is {THRESHOLDS[model]:.3f})")
    return lines


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description="Make a gallery from photos: "
        "python face-recognition/enroll.py people --output data.pt"
    )
    parser.add_argument("people", type=Path, help="a folder a person, or a photo a person")
    parser.add_argument("--output", type=Path, default=Path("data.pt"), help="default: data.pt")
    parser.add_argument("--model", choices=list(MODELS), default="facenet-vggface2")
    parser.add_argument("--models-dir", type=Path, default=DEFAULT_DIR)
    parser.add_argument("--image-size", type=int, default=240, help="px, facenet only; default 240")
    options = parser.parse_args(argv)
    if not options.people.is_dir():
        parser.error(f"{options.people} is no folder")
    try:
        done = enrol(options.people, options.model, options.models_dir, options.image_size)
    except (EnrolError, ModelError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    for reason in done.refused:
        print(f"refused: {reason}", file=sys.stderr)
    names = [photo.person for photo in done.photos]
    gallery.save(options.output, done.embeddings, names, options.model, options.image_size)
    print("\n".join(describe(done, options.model)))
    print(f"wrote {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
