"""Sample people and videos: short H.264 clips that pan and zoom slowly across photos."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import click

from pipeline.answers import NO_FACE, UNKNOWN
from samples.one_at_a_time import one_at_a_time
from samples.packages import SampleError, fetch_photos
from samples.trouble import damaged, title_card


@dataclass(frozen=True)
class Pane:
    """A part of a photo, `crop` (x, y, width, height in pixels), shown at `size` in the video."""

    photo: str
    crop: tuple[int, int, int, int]
    size: tuple[int, int]


@dataclass(frozen=True)
class Shot:
    """Panes side by side for some seconds. Without any, a still with `title`, or black."""

    panes: tuple[Pane, ...]
    seconds: float
    title: str = ""


@dataclass(frozen=True)
class Clip:
    """One sample video: its shots in turn. `is_damaged`: its first key frame decodes to a smear."""

    shots: tuple[Shot, ...]
    expected: str
    suffix: str = ".mp4"
    is_damaged: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the video in pixels."""
        panes = next(shot.panes for shot in self.shots if shot.panes)
        return sum(pane.size[0] for pane in panes), panes[0].size[1]

    @property
    def seconds(self) -> float:
        """Length of the video."""
        return sum(shot.seconds for shot in self.shots)

    @property
    def photos(self) -> tuple[str, ...]:
        """The photos that it shows."""
        return tuple(pane.photo for shot in self.shots for pane in shot.panes)


def panned(
    photo: str,
    crop: tuple[int, int, int, int],
    size: tuple[int, int],
    seconds: float,
    expected: str,
) -> Clip:
    """A clip of one photo."""
    return Clip((Shot((Pane(photo, crop, size),), seconds),), expected)


# Each person is enrolled from one photo. The clips show other photos if the packages have any.
PEOPLE = {"Barack Obama": "obama.jpg", "Joe Biden": "biden.jpg", "Eileen Collins": "astronaut.png"}

# Beside each other they fill 640 x 480.
STRANGER_PANE = Pane("t1.jpg", (444, 230, 160, 240), (320, 480))
BIDEN_PANE = Pane("biden.jpg", (280, 60, 600, 900), (320, 480))
OBAMA_PANE = Pane("obama2.jpg", (175, 105, 400, 600), (320, 480))

OBAMA = Pane("obama2.jpg", (0, 130, 626, 470), (640, 480))
BIDEN = Pane("biden.jpg", (0, 60, 970, 728), (640, 480))
COLLINS = Pane("astronaut.png", (0, 0, 512, 384), (640, 480))

CLIPS = (
    panned("obama2.jpg", (0, 100, 626, 834), (480, 640), 2.0, "Barack Obama"),
    panned("obama3.jpg", (300, 100, 1132, 849), (1280, 960), 3.0, "Barack Obama"),
    panned("biden.jpg", (0, 60, 970, 728), (640, 480), 2.0, "Joe Biden"),
    panned("astronaut.png", (0, 0, 512, 384), (640, 480), 2.5, "Eileen Collins"),
    panned("t1.jpg", (0, 245, 240, 180), (640, 480), 2.0, UNKNOWN),
    panned("t1.jpg", (202, 120, 240, 180), (640, 480), 2.0, UNKNOWN),
    panned("t1.jpg", (397, 243, 240, 180), (640, 480), 2.0, UNKNOWN),
    panned("t1.jpg", (672, 320, 240, 180), (640, 480), 2.0, UNKNOWN),
    panned("t1.jpg", (840, 41, 240, 180), (640, 480), 2.0, UNKNOWN),
    panned("t1.jpg", (1040, 246, 240, 180), (640, 480), 2.0, UNKNOWN),
    panned("coffee.png", (0, 0, 533, 400), (640, 480), 2.0, NO_FACE),
    # The stranger's face is the larger one.
    Clip((Shot((STRANGER_PANE, BIDEN_PANE), 2.0),), "Joe Biden"),
    Clip((Shot((BIDEN_PANE, OBAMA_PANE), 2.0),), "Barack Obama"),
    Clip((Shot((OBAMA,), 1.0), Shot((BIDEN,), 1.0)), "Barack Obama"),
    Clip((Shot((), 0.52), Shot((OBAMA,), 1.48)), "Barack Obama"),
    Clip((Shot((), 2.0, "Eileen Collins"), Shot((COLLINS,), 2.0)), "Eileen Collins"),
    Clip((Shot((OBAMA,), 2.0),), "Barack Obama", is_damaged=True),
    Clip((Shot((BIDEN,), 2.0),), "Joe Biden", suffix=".Mp4"),
)

FPS = 25
ZOOM = 0.15  # how much larger the picture is at the end of the clip


def named_clips() -> dict[str, Clip]:
    """The clips by file name: test_00.mp4 and so on."""
    return {f"test_{index:02d}{clip.suffix}": clip for index, clip in enumerate(CLIPS)}


def clip_argv(clip: Clip, photos: Path, stills: Path, video: Path, ffmpeg: str) -> list[str]:
    """The ffmpeg command that makes `video`: its shots in turn, as H.264 in yuv420p.

    `photos` and `stills` are folders; the latter has `TITLE.png` for each title.
    """
    inputs: list[str] = []
    chains: list[str] = []
    width, height = clip.size
    for number, shot in enumerate(clip.shots):
        labels = []
        for pane in shot.panes:
            chains.append(f"[{len(inputs)}:v]{pan(pane, shot.seconds)}[p{len(inputs)}]")
            labels.append(f"[p{len(inputs)}]")
            inputs.append(str(photos / pane.photo))
        frames = round(shot.seconds * FPS)
        if shot.title:
            chains.append(f"[{len(inputs)}:v]loop={frames - 1}:1,fps={FPS}[p{len(inputs)}]")
            labels.append(f"[p{len(inputs)}]")
            inputs.append(str(stills / f"{shot.title}.png"))
        elif not shot.panes:
            chains.append(f"color=black:{width}x{height}:{FPS}:{shot.seconds}[b{number}]")
            labels.append(f"[b{number}]")
        beside = f"hstack={len(labels)}" if len(labels) > 1 else "null"
        chains.append(f"{''.join(labels)}{beside},setsar=1,format=yuv420p[s{number}]")
    shots = "".join(f"[s{number}]" for number in range(len(clip.shots)))
    chains.append(f"{shots}concat={len(clip.shots)}[out]")
    argv = [ffmpeg, "-hide_banner", "-loglevel", "error", "-nostdin", "-y"]
    argv += [word for path in inputs for word in ("-i", path)]
    argv += ["-filter_complex", ";".join(chains), "-map", "[out]", "-c:v", "libx264"]
    argv += ["-preset", "veryfast", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    # A key frame every second, so that what follows a damaged one is whole.
    argv += ["-g", str(FPS), "-sc_threshold", "0"] if clip.is_damaged else []
    return [*argv, "-f", "mp4", str(video)]


def pan(pane: Pane, seconds: float) -> str:
    """The filters that pan and zoom across a pane."""
    x, y, width, height = pane.crop
    frames = round(seconds * FPS)
    # zoompan moves by whole input pixels, so scale up four times to make the motion smooth.
    return (
        f"crop={width}:{height}:{x}:{y},scale={pane.size[0] * 4}:{pane.size[1] * 4},"
        f"zoompan=z='1+{ZOOM}*on/{frames}':x='(iw-iw/zoom)*on/{frames}':y='(ih-ih/zoom)/2'"
        f":d={frames}:s={pane.size[0]}x{pane.size[1]}:fps={FPS}"
    )


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
    for name, clip in named_clips().items():
        video = folder / name
        if video.exists():
            continue
        print(
            f"Making {video.name} from {', '.join(dict.fromkeys(clip.photos))} ...", file=sys.stderr
        )
        partial = video.with_name(f".{video.name}")
        with tempfile.TemporaryDirectory(prefix="stills-") as stills:
            for shot in clip.shots:
                if shot.title:
                    title_card(Path(stills) / f"{shot.title}.png", shot.title, clip.size)
            argv = clip_argv(clip, photos, Path(stills), partial, ffmpeg)
            run = subprocess.run(argv, capture_output=True, text=True)
        if run.returncode != 0:
            partial.unlink(missing_ok=True)
            raise SampleError(f"ffmpeg cannot make {video}: {run.stderr.strip()[-600:]}")
        if clip.is_damaged:
            partial.write_bytes(damaged(partial.read_bytes()))
        partial.replace(video)
    with (folder / "expected.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("video", "name"))
        writer.writerows((name, clip.expected) for name, clip in named_clips().items())
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
