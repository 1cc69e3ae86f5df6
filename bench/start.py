#!/usr/bin/env python3
"""Measure the recognizer's start and memory: python3 bench/start.py

From the start of the process to its first answer, as in a cold start: Python, the S3 client,
the networks, the gallery, one frame. With both models, in ncnn (the default) and in torch
(ENGINE=torch: facenet-pytorch's modules, SFace in OpenCV), which alternate in one run; with the
files in the page cache, and without. Then the memory that is resident after 20 frames of 1080p, and
how long galleries of 100,000 and of a million photos take to load.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "face-recognition"
sys.path[:0] = [str(FOLDER), str(ROOT)]

import gallery
import gallery_format
import models
import numpy as np
import s3_data
from PIL import Image

from bench import weights
from bench.command import parser
from bench.results import Target, report
from samples.packages import fetch_photos

# model: the most that ncnn may take of torch's time, with a warm and a cold page cache, and the
# most MB that may be resident
WANTED = {"sface": (0.2, 0.25, 200), "facenet-vggface2": (0.3, 0.25, 300)}
FRAMES = 20
LOADING_S = {100_000: 1, 1_000_000: 10}  # photos in a gallery: the most seconds to load it
CHILD = """
import gc, os
gc.disable()
os.environ["OPENBLAS_NUM_THREADS"] = "1"
import json, sys, time
model, folder, frame, frames, size, started, data = sys.argv[1:]
from pathlib import Path
import s3_objects
s3_objects.make_client(Path(data))
if os.environ["ENGINE"] == "torch":
    import models
    from dataclasses import replace
    models.MODELS[model] = replace(models.MODELS[model], size=int(size))
from images import read_rgb
from recognition import Recognizer
recognizer = Recognizer.from_environment(Path(folder))
data = Path(frame).read_bytes()
assert recognizer.name_faces(read_rgb(data))
seconds = time.monotonic() - float(started)
for _ in range(int(frames) - 1):
    recognizer.name_faces(read_rgb(data))
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
print(json.dumps({"seconds": seconds, "resident_mb": int(status["VmRSS"].split()[0]) // 1024}))
"""


def first_answer(
    model: str, engine: str, frame: Path, data_pt: Path, data: Path, frames: int = 1
) -> Any:
    """Run a process up to its first answer, and on to `frames`: its seconds and resident MB.

    `data` has botocore's descriptions, as in the image.
    """
    folder, networks = weights.prepare(model)
    variables = {
        **os.environ,
        "PYTHONPATH": str(FOLDER),
        "MODEL": model,
        "ENGINE": engine,
        "MODELS_DIR": str(networks if engine == "ncnn" else folder),
        "GALLERY": str(data_pt),
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    size = (folder / models.MODELS[model].file).stat().st_size
    command = [sys.executable, "-c", CHILD, model, str(folder), str(frame), str(frames), str(size)]
    run = subprocess.run(
        [*command, str(time.monotonic()), str(data)],
        env=variables,
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(run.stdout)


def forget(folders: list[Path]) -> None:
    """Drop the files in these folders from the page cache."""
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def a_gallery(model: str, path: Path) -> Path:
    """A gallery of one person so lax that whoever is in the frame is known, as in most videos."""
    row = np.ones((1, gallery.LENGTHS[model]), np.float32)
    gallery.save(path, list(row / np.linalg.norm(row)), ["Anybody"], model, 240, 2.0)
    return path


def loading_seconds(count: int) -> float:
    """How long a gallery of so many photos takes to load, with sface."""
    rows = np.random.default_rng(0).standard_normal((count, gallery.LENGTHS["sface"]), np.float32)
    names = [f"Person {index // 3}" for index in range(count)]
    data = gallery_format.write(rows, names, {"model": "sface", "image_size": 240})
    del rows
    started = time.monotonic()
    gallery.parse(data, "data.pt", "sface")
    return time.monotonic() - started


def main() -> None:
    """Measure every model in both engines, and say which targets are met."""
    command = parser(__doc__)
    command.add_argument("--repeat", type=int, default=5, help="starts of each; default: 5")
    repeat = command.parse_args().repeat
    targets, figures = list[Target](), dict[str, Any]()
    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        photos = fetch_photos(ROOT / "build" / "samples" / "photos")
        frame = temporary / "frame.jpg"
        with Image.open(photos / "obama.jpg") as photo:
            canvas = Image.new("RGB", (1920, 1080))
            photo.thumbnail((1080, 1080))
            canvas.paste(photo, (400, 0))
            canvas.save(frame)
        s3_data.write(data := temporary / "s3-data")
        for model, (warm, cold, resident) in WANTED.items():
            data_pt = a_gallery(model, temporary / f"{model}.pt")
            caches = [Path(sysconfig.get_path("platlib")), *weights.prepare(model)]
            for cache, wanted in (("warm", warm), ("cold", cold)):
                seconds: dict[str, list[float]] = {"ncnn": [], "torch": []}
                for run in range(repeat):
                    for engine in ("ncnn", "torch") if run % 2 else ("torch", "ncnn"):
                        if cache == "cold":
                            forget(caches)
                        took = first_answer(model, engine, frame, data_pt, data)
                        seconds[engine].append(took["seconds"])
                ratio = statistics.median(
                    a / b for a, b in zip(seconds["ncnn"], seconds["torch"], strict=True)
                )
                medians = {engine: statistics.median(times) for engine, times in seconds.items()}
                print(f"{model}, {cache} page cache, start to first answer, s: {medians}")
                figures[f"{model}, {cache}"] = medians
                what = f"start to first answer, {model}, {cache}, of torch's time"
                targets.append(Target(what, ratio, wanted))
            took = first_answer(model, "ncnn", frame, data_pt, data, FRAMES)
            what = f"MB resident after {FRAMES} frames of 1080p, {model}"
            targets.append(Target(what, took["resident_mb"], resident))
    for count, wanted in LOADING_S.items():
        what = f"s to load a gallery of {count:,} photos, sface"
        targets.append(Target(what, loading_seconds(count), wanted))
    report("start", targets, figures)


if __name__ == "__main__":
    main()
