"""What to upload: the videos of a folder or copies of them, and their expected names."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.settings import VIDEO_SUFFIXES
from workload.running.expected import FILE_NAME, first_few, match_videos, read_expected
from workload.running.input_errors import InputError


@dataclass(frozen=True)
class Upload:
    """A planned upload: a file, its key in S3, and the right name for it, if that is known."""

    key: str
    path: Path
    size_bytes: int
    expected: str | None = None


def find_videos(folder: Path) -> list[Path]:
    """The videos in `folder`, sorted by name; hidden files are ignored.

    Raises InputError if the folder is missing, has no videos, or has one that cannot be read.
    """
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"Cannot read the folder {folder}: {error.strerror}. Pass a folder of videos to "
            "--testcase-folder."
        ) from error
    videos = [p for p in found if is_video(p) and not p.name.startswith(".")]
    if not videos:
        suffixes = " ".join(dict.fromkeys(suffix.lower() for suffix in VIDEO_SUFFIXES))
        raise InputError(f"{folder} has no videos ({suffixes}).")
    for video in videos:
        check_video(video)
    return videos


def check_video(video: Path) -> None:
    """Raise InputError unless this file can be uploaded."""
    try:
        if not stat.S_ISREG(video.stat().st_mode):  # reading a pipe would wait for a writer
            raise InputError(f"{video} is not a regular file: pass a video file.")
        with video.open("rb") as file:
            file.read(1)
        video.name.encode()
    except OSError as error:
        raise InputError(f"Cannot read {video}: {error.strerror}.") from error
    except UnicodeEncodeError as error:
        raise InputError(
            f"The name of {str(video)!r} is not valid UTF-8, which S3 requires: rename it."
        ) from error


def is_video(path: Path) -> bool:
    """Whether the pipeline takes a file of this name for a video; the suffix may be in any case."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def skipped_notes(folder: Path) -> list[str]:
    """A note about files that are not uploaded because of their names; none without such files."""
    others = sorted(
        path.name
        for path in folder.iterdir()
        if path.is_file()
        and not is_video(path)
        and path.name != FILE_NAME
        and not path.name.startswith(".")
    )
    if not others:
        return []
    return [f"Not uploaded, as their names are not those of videos: {first_few(others)}."]


def plan(
    videos: list[Path], repeat: int | None, names: Mapping[str, str] | None = None
) -> list[Upload]:
    """One upload per video, or `repeat` copies named test_00.mp4, test_01.mp4 ...

    Copies cycle through the videos and keep their suffixes. `names`: expected ones, by file name.
    """
    sizes = {video: video.stat().st_size for video in videos}
    expected = names or {}
    if repeat is None:
        return [Upload(v.name, v, sizes[v], expected.get(v.name)) for v in videos]
    digits = max(2, len(str(repeat - 1)))
    sources = [videos[index % len(videos)] for index in range(repeat)]
    return [
        Upload(f"test_{index:0{digits}d}{v.suffix}", v, sizes[v], expected.get(v.name))
        for index, v in enumerate(sources)
    ]


def folder_expected(folder: Path, videos: list[Path]) -> dict[str, str] | None:
    """The names in the folder's expected.csv; None if it has no such file.

    Raises InputError if the file cannot be used, or lists videos that are not in the folder.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return None
    here = {video.name for video in videos}
    names = match_videos(read_expected(path), here)
    unknown = sorted(set(names) - here)
    if unknown:
        raise InputError(f"{path} lists videos that are not in {folder}: {first_few(unknown)}")
    return names


def expected_of(uploads: list[Upload]) -> dict[str, str]:
    """The expected names, by the key of the upload."""
    return {u.key: u.expected for u in uploads if u.expected is not None}
