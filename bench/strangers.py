#!/usr/bin/env python3
"""Measure a gallery's threshold with strangers: python3 bench/strangers.py data.pt

Each person in turn is left out of the gallery and plays the stranger. The benchmark counts the
photos of strangers that are taken for somebody, with the model's own threshold and with the one
that fits the rest of the gallery, and the photos that would still get their own person's name.
Without a gallery, it enrolls the faces in the sample photos, which show nine people, and groups the
strangers of the sample videos by likeness, as the report does, from 1 to 25 frames of each.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
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
from unknown_faces import is_stranger

from bench.command import parser
from samples.clips import ffmpeg_from, make_people, make_videos
from samples.packages import fetch_photos
from samples.stack import enroll, networks
from workload.reporting.likeness import distances, groups

PORTRAITS = {"Obama": ("obama.jpg", "obama2.jpg", "obama3.jpg"), "Biden": ("biden.jpg",)}
GROUPS = ("astronaut.png", "t1.jpg")  # every face is another person
# The sample videos of one stranger each. The one of the third also shows them beside Joe Biden.
ONE_EACH = tuple(f"test_{number:02}.mp4" for number in range(4, 10))
BESIDE_BIDEN = {"test_11.mp4": ONE_EACH[2]}
FRAMES = (1, 2, 3, 5, 10, 25)


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


def unknown_faces() -> list[tuple[str, int, Array]]:
    """The video, frame and embedding of each unknown face in every other frame of the videos."""
    photos = fetch_photos(ROOT / "build" / "samples" / "photos")
    ffmpeg = ffmpeg_from(ROOT / "build")
    videos = make_videos(photos, ROOT / "build" / "samples" / "videos", ffmpeg)
    load = recognition.networks(networks("sface"))
    people = gallery.load(enroll(make_people(photos, photos.parent / "people"), "sface"), "sface")
    recognizer = recognition.Recognizer("sface", load, lambda: people, "all")
    found = []
    for video in (*ONE_EACH, *BESIDE_BIDEN):
        with tempfile.TemporaryDirectory() as folder:
            argv = [ffmpeg, "-v", "error", "-i", str(videos / video)]
            argv += ["-vf", "select=not(mod(n\\,2))"]
            subprocess.run([*argv, "-fps_mode", "passthrough", f"{folder}/%03d.png"], check=True)
            for number, path in enumerate(sorted(Path(folder).iterdir())):
                for face in recognizer.name_faces(read_rgb(path.read_bytes())):
                    if is_stranger(face) and face.embedding is not None:
                        found.append((video, number, face.embedding))
    return found


def print_groups() -> bool:
    """Print how many groups the strangers of the videos make; whether each is one person."""
    faces = unknown_faces()
    length = 1 + max(number for _, number, _ in faces)
    is_right = True
    print(
        f"\n{'frames':>6} {'unknown faces':>14} {'groups':>7} {'people':>7}  of the sample videos"
    )
    for frames in FRAMES:
        taken = {round(place * (length - 1) / max(frames - 1, 1)) for place in range(frames)}
        some = [face for face in faces if face[1] in taken]
        apart = distances(np.stack([row for _, _, row in some]), "cosine")
        frame_of = [(video, number) for video, number, _ in some]
        who = [BESIDE_BIDEN.get(video, video) for video, _, _ in some]
        made = groups(apart, frame_of, THRESHOLDS["sface"])
        whole = {frozenset(index for index, one in enumerate(who) if one == each) for each in who}
        is_right = is_right and {frozenset(group) for group in made} == whole
        print(f"{frames:>6} {len(some):>14} {len(made):>7} {len(set(who)):>7}")
    print("PASS" if is_right else "FAIL", "each group is one person, and each person one group")
    return is_right


def main() -> None:
    """Print how many strangers and how many known people are accepted at each threshold."""
    command = parser(__doc__)
    command.add_argument("gallery", type=Path, nargs="?", help="default: the sample photos")
    path = command.parse_args().gallery
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
    if path is None and not print_groups():
        raise SystemExit(1)


if __name__ == "__main__":
    main()
