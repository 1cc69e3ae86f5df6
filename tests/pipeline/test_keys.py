"""Clients, the splitter and the recognizer agree on the keys of objects."""

from __future__ import annotations

import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.keys import frame_key, output_key, stem
from pipeline.settings import ROOT, VIDEO_SUFFIXES

sys.path += [str(ROOT / "video-splitting"), str(ROOT / "face-recognition")]

import frames
import output_keys
import store

# S3 keys are UTF-8. Fragments that look like suffixes make interesting keys likely.
fragments = st.sampled_from([*VIDEO_SUFFIXES, ".mP4", ".jpg", ".txt", "/output-00", "a", ".", "/"])
texts = st.text(st.characters(codec="utf-8"), max_size=20)
keys = st.lists(fragments | texts, min_size=1, max_size=5).map("".join)
videos = st.tuples(keys, st.sampled_from(VIDEO_SUFFIXES)).map("".join)
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


@pytest.mark.parametrize("video", VIDEOS)
def test_the_splitter_writes_the_frame_that_clients_look_for(video: str) -> None:
    assert frames.frame_key(video, 0, 1) == frame_key(video)


@given(keys)
def test_the_splitter_writes_the_frame_of_any_key_that_clients_look_for(video: str) -> None:
    assert frames.frame_key(video, 0, 1) == frame_key(video)


@given(keys)
def test_the_recognizer_writes_the_output_of_any_key_that_clients_look_for(video: str) -> None:
    assert output_keys.output_key(frames.frame_key(video, 0, 1)) == output_key(video)


@pytest.mark.parametrize("video", VIDEOS)
def test_a_frame_and_its_output_share_a_stem(video: str) -> None:
    assert output_key(video).removesuffix(".txt") == frame_key(video).removesuffix(".jpg")


@given(videos, videos)
@example("a.mov", "a.mov.mp4")
@example("a.MP4", "a.mp4")
@example("a.mp4", "a.mp4.mp4")
def test_two_videos_never_share_a_stem(one: str, other: str) -> None:
    assert (stem(one) == stem(other)) == (one == other)


@given(st.integers(0, 120), st.integers(0, 120), videos, st.integers(2, 100))
@example(1, 101, "a.mp4", 100)
def test_two_frames_of_a_video_never_share_a_key(
    one: int, other: int, video: str, wanted: int
) -> None:
    keys = [frames.frame_key(video, index, wanted) for index in (one, other)]

    assert (keys[0] == keys[1]) == (one == other)


@given(videos, st.integers(0, 120), st.integers(0, 120))
def test_surplus_frames_are_those_from_the_count_on(video: str, index: int, count: int) -> None:
    key = frames.frame_key(video, index, 2)

    assert frames.is_surplus(key, video, count) == (index >= count)


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
