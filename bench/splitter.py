#!/usr/bin/env python3
"""Time the splitter on short clips, one ffmpeg per frame against one pass.

A seeks every frame, as the splitter does for long videos; B takes what the splitter takes by
default. They alternate in one run on the same presigned URL of a local AWS, and must give the same
times and bytes. Then the splitter itself runs in this process on warm videos, with the deployed
recognizer, and says where a video's time goes.
"""

from __future__ import annotations

import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "video-splitting"), str(ROOT)]

import ffmpeg
import store
from camera import Camera
from frames import Footage, Frame
from PIL import Image

from bench.command import parser
from bench.results import Target, report
from local_aws.process import StartError
from pipeline.settings import Deployment
from samples.clips import clip_argv, ffmpeg_from, make_people
from samples.packages import SampleError, fetch_photos
from samples.scenes import Clip, Pane, Shot
from samples.stack import BUILD, running
from samples.undisturbed import undisturbed

BUCKET = "bench-splitter-videos"  # not the deployment's, so that only this process splits
PHOTO = "obama.jpg"
SECONDS = 2.4
SIZES = {"720p": (1280, 720), "1080p": (1920, 1080)}
# Of one ffmpeg per frame, for 5 and for 10 frames.
WANTED = {5: 0.3, 10: 0.2}
Fetch = Callable[[Path], bool]


def make_clip(photos: Path, size: tuple[int, int], target: Path, binary: str) -> Path:
    """A clip that pans across the person in PHOTO."""
    with Image.open(photos / PHOTO) as image:
        width, height = image.width, image.width * size[1] // size[0]
        height = min(height, image.height)
    pane = Pane(PHOTO, (0, 0, width, height), size)
    argv = clip_argv(Clip((Shot((pane,), SECONDS),), ""), photos, photos, target, binary)
    subprocess.run(argv, check=True)
    return target


def take(video: ffmpeg.Video, wanted: int, fetch: Fetch) -> tuple[float, list[tuple[float, bytes]]]:
    """Seconds for so many frames of a video, and each one's time and bytes."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        camera = Camera(video, Path(folder), 60, fetch=fetch)
        taken: list[Frame] = Footage(camera).spread(wanted)
        seconds = time.perf_counter() - started
        return seconds, [(frame.time, frame.path.read_bytes()) for frame in taken]


def compare(
    video: ffmpeg.Video, wanted: int, repeat: int, fetch: Fetch
) -> tuple[float, float, float]:
    """Median seconds of A and of B, and the median of their ratios.

    Raises SystemExit unless they give the same frames.
    """
    sides: tuple[list[float], list[float]] = [], []
    for run in range(repeat):
        frames: list[Any] = [None, None]
        for side in (0, 1) if run % 2 else (1, 0):
            seconds, frames[side] = take(replace(video, size=video.size * side), wanted, fetch)
            sides[side].append(seconds)
        if frames[0] != frames[1]:
            raise SystemExit(f"FAIL: {wanted} frames differ between seeking and one pass")
    a, b = map(statistics.median, sides)
    return a, b, statistics.median(y / x for x, y in zip(*sides, strict=True))


@dataclass
class Clock:
    """When the parts of a video's work began and ended, by part; they may overlap."""

    spans: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    @contextmanager
    def timing(self, part: str) -> Iterator[None]:
        """Note the time that the context takes as `part`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.spans[part].append((started, time.perf_counter()))

    def around(self, part: Callable[..., str], call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, timed as what `part` says of its arguments."""

        def timed(*arguments: Any, **options: Any) -> Any:
            with self.timing(part(*arguments)):
                return call(*arguments, **options)

        return timed

    def milliseconds(self, started: float, ended: float) -> dict[str, float]:
        """Each part's milliseconds, and those in which none of them ran, as `Python`."""
        parts = {name: sum(b - a for a, b in spans) for name, spans in self.spans.items()}
        busy, until = 0.0, started
        for a, b in sorted(span for spans in self.spans.values() for span in spans):
            busy += max(0.0, b - max(a, until))
            until = max(until, b)
        parts["Python"] = ended - started - busy
        self.spans.clear()
        return {name: seconds * 1000 for name, seconds in parts.items()}


def kind(argv: list[str], *_: Any) -> str:
    """What a run of ffmpeg is for."""
    if "framecrc" in argv and "image2" not in argv:
        return "ffmpeg: probe and list"
    return "ffmpeg: decode"


def where_time_goes(count: int) -> dict[str, dict[str, float]]:
    """The median milliseconds of each part of a warm video, by FRAMES."""
    handler: Any = import_module("handler")  # after the environment is set
    clock, s3 = Clock(), handler.s3()
    lambda_client = handler.recognition().client
    for client in (s3, lambda_client):
        client._make_api_call = clock.around(_operation, client._make_api_call)
    ffmpeg.run = clock.around(kind, ffmpeg.run)
    store.presigned = clock.around(lambda *_: "presign", store.presigned)

    class Context:
        def get_remaining_time_in_millis(self) -> int:
            return 200_000

    rows = {}
    for frames in ("auto", "5", "10"):
        os.environ["FRAMES"] = frames
        found: dict[str, list[float]] = defaultdict(list)
        for number in range(count + 1):
            key = f"{frames}/{number}.mp4"
            s3.copy_object(Bucket=BUCKET, Key=key, CopySource=f"{BUCKET}/720p.mp4")
            clock.spans.clear()
            with redirect_stdout(io.StringIO()):
                started = time.perf_counter()
                handler.splitter(Context()).split(store.Source(BUCKET, key))
                ended = time.perf_counter()
            parts = clock.milliseconds(started, ended)
            if number:  # the first one starts the recognizer's environment
                for name, value in {**parts, "whole video": (ended - started) * 1000}.items():
                    found[name].append(value)
        rows[frames] = {name: statistics.median(values) for name, values in found.items()}
    return rows


def _operation(name: str, *_: Any) -> str:
    for start, part in (("Head", "HEAD"), ("Put", "PUT"), ("List", "LIST"), ("Get", "GET")):
        if name.startswith(start):
            return part
    return name


def main() -> None:
    """Print both tables and the targets."""
    command = parser(__doc__)
    command.add_argument("--repeat", type=int, default=9, help="runs of A and B; default: 9")
    command.add_argument("--videos", type=int, default=7, help="warm videos; default: 7")
    options = command.parse_args()
    photos = fetch_photos(BUILD / "samples" / "photos")
    people = make_people(photos, BUILD / "samples" / "people")
    binary = ffmpeg_from(BUILD)
    figures: dict[str, Any] = {}
    targets = []
    with (
        undisturbed(),
        running(Deployment("bench"), people) as stack,
        tempfile.TemporaryDirectory() as folder,
    ):
        names = stack.deployment
        os.environ.update(stack.aws.environ)
        os.environ.update(
            FFMPEG=binary,
            STAGE_1_BUCKET=names.stage_1_bucket,
            OUTPUT_BUCKET=names.output_bucket,
            RECOGNITION_FUNCTION="face-recognition",
            RECOGNITION_TIMEOUT_S="60",
            FRAMES_PER_INVOKE="8",
            INVOKE_CONCURRENCY="4",
            FFMPEG_TIMEOUT_S="60",
        )
        s3 = import_module("handler").s3()  # after the environment is set
        s3.create_bucket(Bucket=BUCKET)
        print(f"\nframes of a clip of {SECONDS:g} s, median ms; A: one ffmpeg per frame, B: ours")
        print(f"{'clip':6} {'frames':>6} {'A':>8} {'B':>8} {'B/A':>6}")
        for name, size in SIZES.items():
            clip = make_clip(photos, size, Path(folder) / f"{name}.mp4", binary)
            s3.put_object(Bucket=BUCKET, Key=clip.name, Body=clip.read_bytes())
            source = store.inspect(s3, store.Source(BUCKET, clip.name))
            url = store.presigned(s3, source, 3600)
            video = ffmpeg.Video(url, source.etag, "", size=source.size)
            fetch = partial(store.fetch, s3, source)
            for wanted, most in WANTED.items():
                a, b, ratio = compare(video, wanted, options.repeat, fetch)
                print(f"{name:6} {wanted:6} {a * 1000:8.0f} {b * 1000:8.0f} {ratio:6.2f}")
                figures[f"{name}, {wanted} frames"] = {"A_s": a, "B_s": b, "ratio": ratio}
                if name == "720p":
                    what = f"{wanted} frames of a short 720p clip, of one ffmpeg per frame"
                    targets.append(Target(what, ratio, most))
        rows = where_time_goes(options.videos)
    parts = sorted(
        {part for row in rows.values() for part in row}, key=lambda p: (p == "whole video", p)
    )
    print("\nwhere a warm video's time goes, median ms (requests may overlap), FRAMES =")
    print(f"{'':24}" + "".join(f"{frames:>8}" for frames in rows))
    for part in parts:
        print(f"{part:24}" + "".join(f"{row.get(part, 0):8.1f}" for row in rows.values()))
    report("splitter", targets, {**figures, "warm video, ms": rows})


if __name__ == "__main__":
    try:
        main()
    except (SampleError, StartError) as error:
        raise SystemExit(f"Error: {error}") from error
