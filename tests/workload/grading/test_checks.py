"""The grader's checks of the buckets' contents: each fault is named once, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.keys import frame_key, output_key, stem
from pipeline.settings import VIDEO_SUFFIXES
from workload.grading.checks import (
    FAIL,
    PASS,
    SKIP,
    Check,
    Holdings,
    Item,
    name_check,
    object_checks,
    time_check,
)
from workload.grading.objects import kept_frames

# Keys as clients choose them: folders, dots and further suffixes anywhere in the name.
PART = st.one_of(st.sampled_from(["a", "/", ".", *VIDEO_SUFFIXES]), st.characters(codec="utf-8"))
VIDEO = st.builds(
    lambda parts, suffix: "".join(parts) + suffix,
    st.lists(PART, min_size=1, max_size=5),
    st.sampled_from(VIDEO_SUFFIXES),
)
BUCKETS = ("p-input", "p-stage-1", "p-output")


def held(inputs: str, frames: str, outputs: str, stale: str = "") -> Holdings:
    one, two, three = (
        {key: Item(100.0) for key in keys.split()} for keys in (inputs, frames, outputs)
    )
    return Holdings(BUCKETS, one, two, three, frozenset(stale.split()))


def faults(checks: list[Check]) -> list[str]:
    """The objects at fault in all failed checks, without the details."""
    return [thing.split(": ")[0] for c in checks if c.status == FAIL for thing in c.objects]


def test_a_complete_set_of_objects_passes() -> None:
    checks = object_checks(held("a.mp4 b.mov d/", "a.jpg b.mov.jpg", "a.txt b.mov.txt"), 1, {})

    assert [check.status for check in checks] == [PASS] * 5


@pytest.mark.parametrize(
    ("inputs", "frames", "outputs", "named"),
    [
        ("a.mp4 b.mp4", "a.jpg b.jpg", "a.txt", "s3://p-output/b.txt"),
        ("a.mp4 b.mp4", "a.jpg", "a.txt b.txt", "s3://p-stage-1/b.jpg"),
        ("a.mp4", "a.jpg b.jpg", "a.txt", "s3://p-stage-1/b.jpg"),
        ("a.mp4", "a.jpg", "a.txt b.txt", "s3://p-output/b.txt"),
        ("a.mp4 n.md", "a.jpg", "a.txt", "s3://p-input/n.md"),
        ("a.mp4", "a.jpg a/output-00.jpg", "a.txt", "s3://p-stage-1/a/output-00.jpg"),
        ("a.mp4", "a.jpg", "a.txt a/output-00.txt", "s3://p-output/a/output-00.txt"),
        ("", "", "", "s3://p-input/"),
    ],
)
def test_each_fault_is_named_once(inputs: str, frames: str, outputs: str, named: str) -> None:
    checks = object_checks(held(inputs, frames, outputs), 1, {})

    assert faults(checks) == [named]
    assert sum(check.status == FAIL for check in checks) == 1


FIVE = "a/output-00.jpg a/output-01.jpg a/output-02.jpg"


@pytest.mark.parametrize(
    ("frames", "outputs", "named"),
    [
        (FIVE, "a.txt", []),  # a short video has fewer than requested
        (FIVE, "", ["s3://p-output/a.txt"]),
        (FIVE.replace(" a/output-01.jpg", ""), "a.txt", ["s3://p-stage-1/a/output-01.jpg"]),
        (f"{FIVE} a/output-07.jpg", "a.txt", ["s3://p-stage-1/a/output-07.jpg"]),
        (FIVE, "a.txt a/output-01.txt", ["s3://p-output/a/output-01.txt"]),
        (FIVE, "a.txt a.json", ["s3://p-output/a.json"]),
        (f"{FIVE} a.jpg", "a.txt", ["s3://p-stage-1/a.jpg"]),
    ],
)
def test_several_frames_per_video(frames: str, outputs: str, named: list[str]) -> None:
    assert faults(object_checks(held("a.mp4", frames, outputs), 5, {})) == named


@pytest.mark.parametrize(
    ("outputs", "stale", "named"),
    [
        ("a.txt a.json", "", []),
        ("a.txt", "", ["s3://p-output/a.json"]),
        ("a.json", "", ["s3://p-output/a.txt"]),  # not an answer by itself
        ("a.txt a.json b.json", "", ["s3://p-output/b.json"]),
        ("a.txt a.json", "a.txt", ["s3://p-output/a.txt", "s3://p-output/a.json"]),
    ],
)
def test_json_beside_the_texts_is_neither_an_answer_nor_surplus(
    outputs: str, stale: str, named: list[str]
) -> None:
    holdings = held("a.mp4", "a.jpg", outputs, stale)

    assert faults(object_checks(holdings, 1, {}, with_json=True)) == named


@pytest.mark.parametrize(("setting", "frames"), [("auto", 1), ("1", 1), ("5", 5)])
def test_auto_keeps_one_frame(setting: str, frames: int) -> None:
    assert kept_frames(setting) == frames


def test_a_video_may_have_its_suffix_in_any_case() -> None:
    holdings = held("a.Mp4 b.MOV c.txt", "a.Mp4.jpg b.MOV.jpg", "")

    assert holdings.videos == ["a.Mp4", "b.MOV"]


def test_an_output_of_an_earlier_upload_counts_as_missing() -> None:
    checks = object_checks(held("a.mp4", "a.jpg", "a.txt", stale="a.txt"), 1, {})

    assert faults(checks) == ["s3://p-output/a.txt"]
    assert "earlier upload" in checks[3].objects[0]


def test_a_missing_output_is_explained_by_the_failure_queue() -> None:
    checks = object_checks(held("a.mp4", "a.jpg", ""), 1, {"a.mp4": "It is empty."})

    assert checks[3].objects == ("s3://p-output/a.txt: for a.mp4: It is empty.",)


def test_wrong_names_are_named_but_missing_answers_are_not_wrong() -> None:
    holdings = held("a.mp4 b.mp4 c.mp4", "", "a.txt b.txt")
    expected = {"a.mp4": "Ann", "b.mp4": "Bob", "c.mp4": "Cid"}

    wrong = name_check(holdings, expected, {"a.mp4": "Ann", "b.mp4": "Ann"})
    right = name_check(holdings, expected, {"a.mp4": "Ann", "b.mp4": "Bob"})

    assert wrong.objects == ("s3://p-output/b.txt: 'Ann', expected 'Bob'",)
    assert right.status == PASS
    assert (wrong.reason, right.reason) == (
        "1 of 3 right, 1 wrong, 1 missing",
        "2 of 3 right, 1 missing",
    )
    assert name_check(holdings, None, {}).status == SKIP
    assert name_check(holdings, expected, {}).status == FAIL


@pytest.mark.parametrize(("wrong", "earned"), [(0, 20), (1, 19), (12, 8), (20, 0), (100, 0)])
def test_each_wrong_name_costs_one_point(wrong: int, earned: int) -> None:
    videos = [f"{number:03}.mp4" for number in range(100)]
    answers = {video: "Ann" if n < wrong else "Bob" for n, video in enumerate(videos)}

    check = name_check(held(" ".join(videos), "", ""), dict.fromkeys(videos, "Bob"), answers)

    assert (check.earned, check.points, len(check.objects)) == (earned, 20, wrong)
    assert check.as_json()["earned"] == earned


@pytest.mark.parametrize(
    ("answer", "expected", "is_right"),
    [
        ("Jose\u0301", "Jos\u00e9", True),  # decomposed, as macOS stores names
        ("Ann  Lee", " Ann Lee ", True),
        ("Ann\nBob", "Ann\r\n Bob", True),  # FACES=all
        ("Ann Bob", "Ann\nBob", False),
        ("ann", "Ann", False),
        ("No face", "No  face", True),
        ("", "Ann", False),
    ],
)
def test_names_are_compared_normalized(answer: str, expected: str, is_right: bool) -> None:
    check = name_check(held("a.mp4", "", "a.txt"), {"a.mp4": expected}, {"a.mp4": answer})

    assert (check.status == PASS) is is_right


def test_late_answers_are_named() -> None:
    check = time_check({"a.mp4": 3.0, "b.mp4": 11.0}, 10, "measured", "")

    assert check.objects == ("b.mp4: 11.0 s",)
    assert "average 7.0 s, longest 11.0 s" in check.reason
    assert time_check({"a.mp4": 10.0}, 10, "measured", "").status == PASS
    skipped = time_check({}, 10, "measured", "all are older")
    assert (skipped.status, skipped.reason) == (SKIP, "all are older")
    assert time_check({}, 10, "measured", "").status == FAIL


@given(videos=st.sets(VIDEO, min_size=1, max_size=6), count=st.integers(1, 3))
def test_any_videos_with_their_objects_pass(videos: set[str], count: int) -> None:
    item = Item(100.0)
    indexed = [f"{stem(video)}/output-{index:02d}" for video in videos for index in range(count)]
    frames = {frame_key(v) for v in videos} if count == 1 else {f"{key}.jpg" for key in indexed}
    outputs = {output_key(video) for video in videos}
    one, two, three = (dict.fromkeys(keys, item) for keys in (videos, frames, outputs))

    checks = object_checks(Holdings(BUCKETS, one, two, three), count, {})

    assert faults(checks) == []


@given(
    name=PART,
    endings=st.sets(
        st.lists(st.sampled_from(VIDEO_SUFFIXES), min_size=1, max_size=2).map("".join),
        min_size=2,
        max_size=8,
    ),
)
def test_no_two_videos_share_an_object(name: str, endings: set[str]) -> None:
    videos = {name + ending for ending in endings}

    assert len({output_key(video) for video in videos}) == len(videos)
    assert len({frame_key(video) for video in videos}) == len(videos)
