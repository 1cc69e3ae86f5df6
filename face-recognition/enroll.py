#!/usr/bin/env python3
"""Make a gallery from photos of people, change one, and report how well they are told apart."""

from __future__ import annotations

import argparse
import json
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

try:
    import embed
    import export
    import models
    import people
    import recognition
    from added_stranger import read_stranger
    from command_line import run
    from detect import Detector
    from dominant import choose, counted, shown
    from engine import EngineError
    from enroll_options import DEFAULT_IMAGE_SIZE, DEFAULT_MODEL, check_use, parser
    from gallery import Array
    from images import UnreadableImage, read_rgb
    from people import People
    from person_name import printable, printable_lines
    from photos import EnrollError, Found, Photo, find_photos
    from quality import complaints
except ImportError as error:
    if __name__ != "__main__":
        raise
    raise SystemExit(
        f"{error}. enroll.py needs what `make demo` installs: .venv/bin/python {sys.argv[0]} ..."
    ) from error


@dataclass(frozen=True)
class Enrolled:
    """The photos used with their embeddings, the reasons for refusals, and the people left out.

    `notes` say what was ignored in a photo, `warnings` what is poor about one, and `missing` has
    the people without a usable photo.
    """

    embeddings: list[Array] = field(default_factory=list)
    photos: list[Photo] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def enroll(
    folder: Path, model: str, models_dir: Path | None, image_size: int, strict: bool = False
) -> Enrolled:
    """Find and embed the photos in `folder`; see `embed_photos`.

    `models_dir` None looks where export.py and `make demo` put networks. Raises EnrollError if no
    photo can be used, EngineError, ExportError or ModelError if a network is missing.
    """
    return embed_photos(
        find_photos(folder), model, _networks(model, models_dir), image_size, strict
    )


def embed_photos(
    found: Found, model: str, networks: Path, image_size: int, strict: bool
) -> Enrolled:
    """Embed the dominant face of every photo, or with `strict` the only one.

    `networks`: the folder that export.py filled. Raises EnrollError if no photo has such a face,
    EngineError if a network is missing.
    """
    load = recognition.networks(networks)
    detector, embedder = Detector(load), embed.load(model, load, image_size)
    done = Enrolled(refused=list(found.refused), warnings=list(found.warnings))
    for photo in _counted(found.photos):
        try:
            image = read_rgb(photo.path.read_bytes())
        except (UnreadableImage, OSError) as error:
            done.refused.append(f"{photo.path}: {error}")
            continue
        faces = detector.all(image)
        choice = choose(faces, strict)
        if choice.face is None:
            needed = "exactly one is needed" if strict or not faces else "none stands out"
            done.refused.append(f"{photo.path}: {counted(faces)}: {needed}")
            continue
        if choice.others:
            ignored = f"enrolled the face at {shown(choice.face)}, ignored {counted(choice.others)}"
            done.notes.append(f"{photo.path}: {ignored}")
        poor = complaints(image, choice.face)
        if poor:
            done.warnings.append(f"{photo.path}: the face is {'; '.join(poor)}")
        done.embeddings.append(embedder.embed(image, [choice.face])[0])
        done.photos.append(photo)
    if not done.photos:
        what = "exactly one face" if strict else "one dominant face"
        raise EnrollError(f"No photo shows {what}:\n" + "\n".join(done.refused))
    used = {photo.person for photo in done.photos}
    done.missing.extend(person for person in found.people if person not in used)
    return done


def _networks(model: str, folder: Path | None) -> Path:
    if folder is not None:
        return folder
    if recognition.engine_name() == "torch":
        return models.installed_path(model).parent
    return export.installed(model)


def _counted(photos: list[Photo]) -> Iterator[Photo]:
    """The photos, with a counter on the terminal: each takes at least a tenth of a second."""
    for number, photo in enumerate(photos, 1):
        if sys.stderr.isatty():
            end = "\n" if number == len(photos) else ""
            print(f"\rphoto {number} of {len(photos)}", end=end, file=sys.stderr, flush=True)
        yield photo


def several(number: int, one: str, more: str = "") -> str:
    """A number with the right form of its noun."""
    return f"{number} {one if number == 1 else more or one + 's'}"


def check_output(output: Path) -> None:
    """Raise EnrollError if a gallery cannot be written, before all the work is done."""
    if output.is_dir():
        raise EnrollError(
            f"{output} is a folder: use a file, such as --output {output / 'data.pt'}."
        )
    if output.exists() and not output.is_file():
        raise EnrollError(f"{output} is not a regular file: choose another --output.")
    if not output.parent.is_dir():
        raise EnrollError(f"{output.parent} is not a folder: create it or choose another --output.")
    if not os.access(output.parent, os.W_OK):
        raise EnrollError(f"{output.parent} is not writable: choose another --output.")


def _made(options: argparse.Namespace) -> tuple[People, Enrolled]:
    """A new gallery of the photos in `options.people`."""
    found = find_photos(options.people)
    check_output(options.output)
    model = options.model or DEFAULT_MODEL
    networks = _networks(model, options.models_dir)
    size = options.image_size or DEFAULT_IMAGE_SIZE
    done = embed_photos(found, model, networks, size, options.strict)
    return People(model, size).with_photos(done.photos, done.embeddings), done


def _changed(options: argparse.Namespace) -> tuple[People, Enrolled]:
    """The gallery in `options.output` after removals, then mergers, then additions."""
    exists = options.output.exists()
    if not exists and not options.merge:
        raise EnrollError(f"There is no gallery {options.output}: pass one with --output.")
    for file in [*([options.output] if exists else []), *options.merge]:
        if not stat.S_ISREG(file.stat().st_mode):
            raise EnrollError(f"{file} is not a gallery: it is not a regular file.")
    found = [find_photos(folder) for folder in options.add]
    if options.remove or options.merge or options.add or options.add_stranger:
        check_output(options.output)
    galleries = [people.read(file) for file in options.merge]
    now = people.read(options.output) if exists else galleries.pop(0)
    _check_same_embedding(options, now)
    for name in options.remove:
        now = now.without(name)
    for other in galleries:
        now = now.with_people_of(other)
    if options.add_stranger:
        report, number = options.add_stranger
        stranger = read_stranger(Path(report), number)
        now = now.with_stranger(options.name, stranger)
    total = Enrolled()
    for added in found:
        networks = _networks(now.model, options.models_dir)
        done = embed_photos(added, now.model, networks, now.image_size, options.strict)
        now = now.with_photos(done.photos, done.embeddings)
        for mine, more in zip(vars(total).values(), vars(done).values(), strict=True):
            mine.extend(more)
    return now, total


def _check_same_embedding(options: argparse.Namespace, now: People) -> None:
    """Raise EnrollError for --model or --image-size that differ from the gallery's."""
    for option, asked, has in (
        ("--model", options.model, now.model),
        ("--image-size", options.image_size, now.image_size),
    ):
        if asked is not None and asked != has:
            raise EnrollError(
                f"{options.output} was made with {option} {has}: leave {option} {asked} out, or "
                "enroll all photos again."
            )


def _note(text: str) -> None:
    print(printable_lines(text), file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    command = parser()
    options = command.parse_args(argv)
    check_use(options, command)
    try:
        now, done = _changed(options) if options.people is None else _made(options)
        is_writing = not options.dry_run and not options.is_list_only
        if is_writing:
            now.save(options.output)
    except (EngineError, EnrollError, export.ExportError, models.ModelError, OSError) as error:
        _note(f"Error: {error}")
        return 1
    if options.json:
        print(json.dumps(now.as_json(), indent=2))
        return 0
    review = now.review(now.written if options.is_list_only else None)
    for reason in done.refused:
        _note(f"refused: {reason}")
    for note in [*done.notes, *now.notes]:
        _note(f"note: {note}")
    for warning in [*done.warnings, *review.warnings]:
        _note(f"WARNING: {warning}")
    if options.list:
        print(printable_lines("\n".join(now.listing())))
    if done.photos:
        print(f"{several(len(done.photos), 'photo')} used, {len(done.refused)} refused")
    lines = [now.size(), *review.lines, now.threshold_line(options.is_list_only)]
    print(printable_lines("\n".join(lines)))
    if not options.is_list_only:
        print(printable(f"{'wrote' if is_writing else 'Would write'} {options.output}"))
    if done.missing:
        who = several(len(done.missing), "person has", "people have")
        missing = ", ".join(done.missing)
        _note(f"WARNING: not enrolled: {who} no usable photo: {missing}")
    return 0


if __name__ == "__main__":
    run(main)
