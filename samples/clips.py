"""Sample people and videos: short H.264 clips that pan and zoom slowly across photos."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import click

from pipeline.cli import about_options
from samples.one_at_a_time import one_at_a_time
from samples.packages import SampleError, fetch_photos
from samples.scenes import CLIPS, PEOPLE, Clip, Pane, named_clips
from samples.trouble import damaged, title_card

FPS = 25
ZOOM = 0.15  # how much larger the picture is at the end of the clip
# A fixed number of threads gives the same bytes however many processors there are.
ENCODER = ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-threads", "3")


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
        if shot.title:
            still = f"trim=end_frame={round(shot.seconds * FPS)},setpts=N/{FPS}/TB"
            chains.append(f"[{len(inputs)}:v]loop=-1:1,{still}[p{len(inputs)}]")
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
    argv += ["-filter_complex", ";".join(chains), "-map", "[out]", *ENCODER]
    argv += ["-movflags", "+faststart"]
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
    made_from = f"{CLIPS} {FPS} {ZOOM} {ENCODER}"
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
@about_options
@click.option("--ffmpeg", default="ffmpeg", show_default=True, help="The ffmpeg to encode with.")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def main(ffmpeg: str, folder: Path) -> None:
    """Make the sample people and videos in FOLDER: python3 -m samples.clips build/samples"""
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
