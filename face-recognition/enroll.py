#!/usr/bin/env python3
"""Make a gallery from photos of people, and report how well they can be told apart."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import embed
import gallery
import numpy as np
from detect import Detector
from engine import EngineError
from gallery import NO_FACE, THRESHOLDS, UNKNOWN, Array
from images import HEIC, UnreadableImage, read_rgb
from models import DEFAULT_DIR, MODELS, ModelError
from recognition import networks

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"}
HEIC_SUFFIXES = {".heic", ".heif"}


class EnrollError(RuntimeError):
    """Nobody can be enrolled; the message says why."""


@dataclass(frozen=True)
class Photo:
    """A photo of a person."""

    person: str
    path: Path


@dataclass(frozen=True)
class Found:
    """The people and photos found in a folder, and why any other file was refused."""

    people: list[str]
    photos: list[Photo]
    refused: list[str]


def find_photos(folder: Path) -> Found:
    """Find people below `folder`, in a stable order: one folder or one photo per person.

    Hidden files and folders are skipped. Raises EnrollError for a person's name that is reserved
    for another answer, or that cannot be encoded.
    """
    found = Found([], [], [])
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        is_person = entry.is_dir() or entry.suffix.lower() in SUFFIXES | HEIC_SUFFIXES
        person = entry.name if entry.is_dir() else entry.stem
        if is_person:
            _check_name(entry, person)
            found.people.append(person)
        for path in sorted(entry.rglob("*")) if entry.is_dir() else [entry]:
            hidden = any(part.startswith(".") for part in path.relative_to(entry).parts)
            if hidden or path.is_dir():
                continue
            if path.suffix.lower() in SUFFIXES:
                found.photos.append(Photo(person, path))
            else:
                found.refused.append(f"{path}: {_why_not_a_photo(path)}")
    return found


def _check_name(entry: Path, person: str) -> None:
    if person in (UNKNOWN, NO_FACE):
        raise EnrollError(f"{entry}: {person!r} is reserved for another answer: rename it.")
    if not gallery.is_utf8(person):
        raise EnrollError(f"{os.fsencode(entry)!r}: the name is not UTF-8: rename it.")


def _why_not_a_photo(path: Path) -> str:
    if path.suffix.lower() in HEIC_SUFFIXES:
        return HEIC
    return f"it is not a photo of a known type ({', '.join(sorted(SUFFIXES))})"


@dataclass(frozen=True)
class Enrolled:
    """The photos used with their embeddings, the reasons for refusals, and the people left out.

    `missing` has the people without a usable photo.
    """

    embeddings: list[Array]
    photos: list[Photo]
    refused: list[str]
    missing: list[str]


def enroll(folder: Path, model: str, models_dir: Path, image_size: int) -> Enrolled:
    """Embed every photo that shows exactly one face.

    Raises EnrollError if there is no such photo, EngineError if a network is missing.
    """
    found = find_photos(folder)
    if not found.photos:
        what = f"{folder} has no photos: it must contain one folder or one photo per person."
        raise EnrollError("\n".join([what, *found.refused]))
    load = networks(models_dir)
    detector, embedder = Detector(load), embed.load(model, load, image_size)
    done = Enrolled([], [], found.refused, [])
    for photo in _counted(found.photos):
        try:
            image = read_rgb(photo.path.read_bytes())
        except (UnreadableImage, OSError) as error:
            done.refused.append(f"{photo.path}: {error}")
            continue
        faces = detector.all(image)
        if len(faces) != 1:
            done.refused.append(f"{photo.path}: {len(faces) or 'no'} faces, exactly one is needed")
            continue
        done.embeddings.append(embedder.embed(image, faces)[0])
        done.photos.append(photo)
    if not done.photos:
        raise EnrollError("No photo shows exactly one face:\n" + "\n".join(done.refused))
    used = {photo.person for photo in done.photos}
    done.missing.extend(person for person in dict.fromkeys(found.people) if person not in used)
    return done


def _counted(photos: list[Photo]) -> Iterator[Photo]:
    """The photos, with a counter on the terminal: each takes at least a tenth of a second."""
    for number, photo in enumerate(photos, 1):
        if sys.stderr.isatty():
            end = "\n" if number == len(photos) else ""
            print(f"\rphoto {number} of {len(photos)}", end=end, file=sys.stderr, flush=True)
        yield photo


def describe(done: Enrolled, model: str) -> list[str]:
    """Lines of text that say how well the people can be told apart."""
    names = [photo.person for photo in done.photos]
    matrix = np.stack(done.embeddings)
    distances = gallery.distance(model, matrix @ matrix.T)
    closest: tuple[float, str] | None = None
    furthest: tuple[float, str] | None = None
    for i in range(len(names)):
        for j in range(i):
            between = float(distances[i, j])
            pair = " and ".join(_shown(done.photos[k].path) for k in (j, i))
            if names[i] != names[j] and (closest is None or between < closest[0]):
                closest = between, f"{names[j]} and {names[i]}"
            if names[i] == names[j] and (furthest is None or between > furthest[0]):
                furthest = between, f"{names[i]}: {pair}"
    people, photos = _several(len(set(names)), "person", "people"), _several(len(names), "photo")
    lines = [f"{people}, {photos} used, {len(done.refused)} refused"]
    if closest:
        lines.append(f"closest two people: {closest[0]:.3f} ({closest[1]})")
    if furthest:
        lines.append(f"furthest within one person: {furthest[0]:.3f} ({furthest[1]})")
    threshold = THRESHOLDS[model]
    # Halfway between matches and non-matches, but never laxer than the model's threshold.
    if closest and furthest and furthest[0] < closest[0]:
        threshold = min(threshold, (closest[0] + furthest[0]) / 2)
    elif closest and closest[0] <= threshold:
        lines.append(f"WARNING: {closest[1]} are closer than the model's threshold {threshold:.3f}")
    lines.append(
        f"suggested threshold: {threshold:.3f} (the model's default is {THRESHOLDS[model]:.3f})"
    )
    return lines


def _several(number: int, one: str, more: str = "") -> str:
    return f"{number} {one if number == 1 else more or one + 's'}"


def _shown(path: Path) -> str:
    """A photo's name for the terminal, with undecodable bytes escaped."""
    return path.name.encode(errors="backslashreplace").decode()


def check_output(output: Path) -> None:
    """Raise EnrollError if a gallery cannot be written, before all the work is done."""
    if output.is_dir():
        raise EnrollError(
            f"{output} is a folder: use a file, such as --output {output / 'data.pt'}."
        )
    if not output.parent.is_dir():
        raise EnrollError(f"{output.parent} is not a folder: create it or choose another --output.")
    if not os.access(output.parent, os.W_OK):
        raise EnrollError(f"{output.parent} is not writable: choose another --output.")


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(
        description="Make a gallery from photos: "
        "python face-recognition/enroll.py people --output data.pt"
    )
    parser.add_argument(
        "people", type=Path, help="a folder with one folder or one photo per person"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("data.pt"),
        help="the gallery to write; default: data.pt",
    )
    parser.add_argument(
        "--model",
        choices=list(MODELS),
        default="facenet-vggface2",
        help="default: facenet-vggface2",
    )
    parser.add_argument(
        "--models-dir",
        type=Path,
        default=DEFAULT_DIR,
        help="the folder with the networks from export.py; default: models/ next to this script",
    )
    parser.add_argument(
        "--image-size", type=int, default=240, help="px, for facenet only; default: 240"
    )
    options = parser.parse_args(argv)
    if not options.people.is_dir():
        parser.error(f"{options.people} is not a folder")
    try:
        check_output(options.output)
        done = enroll(options.people, options.model, options.models_dir, options.image_size)
        names = [photo.person for photo in done.photos]
        gallery.save(options.output, done.embeddings, names, options.model, options.image_size)
    except (EngineError, EnrollError, ModelError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    for reason in done.refused:
        print(f"refused: {reason}", file=sys.stderr)
    print("\n".join(describe(done, options.model)))
    print(f"wrote {options.output}")
    if done.missing:
        people = _several(len(done.missing), "person has", "people have")
        missing = ", ".join(done.missing)
        print(f"WARNING: not enrolled: {people} no usable photo: {missing}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
