"""What to upload: the videos of a folder, or copies of them, and the names they should lead to."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from pipeline.settings import VIDEO_SUFFIXES
from workload.running.expected import FILE_NAME, match_videos, read_expected, some
from workload.running.options import InputError


@dataclass(frozen=True)
class Upload:
    """One upload to make: a file and the key it gets."""

    key: str
    path: Path
    size_bytes: int


def find_videos(folder: Path) -> list[Path]:
    """The videos in `folder`, by name; hidden files are none.

    Raises InputError if the folder is missing or has none, or if one of them cannot be read.
    """
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"Cannot read the folder {folder}: {error.strerror}. Pass --testcase-folder a folder "
            "of videos."
        ) from error
    videos = [p for p in found if p.suffix in VIDEO_SUFFIXES and not p.name.startswith(".")]
    if not videos:
        text = f"{folder} has no videos, that is, no {' '.join(VIDEO_SUFFIXES[::2])}"
        raise InputError(" ".join([text, *said_of_mixed_case(folder)]))
    for video in videos:
        try:
            if not stat.S_ISREG(video.stat().st_mode):  # reading a pipe would wait for its writer
                raise InputError(f"{video} is no file: take it out of the folder.")
            with video.open("rb") as file:
                file.read(1)
            video.name.encode()
        except OSError as error:
            raise InputError(f"Cannot read {video}: {error.strerror}.") from error
        except UnicodeEncodeError as error:
            raise InputError(f"{str(video)!r} is no UTF-8 name, as S3 needs: rename it.") from error
    return videos


def said_of_mixed_case(folder: Path) -> list[str]:
    """A line on the files in `folder` that are no videos for their suffix's case; none without."""
    mixed = sorted(
        path.name
        for path in folder.iterdir()
        if path.suffix not in VIDEO_SUFFIXES
        and path.suffix.lower() in VIDEO_SUFFIXES
        and not path.name.startswith(".")
    )
    if not mixed:
        return []
    return [
        f"Left out: {some(mixed)}. S3 starts the pipeline for suffixes in lower or upper case "
        "alone: rename them."
    ]


def plan(videos: list[Path], repeat: int | None) -> list[Upload]:
    """Each video under its own name, or `repeat` copies named test_00.mp4, test_01.mp4 ...

    The copies go through the videos in turn and keep their suffixes.
    """
    sizes = {video: video.stat().st_size for video in videos}
    if repeat is None:
        return [Upload(video.name, video, sizes[video]) for video in videos]
    digits = max(2, len(str(repeat - 1)))
    turns = [videos[index % len(videos)] for index in range(repeat)]
    return [
        Upload(f"test_{index:0{digits}d}{video.suffix}", video, sizes[video])
        for index, video in enumerate(turns)
    ]


def folder_expected(folder: Path, videos: list[Path]) -> dict[str, str] | None:
    """What the folder's expected.csv says, None if it has none.

    Raises InputError if it cannot be used, or names videos that are not in the folder.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return None
    here = {video.name for video in videos}
    names = match_videos(read_expected(path), here)
    unknown = sorted(set(names) - here)
    if unknown:
        raise InputError(f"{path} names videos that {folder} has not: {some(unknown)}")
    return names


def expected_of(uploads: list[Upload], names: dict[str, str]) -> dict[str, str]:
    """The names that the uploads should lead to, from those of the files they are made of."""
    return {u.key: names[u.path.name] for u in uploads if u.path.name in names}
