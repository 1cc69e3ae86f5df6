"""Sample people and videos: short H.264 clips that pan and zoom slowly across a photo."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import click

from pipeline.answers import NO_FACE, UNKNOWN
from samples.one_at_a_time import one_at_a_time
from samples.packages import SampleError, fetch_photos


@dataclass(frozen=True)
class Clip:
    """One sample video. `crop` is the part of the photo it shows: x, y, width, height in pixels."""

    photo: str
    crop: tuple[int, int, int, int]
    size: tuple[int, int]
    seconds: float
    expected: str


# Each person is enrolled from one photo. The clips show other photos if the packages have any.
PEOPLE = {"Barack Obama": "obama.jpg", "Joe Biden": "biden.jpg", "Eileen Collins": "astronaut.png"}

CLIPS = (
    Clip("obama2.jpg", (0, 100, 626, 834), (480, 640), 2.0, "Barack Obama"),
    Clip("obama3.jpg", (300, 100, 1132, 849), (1280, 960), 3.0, "Barack Obama"),
    Clip("biden.jpg", (0, 60, 970, 728), (640, 480), 2.0, "Joe Biden"),
    Clip("astronaut.png", (0, 0, 512, 384), (640, 480), 2.5, "Eileen Collins"),
    Clip("t1.jpg", (0, 245, 240, 180), (640, 480), 2.0, UNKNOWN),
    Clip("t1.jpg", (202, 120, 240, 180), (640, 480), 2.0, UNKNOWN),
    Clip("t1.jpg", (397, 243, 240, 180), (640, 480), 2.0, UNKNOWN),
    Clip("t1.jpg", (672, 320, 240, 180), (640, 480), 2.0, UNKNOWN),
    Clip("t1.jpg", (840, 41, 240, 180), (640, 480), 2.0, UNKNOWN),
    Clip("t1.jpg", (1040, 246, 240, 180), (640, 480), 2.0, UNKNOWN),
    Clip("coffee.png", (0, 0, 533, 400), (640, 480), 2.0, NO_FACE),
)

FPS = 25
ZOOM = 0.15  # how much larger the picture is at the end of the clip


def clip_argv(clip: Clip, photo: Path, video: Path, ffmpeg: str) -> list[str]:
    """The ffmpeg command that makes `video`: crop, pan and zoom, encode as H.264 in yuv420p."""
    x, y, width, height = clip.crop
    frames = round(clip.seconds * FPS)
    # zoompan moves by whole input pixels, so scale up four times to make the motion smooth.
    filters = (
        f"crop={width}:{height}:{x}:{y},scale={clip.size[0] * 4}:{clip.size[1] * 4},"
        f"zoompan=z='1+{ZOOM}*on/{frames}':x='(iw-iw/zoom)*on/{frames}':y='(ih-ih/zoom)/2'"
        f":d={frames}:s={clip.size[0]}x{clip.size[1]}:fps={FPS}"
    )
    argv = [ffmpeg, "-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-i", str(photo)]
    argv += ["-vf", filters, "-frames:v", str(frames), "-c:v", "libx264", "-preset", "veryfast"]
    return [*argv, "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(video)]


@one_at_a_time()
def make_videos(photos: Path, folder: Path, ffmpeg: str) -> Path:
    """Make test_00.mp4 ... and expected.csv (video,name) in `folder`; keep clips already made.

    Raises SampleError if ffmpeg fails on a clip.
    """
    made_from = f"{CLIPS} {FPS} {ZOOM}"
    note = folder / ".made-from"
    if folder.exists() and not (note.exists() and note.read_text() == made_from):
        shutil.rmtree(folder)  # the clips were made from other definitions
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(made_from)
    for index, clip in enumerate(CLIPS):
        video = folder / f"test_{index:02d}.mp4"
        if video.exists():
            continue
        print(f"Making {video.name} from {clip.photo} ...", file=sys.stderr)
        partial = video.with_name(f".{video.name}")
        argv = clip_argv(clip, photos / clip.photo, partial, ffmpeg)
        run = subprocess.run([*argv[:-1], "-f", "mp4", argv[-1]], capture_output=True, text=True)
        if run.returncode != 0:
            partial.unlink(missing_ok=True)
            raise SampleError(f"ffmpeg cannot make {video}: {run.stderr.strip()[-600:]}")
        partial.replace(video)
    with (folder / "expected.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("video", "name"))
        writer.writerows((f"test_{i:02d}.mp4", clip.expected) for i, clip in enumerate(CLIPS))
    return folder


@one_at_a_time()
def ffmpeg_from(build: Path) -> str:
    """Unpack the layer's ffmpeg from build/ffmpeg.zip, if needed, and return its path."""
    path = build / "bin" / "ffmpeg"
    archive = build / "ffmpeg.zip"
    if not path.exists() or path.stat().st_mtime < archive.stat().st_mtime:
        with zipfile.ZipFile(archive) as layer:
            layer.extract("bin/ffmpeg", build)
        path.chmod(0o755)
        path.touch()
    return str(path)


@one_at_a_time()
def make_people(photos: Path, folder: Path) -> Path:
    """Fill `folder` as enroll.py expects: one folder per person, each with one photo."""
    for person, photo in PEOPLE.items():
        (folder / person).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(photos / photo, folder / person / photo)
    return folder


@click.command()
@click.option("--ffmpeg", default="ffmpeg", show_default=True, help="The ffmpeg to encode with.")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def main(ffmpeg: str, folder: Path) -> None:
    """Make the sample people and videos in FOLDER: python -m samples.clips build/samples"""
    try:
        photos = fetch_photos(folder / "photos")
        make_people(photos, folder / "people")
        make_videos(photos, folder / "videos", ffmpeg)
    except SampleError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{folder / 'people'}: {len(PEOPLE)} people")
    click.echo(f"{folder / 'videos'}: {len(CLIPS)} videos and expected.csv")


if __name__ == "__main__":
    main()
