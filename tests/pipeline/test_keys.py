"""Clients, the splitter and the recognizer agree on the keys of objects."""

from __future__ import annotations

import sys

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from pipeline.keys import (
    EMBEDDINGS_ENDING,
    details_key,
    embeddings_key,
    frame_key,
    is_skipped,
    is_video,
    output_key,
    stem,
)
from pipeline.settings import NOT_VIDEOS, ROOT, VIDEO_SUFFIXES

sys.path += [str(ROOT / "video-splitting"), str(ROOT / "face-recognition")]

import keys as splitter_keys
import output_keys
import store
import unknown_faces
import video_errors

# S3 keys are UTF-8. Fragments that look like suffixes make interesting keys likely.
SUFFIXES = [*VIDEO_SUFFIXES, ".MP4", ".Mp4", ".mTs"]
fragments = st.sampled_from([*SUFFIXES, ".jpg", ".txt", "/output-00", "output-7", "a", ".", "/"])
texts = st.text(st.characters(codec="utf-8"), max_size=20)
keys = st.lists(fragments | texts, min_size=1, max_size=5).map("".join)
videos = st.tuples(keys, st.sampled_from(SUFFIXES)).map("".join)
long_keys = st.tuples(keys, st.integers(1, 300)).map(lambda pair: pair[0] * pair[1])

VIDEOS = [
    "test_00.mp4",
    "a b/ü.mp4",
    "c.mov",
    "d.MP4",
    "e.mov.mp4",
    "f.mp4.mp4",
    "g.tar.mp4",
    ".mp4",
]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("test_00.mp4", "test_00"),
        ("a/b c/ü.mp4", "a/b c/ü"),
        ("a.mov", "a.mov"),
        ("a.MP4", "a.MP4"),
        ("a.tar.mp4", "a.tar"),
        ("a.mov.mp4", "a.mov.mp4"),
        ("a.MTS.mp4", "a.MTS.mp4"),
        ("a.mp4.mp4", "a.mp4.mp4"),
        ("a/output-00.mp4", "a/output-00.mp4"),
        ("a/output-123.mp4", "a/output-123.mp4"),
        ("output-00.mp4", "output-00"),  # no video has an empty name before its /
        ("a/output-0.mp4", "a/output-0"),
        ("a/output-00x.mp4", "a/output-00x"),
        (
            "a/output-\u0660\u0660.mp4",
            "a/output-\u0660\u0660",
        ),  # not the digits of frames
    ],
)
def test_stem(key: str, expected: str) -> None:
    assert stem(key) == expected


@given(keys)
@example("a/output-00.mp4")
@example("a.mts.mp4")
def test_clients_and_the_splitter_make_the_same_keys_of_any_key(key: str) -> None:
    assert splitter_keys.frame_key(key) == frame_key(key)
    assert splitter_keys.text_key(key) == output_key(key)
    assert splitter_keys.json_key(key) == details_key(key)


@given(keys)
def test_the_recognizer_writes_the_output_of_any_key_that_clients_look_for(video: str) -> None:
    assert output_keys.output_key(splitter_keys.frame_key(video)) == output_key(video)


def test_both_lists_of_suffixes_are_the_same() -> None:
    assert splitter_keys.VIDEO_SUFFIXES == VIDEO_SUFFIXES
    assert splitter_keys.NOT_VIDEOS == NOT_VIDEOS


def is_accepted(key: str) -> bool:
    try:
        splitter_keys.check(key)
    except video_errors.NotAVideo:
        return False
    return True


@given(keys)
@example("a.mp4/")
@example("a.mp4/b")
@example("a.b/c")
def test_every_key_is_a_video_or_skipped_or_refused(key: str) -> None:
    assert is_accepted(key) == is_video(key)
    assert (splitter_keys.skip_reason(key) is not None) == is_skipped(key)
    assert not (is_video(key) and is_skipped(key))


@pytest.mark.parametrize(
    ("key", "video", "skipped"),
    [
        ("x.Mp4", True, False),
        ("a/b.MTS", True, False),
        ("x.h265", True, False),
        ("folder/", False, True),
        ("x.mp4/", False, True),
        ("photo.JPG", False, True),
        ("a/.DS_Store", False, True),
        ("x", False, False),
        ("x.mp4/y", False, False),
        ("x.exe", False, False),
        ("x.", False, False),
    ],
)
def test_what_an_upload_is_taken_for(key: str, video: bool, skipped: bool) -> None:
    assert (is_video(key), is_skipped(key)) == (video, skipped)


@given(videos, videos)
@example("a.mov", "a.mov.mp4")
@example("a.mts", "a.mts.mp4")
@example("a.MP4", "a.mp4")
@example("a.mp4", "a.mp4.mp4")
@example("a/output-00.mp4", "a/output-00.mp4.mp4")
def test_two_videos_never_share_a_stem(one: str, other: str) -> None:
    assume(is_video(one) and is_video(other))
    assert (stem(one) == stem(other)) == (one == other)


@given(videos, videos, st.integers(0, 120))
@example("a.mp4", "a/output-00.mp4", 0)
@example("a.mp4", "a/output-00.mp4.mp4", 0)
@example("a\n.mp4", "a\n/output-07.mp4", 7)
@example(".mp4", "/output-00.mp4", 0)
def test_a_frame_of_a_video_is_never_the_frame_of_another(one: str, other: str, index: int) -> None:
    assert splitter_keys.numbered_key(one, index) != splitter_keys.frame_key(other)


@given(videos, videos, st.integers(0, 120), st.integers(0, 120))
@example("a.mp4", "a.mp4", 1, 101)
def test_two_numbered_frames_never_share_a_key(
    one: str, other: str, index: int, second: int
) -> None:
    made = splitter_keys.numbered_key(one, index), splitter_keys.numbered_key(other, second)
    assert (made[0] == made[1]) == ((one, index) == (other, second))


@given(videos, st.integers(0, 120), st.integers(0, 120))
def test_surplus_frames_are_those_from_the_count_on(video: str, index: int, count: int) -> None:
    key = splitter_keys.numbered_key(video, index)
    assert splitter_keys.is_surplus(key, video, count) == (index >= count)
    assert splitter_keys.is_surplus(key.replace(".jpg", ".txt"), video, count) or "jpg" in video
    assert splitter_keys.is_surplus(splitter_keys.frame_key(video), video, count) == (count > 0)


@pytest.mark.parametrize(("stem", "fits"), [("a" * 999, True), ("a" * 1000, False)])
def test_a_key_that_leaves_no_room_is_refused(stem: str, fits: bool) -> None:
    if fits:
        splitter_keys.check(f"{stem}.mp4")
        last = embeddings_key(splitter_keys.numbered_key(f"{stem}.mp4", 99))
        assert len(last) == splitter_keys.MAX_KEY_BYTES
    else:
        with pytest.raises(video_errors.KeyTooLong, match=r"1,025 bytes.* 1 bytes shorter"):
            splitter_keys.check(f"{stem}.mp4")
    # S3 counts bytes, not characters
    with pytest.raises(video_errors.KeyTooLong):
        splitter_keys.check("日" * 340 + ".mp4")


@given(keys | long_keys)
@example("a" * store.MAX_KEY_BYTES)
@example("a" * (store.MAX_KEY_BYTES + 1))
@example("日" * 85)
@example("日" * 86)
def test_both_functions_store_a_key_alike_in_metadata(key: str) -> None:
    stored = store.key_as_metadata(key)

    assert stored == output_keys.key_as_metadata(key)
    assert stored.isascii()
    assert len(stored) <= store.MAX_KEY_BYTES


def test_the_ending_of_kept_embeddings_is_one() -> None:
    assert EMBEDDINGS_ENDING == splitter_keys.EMBEDDINGS_ENDING == unknown_faces.ENDING
