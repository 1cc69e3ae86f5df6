"""The file of a deployment: what is read, what is refused with which words, what is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.deployment_file import read_file, write_file
from pipeline.setting_table import SettingsError

GOOD = """
# a comment
[deployment]
prefix = 1225111111
region = eu-west-1
zip = layers/ffmpeg.zip
stage-1-days = 3

[video-splitting]
FRAMES = 5      # always five
memory_mb = 1024

[face-recognition]
THRESHOLD =
"""


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deployment.ini"
    path.write_text("\ufeff" + GOOD, encoding="utf-8")  # as some editors on Windows write it

    found = read_file(path)

    assert found.is_there
    assert found.options == {
        "prefix": "1225111111",
        "region": "eu-west-1",
        "zip": str(tmp_path / "layers" / "ffmpeg.zip"),
        "stage-1-days": "3",
    }
    assert found.settings == {
        "video-splitting": {"FRAMES": "5", "memory_mb": "1024"},
        "face-recognition": {"THRESHOLD": ""},
    }


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "deployment.ini"
    options = {"prefix": "p", "namespace": "", "profile": "a b", "snapstart": "yes", "zip": "/z%"}
    settings = {
        "face-recognition": {"GALLERY_URI": "s3://b/a=b%20c.pt", "THRESHOLD": ""},
        "video-splitting": {},
    }

    write_file(path, options, settings)

    found = read_file(path)
    assert found.options == {name: value for name, value in options.items() if value}
    assert found.settings == {"face-recognition": settings["face-recognition"]}
    assert [file.name for file in tmp_path.iterdir()] == ["deployment.ini"]


def test_a_file_that_is_not_there_is_empty(tmp_path: Path) -> None:
    found = read_file(tmp_path / "none.ini")

    assert (found.is_there, found.options, found.settings) == (False, {}, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[video-splitting]\nFRAMES = abc",
            "[video-splitting] FRAMES is 'abc': use auto or a whole",
        ),
        (
            "[face-recognition]\nMODEL = nosuch",
            "[face-recognition] MODEL is 'nosuch': use facenet-",
        ),
        ("[face-recognition]\nTHRESHOLD = zz", "[face-recognition] THRESHOLD is 'zz': use a dist"),
        ("[video-splitting]\ntimeout_s = 0", "[video-splitting] timeout_s is '0': use a whole"),
        ("[video-splitting]\nframes = 5", "[video-splitting] has no setting 'frames': use memory"),
        (
            "[video-spliting]\nFRAMES = 5",
            "[video-spliting] is not a section: use deployment, video",
        ),
        ("[DEFAULT]\nprefix = p", "[DEFAULT] is not a section"),
        ("[deployment]\nsecret_key = hush", "[deployment] has no setting 'secret_key': use prefix"),
        ("[deployment]\nprefix = Upper", "[deployment] prefix is 'Upper': use 1 to 55 lowercase"),
        (
            "[deployment]\nregion = Ireland",
            "[deployment] region is 'Ireland': use a region such as",
        ),
        ("[deployment]\nstage-1-days = 0", "[deployment] stage-1-days is '0': use a whole number"),
        ("[deployment]\nsnapstart = maybe", "[deployment] snapstart is 'maybe': use yes or no"),
        (
            "[deployment]\nendpoint-url = here",
            "[deployment] endpoint-url is 'here': use http://HOST",
        ),
        ("prefix = p", "File contains no section headers"),
        ("[deployment]\nprefix = p\nprefix = q", "'prefix' in section 'deployment' already exists"),
        ("[deployment\n", "no section headers"),
        ("[video-splitting]\ntimeout_s = 90", "video-splitting.timeout_s is 90, but ffmpeg and"),
    ],
)
def test_the_error_names_file_section_and_setting(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "deployment.ini"
    path.write_text(text)

    with pytest.raises(SettingsError) as caught:
        read_file(path)

    said = str(caught.value)
    assert str(path) in said
    assert message in said
    assert "hush" not in said
    assert "\n" not in said


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", None])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "deployment.ini"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)

    with pytest.raises(SettingsError, match=rf"^Cannot read the settings in {path}: "):
        read_file(path)


def test_nothing_is_written_that_would_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "deployment.ini"
    path.write_text("[deployment]\nprefix = old\n")

    for options, settings, message in (
        ({"prefix": "P"}, {}, "prefix is 'P'"),
        ({"prefix": "p", "secret": "x"}, {}, "has no setting 'secret'"),
        ({"prefix": "p", "zip": "/a #b"}, {}, "cannot be written"),
        ({"prefix": "p"}, {"video-splitting": {"FRAMES": "x"}}, "FRAMES is 'x'"),
    ):
        with pytest.raises(SettingsError, match=message):
            write_file(path, options, settings)

    assert path.read_text() == "[deployment]\nprefix = old\n"


def test_a_device_is_not_replaced_and_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    for path in (Path(os.devnull), tmp_path / "none" / "deployment.ini"):
        with pytest.raises(SettingsError, match=f"Cannot write the settings to {path}: "):
            write_file(path, {"prefix": "p"}, {})

    assert Path(os.devnull).is_char_device()
