"""Finding people and photos in a folder."""

from __future__ import annotations

import io
import os
import socket
import unicodedata
from pathlib import Path

import pytest
from photos import EnrollError, Found, find_photos, is_image
from PIL import Image


def picture(kind: str = "JPEG") -> bytes:
    """A small image file."""
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, kind)
    return data.getvalue()


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def put(folder: Path, *paths: str, data: bytes | None = None) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(picture() if data is None else data)


def shown(found: Found, folder: Path) -> list[tuple[str, str]]:
    return [(photo.person, str(photo.path.relative_to(folder))) for photo in found.photos]


def test_a_folder_or_a_photo_is_a_person(tmp_path: Path) -> None:
    put(tmp_path, "Ada Lovelace/b.jpg", "Ada Lovelace/deep/a.jpg", "Bob.jpg")
    (tmp_path / "Empty").mkdir()

    found = find_photos(tmp_path)

    assert found.people == ["Ada Lovelace", "Bob", "Empty"]
    assert shown(found, tmp_path) == [
        ("Ada Lovelace", "Ada Lovelace/b.jpg"),
        ("Ada Lovelace", "Ada Lovelace/deep/a.jpg"),
        ("Bob", "Bob.jpg"),
    ]
    assert found.refused == found.warnings == []


@pytest.mark.parametrize(
    ("file", "person"),
    [
        ("Ada.HEIC", "Ada"),
        ("Ada.jfif", "Ada"),
        ("Ada.jpe", "Ada"),
        ("Ada", "Ada"),
        ("Ada.JPG", "Ada"),
        ("Ada.thumb", "Ada"),
        ("J. R. Smith", "J. R. Smith"),
        ("J. R. Smith.jpg", "J. R. Smith"),
        ("Ada.txt", "Ada"),
    ],
)
def test_the_bytes_decide_and_not_the_suffix(tmp_path: Path, file: str, person: str) -> None:
    put(tmp_path, file, f"Bob/{file}")

    found = find_photos(tmp_path)

    assert sorted(found.people) == sorted(["Bob", person])
    assert len(found.photos) == 2
    assert not found.refused


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
def test_every_format_that_is_read_is_known_by_its_bytes(kind: str) -> None:
    assert is_image(picture(kind)[:32])


@pytest.mark.parametrize(
    "head",
    [b"", b"BM is a name, and this text", b"RIFF\0\0\0\0WAVEfmt ", b"%PDF-1.7", b"\xff\xd8"],
)
def test_other_bytes_are_no_image(head: bytes) -> None:
    assert not is_image(head)
    assert is_image(HEIC)
    assert not is_image(HEIC.replace(b"heic", b"isom"))


def test_other_files_are_refused_and_damaged_photos_left_to_the_decoder(tmp_path: Path) -> None:
    put(tmp_path, "Ada/1.jpg")
    put(tmp_path, "Ada/notes.txt", "list.csv", data=b"no photo")
    put(tmp_path, "Ada/none", data=b"")
    put(tmp_path, "Ada/broken.png", data=b"no photo")
    (tmp_path / "Ada" / "gone").symlink_to(tmp_path / "nowhere")

    found = find_photos(tmp_path)

    assert [photo.path.name for photo in found.photos] == ["1.jpg", "broken.png"]
    assert [reason.partition(": ")[0] for reason in found.refused] == [
        str(tmp_path / name) for name in ("Ada/gone", "Ada/none", "Ada/notes.txt", "list.csv")
    ]
    assert "No such file" in found.refused[0]
    assert found.refused[1].endswith("it is empty")
    assert "it is not a photo: JPEG, " in found.refused[2]
    assert found.people == ["Ada"]


def test_what_systems_leave_beside_photos_is_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "Ada/1.jpg")
    for folder in ("@eaDir", "__MACOSX", ".git", "#recycle", "System Volume Information"):
        put(tmp_path, f"{folder}/1.jpg", f"Ada/{folder}/1.jpg")
    for file in ("Thumbs.db", "THUMBS.DB", "desktop.ini", ".DS_Store", "README", "Readme.md"):
        put(tmp_path, file, f"Ada/{file}", data=b"no photo")
    put(tmp_path, "._Ada.jpg", "Ada/.hidden.jpg")

    found = find_photos(tmp_path)

    assert found == Found(["Ada"], found.photos, [], [])
    assert shown(found, tmp_path) == [("Ada", "Ada/1.jpg")]


def test_a_person_may_be_called_readme(tmp_path: Path) -> None:
    put(tmp_path, "Readme/1.jpg", "README.jpg")

    assert find_photos(tmp_path).people == ["README"]


def test_what_is_not_a_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    put(tmp_path, "Ada/1.jpg")
    os.mkfifo(tmp_path / "Ada" / "2.jpg")
    os.mkfifo(tmp_path / "Bob.jpg")
    (tmp_path / "Ada" / "3.jpg").symlink_to(tmp_path / "Bob.jpg")
    (tmp_path / "Ada" / "4.jpg").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "Ada" / "5.jpg"))

        found = find_photos(tmp_path)

    assert [reason.rpartition(": ")[2] for reason in found.refused] == [
        "it is a FIFO, not a file",
        "it is a FIFO, not a file",
        "it is a device, not a file",
        "it is a socket, not a file",
        "it is a FIFO, not a file",
    ]
    assert found.people == ["Ada", "Bob"]


def test_a_folder_called_like_a_photo_is_a_folder(tmp_path: Path) -> None:
    put(tmp_path, "Ada/old.jpg/1.jpg", "Bob/2.jpg")
    (tmp_path / "Bob" / "none.jpg").mkdir()

    found = find_photos(tmp_path)

    assert shown(found, tmp_path) == [("Ada", "Ada/old.jpg/1.jpg"), ("Bob", "Bob/2.jpg")]
    assert found.refused == []


def test_a_file_too_large_for_any_photo_is_refused_unread(tmp_path: Path) -> None:
    put(tmp_path, "Ada/1.jpg", "Ada/2.jpg")
    os.truncate(tmp_path / "Ada" / "2.jpg", (1 << 30) + 1)

    (refused,) = find_photos(tmp_path).refused

    assert refused.endswith("2.jpg: it has 1.1 GB: no photo is larger than 1 GB")


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    put(tmp_path, "elsewhere/1.jpg", "people/Ada/2.jpg")
    (tmp_path / "people" / "Ada" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "people" / "Ada" / "loop").symlink_to(tmp_path / "people" / "Ada")

    found = find_photos(tmp_path / "people")

    assert [photo.path.name for photo in found.photos] == ["2.jpg", "1.jpg"]


def test_twins_are_one_person_with_one_warning(tmp_path: Path) -> None:
    put(tmp_path, "Ada Lee/1.jpg", "ada  lee/2.jpg", "ADA LEE.jpg", "Bob/1.jpg", "Bob.jpg")

    found = find_photos(tmp_path)

    assert found.people == ["ADA LEE", "Bob"]
    assert [photo.person for photo in found.photos].count("ADA LEE") == 3
    assert found.warnings == [
        "'ADA LEE' and 'Ada Lee' and 'ada  lee' are one person, enrolled as 'ADA LEE'"
    ]


def test_twins_that_look_the_same_are_shown_with_escapes(tmp_path: Path) -> None:
    put(tmp_path, "A\u0308nn/1.jpg", "\u00c4nn/2.jpg")

    found = find_photos(tmp_path)

    assert found.people == ["\u00c4nn"]
    assert found.warnings == ["'A\\u0308nn' and '\\xc4nn' are one person, enrolled as '\u00c4nn'"]


def test_a_name_is_enrolled_in_one_form(tmp_path: Path) -> None:
    put(tmp_path, unicodedata.normalize("NFD", "Änn  Ö") + "/1.jpg")

    found = find_photos(tmp_path)

    assert (found.people, found.warnings) == (["\u00c4nn \u00d6"], [])


@pytest.mark.parametrize("name", ["unknown", "No Face", "NO  FACE.jpg", "Ada\nBob", "\u200b"])
def test_a_name_that_nobody_can_have_is_an_error(tmp_path: Path, name: str) -> None:
    put(tmp_path, "Ada.jpg", name if name.endswith(".jpg") else f"{name}/1.jpg")

    with pytest.raises(EnrollError, match="rename it") as error:
        find_photos(tmp_path)

    assert len(str(error.value).splitlines()) == 1


def test_a_file_that_is_no_photo_may_have_any_name(tmp_path: Path) -> None:
    put(tmp_path, "Ada.jpg")
    put(tmp_path, "unknown.txt", data=b"text")

    assert find_photos(tmp_path).people == ["Ada"]


def test_a_folder_without_photos_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    put(tmp_path, "Ada/notes.txt", data=b"text")

    with pytest.raises(EnrollError, match=r"has no photos[^\n]*\n.*notes\.txt: it is not a photo"):
        find_photos(tmp_path)
