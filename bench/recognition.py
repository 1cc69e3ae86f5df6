#!/usr/bin/env python3
"""Compare the recognizer with a plain implementation: python3 bench/recognition.py

Plain: eager MTCNN on a PIL image, eager InceptionResnetV1 with batch size 1, and a loop of
torch.dist over the gallery, as facenet-pytorch's README has them. Ours: the same steps with
detect.py, embed.py and gallery.py. Both use the same weights and alternate in one run, at 240 and
at 160 px. The benchmark compares times, boxes, embeddings and the nearest person.

It then measures what looking for a known face costs (FACES=known) over naming the largest face,
whoever it is (FACES=largest), on frames of two or more faces.
"""

from __future__ import annotations

import io
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "face-recognition"), str(ROOT)]

import engine_torch
import gallery
import numpy as np
import recognition
import torch
from facenet_pytorch import MTCNN
from images import read_rgb
from PIL import Image

from bench import weights
from bench.command import parser
from bench.results import Target, report
from samples.packages import fetch_photos

MODEL = "facenet-vggface2"
FASTER = {240: 4.2, 160: 7.0}  # than the plain way, wanted at an image size in px
PEOPLE = 79
PHOTOS = ("obama.jpg", "obama2.jpg", "obama3.jpg", "biden.jpg", "astronaut.png", "t1.jpg")


def frames(folder: Path) -> list[bytes]:
    """The sample photos as JPEG frames of at most 1280 px."""
    made = []
    for name in PHOTOS:
        image = Image.open(folder / name).convert("RGB")
        image.thumbnail((1280, 1280))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=92)
        made.append(buffer.getvalue())
    return made


def timed(into: list[float], step: Callable[..., Any], *arguments: Any) -> Any:
    """Run `step` with the arguments, append its milliseconds to `into` and return its result.

    Processor time, so that other processes on the machine do not count.
    """
    started = time.process_time()
    result = step(*arguments)
    into.append((time.process_time() - started) * 1000)
    return result


def plain_decode(frame: bytes) -> Image.Image:
    """Decode a JPEG to an RGB image with Pillow."""
    return Image.open(io.BytesIO(frame)).convert("RGB")


def plain_distances(vector: torch.Tensor, rows: torch.Tensor) -> list[float]:
    """The distances from a (1, 512) embedding to each of (people, 512), one after another."""
    return [torch.dist(vector, row[None]).item() for row in rows]


def side_by_side(photos: list[bytes]) -> list[Any]:
    """Each photo beside the next one at 60 % of its size: frames of two or more faces."""
    made = []
    for photo, smaller in zip(photos, [*photos[1:], photos[0]], strict=True):
        left, right = plain_decode(photo), plain_decode(smaller)
        left.thumbnail((800, 800))
        right.thumbnail((480, 480))
        canvas = Image.new("RGB", (left.width + right.width, max(left.height, right.height)))
        canvas.paste(left, (0, 0))
        canvas.paste(right, (left.width, 0))
        made.append(np.array(canvas))
    return made


def one_person(row: Any) -> gallery.Gallery:
    """A gallery that knows this embedding and nothing else."""
    return gallery.Gallery(row[None], ("known",), "facenet-vggface2", 240, 1e-3, "")


def compare_selections(
    recognizer: recognition.Recognizer, images: list[Any], repeat: int
) -> list[Target]:
    """Print the time of `known` and of `largest`, by who is known; the two alternate."""
    cases = ("the largest is known", "only the next is known", "nobody is known")
    times: dict[tuple[str, str], list[float]] = {
        (case, faces): [] for case in cases for faces in ("largest", "known")
    }
    for image in images:
        recognizer.faces = "known"
        search = recognizer._detector.search(image)
        largest, (_, second, *_) = search.largest(), search.all()
        first_row, second_row = recognizer._embedder.embed(image, [*largest, second])
        galleries = (one_person(first_row), one_person(second_row), one_person(-first_row))
        for case, known, expected in zip(cases, galleries, (1, 2, None), strict=True):
            recognizer.gallery = known
            for run in range(repeat):
                for faces in ("largest", "known") if run % 2 else ("known", "largest"):
                    recognizer.faces = faces
                    found = timed(times[case, faces], recognizer.name_faces, image)
                    if faces == "known" and expected not in (None, len(found)):
                        raise SystemExit(f"{case}, but {len(found)} faces were named")
    print(f"\n{len(images)} frames of two or more faces, {repeat} times; median ms")
    print(f"{'FACES':24} {'largest':>8} {'known':>8} {'ratio':>6}")
    costs = {}
    for case in cases:
        pairs = zip(times[case, "known"], times[case, "largest"], strict=True)
        costs[case] = statistics.median(known / largest for known, largest in pairs)
        a, b = (statistics.median(times[case, faces]) for faces in ("largest", "known"))
        print(f"{case:24} {a:8.1f} {b:8.1f} {costs[case]:6.3f}")
    return [Target("known over largest, where the largest is known", costs[cases[0]], 1.02)]


def overlap(a: Any, b: Any) -> float:
    """The intersection over union of two boxes (x1, y1, x2, y2)."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:4], b[2:4])
    common = np.prod(np.maximum(high - low, 0))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return float(common / (sum(areas) - common))


def compare(photos: list[bytes], size: int, repeat: int) -> tuple[list[Target], dict[str, Any]]:
    """Run both implementations at this image size; print median times, return the targets."""
    folder, networks = weights.prepare(MODEL)
    plain_net = engine_torch.inception_resnet_v1(folder / "facenet-vggface2.pt")
    mtcnn = MTCNN(image_size=size, margin=0, min_face_size=20)
    rows = torch.nn.functional.normalize(torch.randn(PEOPLE, 512))
    names = tuple(map(str, range(PEOPLE)))
    known = gallery.Gallery(rows.numpy(), names, MODEL, size, 9.0, "")
    load = recognition.networks(networks)
    recognizer = recognition.Recognizer(MODEL, load, lambda: known, "largest")
    detector, embedder = recognizer._detector, recognizer._embedder
    steps = ("decode", "detect and crop", "embed", "match", "whole frame")
    plain: dict[str, list[float]] = {step: [] for step in steps}
    ours: dict[str, list[float]] = {step: [] for step in steps}
    cosines, overlaps, same = list[float](), list[float](), 0
    data = photos * repeat
    for frame in data:
        with torch.no_grad():
            image = timed(plain["decode"], plain_decode, frame)
            crop = timed(plain["detect and crop"], mtcnn, image)
            theirs = timed(plain["embed"], plain_net, crop[None])
            far = timed(plain["match"], plain_distances, theirs, rows)
        pixels = timed(ours["decode"], read_rgb, frame)
        faces = timed(ours["detect and crop"], detector.largest, pixels)
        vector = timed(ours["embed"], embedder.embed, pixels, faces)
        match = timed(ours["match"], known.nearest, vector[0])
        for side in (plain, ours):
            side["whole frame"].append(sum(side[step][-1] for step in steps[:-1]))
        cosines.append(float(vector[0] @ theirs[0].numpy()))
        same += match.name == str(int(np.argmin(far)))
        if len(overlaps) < len(photos):
            overlaps.append(overlap(np.array(faces[0].box), mtcnn.detect(image)[0][0]))
    print(f"\n{len(data)} frames, {size} px, one thread; median ms")
    print(f"{'step':16} {'plain':>8} {'ours':>8} {'ratio':>6}")
    for step in steps:
        a, b = statistics.median(plain[step]), statistics.median(ours[step])
        print(f"{step:16} {a:8.1f} {b:8.1f} {a / b:6.1f}")
    print(f"same nearest person: {same} of {len(data)} frames")
    ratios = zip(plain["whole frame"], ours["whole frame"], strict=True)
    what = f"at {size} px"
    targets = [
        Target(
            f"whole frame {what}, times as fast as the plain way",
            *(statistics.median(a / b for a, b in ratios), FASTER[size]),
            at_least=True,
        ),
        Target(f"least overlap of the boxes {what}", min(overlaps), 0.99, at_least=True),
        Target(f"least cosine of the embeddings {what}", min(cosines), 0.9999, at_least=True),
        Target(f"share of the same nearest person {what}", same / len(data), 1.0, at_least=True),
    ]
    if size == 240:
        median = statistics.median(ours["detect and crop"])
        targets.append(Target("detection, median ms", median, 12))
        targets += compare_selections(recognizer, side_by_side(photos), repeat)
    figures = {f"plain {step}": statistics.median(plain[step]) for step in steps}
    return targets, {**figures, **{f"ours {step}": statistics.median(ours[step]) for step in steps}}


def main() -> None:
    """Run both implementations on all frames, and say which targets are met."""
    command = parser(__doc__)
    command.add_argument("--repeat", type=int, default=5, help="runs over the photos; default: 5")
    options = command.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    photos = frames(fetch_photos(ROOT / "build" / "samples" / "photos"))
    targets, figures = list[Target](), dict[str, Any]()
    for size in FASTER:
        found, figures[f"{size} px, ms"] = compare(photos, size, options.repeat)
        targets += found
    report("recognition", targets, figures)


if __name__ == "__main__":
    main()
