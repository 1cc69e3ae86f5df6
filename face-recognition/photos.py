"""Find the people and their photos in a folder, without decoding a photo or importing torch."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from person_name import name_fault, name_key, normalized

# The bytes decide what a file is. A suffix only says that a file was meant to be a photo, so that
# a damaged one is named as such, and what to cut off the name of a person's only photo.
PHOTO_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".png", ".webp", ".bmp", ".dib")
    + (".tif", ".tiff", ".gif", ".avif", ".heic", ".heif", ".hif")
)
SUFFIX_LENGTH = 5  # of an unknown suffix that is cut off a photo's name: `.thumb`, not `. Smith`
MAX_BYTES = 1 << 30  # the largest photo of 100 megapixels, 16-bit RGBA in TIFF, has 800 MB

# What systems and programs leave beside photos, in lower case: Synology, macOS, Windows, QNAP.
JUNK = frozenset(
    ("@eadir", "#recycle", "__macosx", "icon\r", "thumbs.db", "ehthumbs.db", "desktop.ini")
    + ("picasa.ini", "$recycle.bin", "system volume information", "@recycle", "lost+found")
)

KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class EnrollError(RuntimeError):
    """Nobody can be enrolled; the message says why."""


@dataclass(frozen=True)
class Photo:
    """A photo of a person."""

    person: str
    path: Path


@dataclass(frozen=True)
class Found:
    """The people and photos found in a folder, why any other file was refused, and warnings."""

    people: list[str] = field(default_factory=list)
    photos: list[Photo] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def find_photos(folder: Path) -> Found:
    """Find people below `folder`, in a stable order: one folder or one photo per person.

    Names that differ only in case or Unicode form are one person, under the first spelling. What
    systems leave beside photos (JUNK, hidden files, README files) is passed over in silence.
    Raises EnrollError for a name that nobody can have, or if there is no photo at all.
    """
    found = Found()
    spellings: dict[str, list[str]] = {}
    for entry in sorted(folder.iterdir()):
        if _is_junk(entry):
            continue
        refusal = "" if entry.is_dir() else why_not_a_photo(entry)
        if refusal and entry.suffix.lower() not in PHOTO_SUFFIXES:
            found.refused.append(f"{entry}: {refusal}")
            continue
        written = entry.name if entry.is_dir() else _stem(entry)
        _check_name(entry, written)
        twins = spellings.setdefault(name_key(written), [])
        twins += [written] if written not in twins else []
        person = normalized(twins[0])
        if person not in found.people:
            found.people.append(person)
        _collect(entry, person, found)
    found.warnings.extend(
        f"{_told_apart(twins)} are one person, enrolled as {normalized(twins[0])!r}"
        for twins in spellings.values()
        if len(twins) > 1
    )
    if not found.photos:
        what = f"{folder} has no photos: it must contain one folder or one photo per person."
        raise EnrollError("\n".join([what, *found.refused]))
    return found


def _collect(entry: Path, person: str, found: Found) -> None:
    for path in sorted(_files_below(entry, found.refused)) if entry.is_dir() else [entry]:
        refusal = why_not_a_photo(path)
        if refusal:
            found.refused.append(f"{path}: {refusal}")
        else:
            found.photos.append(Photo(person, path))


def _files_below(folder: Path, refused: list[str]) -> Iterator[Path]:
    """The files in the tree, also behind links to folders; each folder once."""
    seen = set()

    def unreadable(error: OSError) -> None:
        refused.append(f"{error.filename}: {error.strerror}")

    for root, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        real = Path(root).resolve()
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not _is_junk(Path(root, name))]
        yield from (Path(root, name) for name in files if not _is_junk(Path(root, name)))


def _is_junk(path: Path) -> bool:
    """Whether to pass over a file or folder in silence."""
    name = path.name.lower()
    is_readme = path.stem.lower() == "readme" and path.suffix.lower() not in PHOTO_SUFFIXES
    return name.startswith(".") or name in JUNK or (is_readme and not path.is_dir())


def _stem(photo: Path) -> str:
    """The person in a photo's file name, which may have no suffix and may contain dots."""
    suffix = photo.suffix[1:]
    is_suffix = suffix.isalnum() and suffix.islower() and len(suffix) <= SUFFIX_LENGTH
    return photo.stem if photo.suffix.lower() in PHOTO_SUFFIXES or is_suffix else photo.name


def _told_apart(spellings: list[str]) -> str:
    """The spellings, with escapes if they would look the same."""
    look = [normalized(spelling) for spelling in spellings]
    show = repr if len(set(look)) == len(look) else ascii
    return " and ".join(map(show, spellings))


def _check_name(entry: Path, person: str) -> None:
    """Raise EnrollError if nobody can have this name."""
    if fault := name_fault(person):
        shown = str(entry) if _is_printable(str(entry)) else repr(os.fsencode(entry))
        raise EnrollError(f"{shown}: {fault}: rename it.")


def _is_printable(text: str) -> bool:
    return not any("\udc80" <= char <= "\udcff" for char in text) and text.isprintable()


def why_not_a_photo(path: Path) -> str:
    """Why a file is refused before it is decoded; empty if it may be a photo.

    Only the first bytes of a regular file are read: opening a FIFO would wait forever.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return f"it is {KINDS.get(stat.S_IFMT(status.st_mode), 'something else')}, not a file"
        if status.st_size > MAX_BYTES:
            return f"it has {status.st_size / 1e9:.1f} GB: no photo is larger than 1 GB"
        with path.open("rb") as file:
            head = file.read(32)
    except OSError as error:
        return str(error)
    if not head:
        return "it is empty"
    if is_image(head) or path.suffix.lower() in PHOTO_SUFFIXES:
        return ""
    return "it is not a photo: JPEG, PNG, WebP, TIFF, GIF, BMP, AVIF or HEIC"


def is_image(head: bytes) -> bool:
    """Whether a file's first 32 bytes are those of an image format that is read (or of HEIC)."""
    return (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a"))
        or head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))
        # BMP: two letters that texts also start with, then the header size after 14 bytes
        or (head.startswith(b"BM") and head[14:18] in (b"\x0c\0\0\0", b"\x28\0\0\0", b"\x6c\0\0\0"))
        or (head.startswith(b"BM") and head[14:18] in (b"\x38\0\0\0", b"\x7c\0\0\0"))
        or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")
        or (head[4:8] == b"ftyp" and head[8:12] in IMAGE_BRANDS)
    )


IMAGE_BRANDS = frozenset(b"avif avis heic heix hevc hevx heim heis mif1 msf1".split())
