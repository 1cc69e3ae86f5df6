"""Whatever comes in, the splitter answers it or says by name why not, soon, and cleans up."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from random import Random
from typing import Any

import ffmpeg as ffmpeg_module
import pytest
import recognizer
from configuration import SplitterError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from video_errors import PermanentError, VideoError

from tests.video_splitting.conftest import Context
from tests.wrong_values import JSON, LEFT_OUT, WRONG, each_with_one_wrong, with_one_wrong

quick = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
many = settings(quick, max_examples=1000)

KEYS = ("a.mp4", "b.txt", "%FF.mp4", "..", "/", "x" * 2000 + ".mp4", "\0.mp4", "a\nb.mov")
S3_EVENT = {
    "Records": [
        {
            "eventSource": "aws:s3",
            "s3": {"bucket": {"name": "none-such"}, "object": {"key": "a.mp4"}},
        }
    ]
}
MESSAGE = {
    "messageId": "1",
    "receiptHandle": "r",
    "body": json.dumps(S3_EVENT),
    "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1700000000000"},
    "eventSource": "aws:sqs",
    "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:uploads",
}
GOOD_EVENTS = (S3_EVENT, {"Records": [MESSAGE]})
ANYTHING = JSON | st.sampled_from((LEFT_OUT, *KEYS))
EVENTS = st.one_of(JSON, *(with_one_wrong(event, ANYTHING) for event in GOOD_EVENTS))


def check_event(world: Any, event: Any) -> None:
    """The event is handled, or refused by an error that is named, in a short time."""
    started = time.monotonic()
    named: Exception | None = None
    try:
        world.module.handler(event, Context())
    except (SplitterError, VideoError, recognizer.RecognitionError) as error:
        named = error
    assert type(named).__name__ != "Unforeseen"
    assert len(str(named).encode()) < 5000
    assert time.monotonic() - started < 10


def test_an_event_with_one_wrong_value_is_handled_or_refused_by_name(world: Any) -> None:
    for good in GOOD_EVENTS:
        for event in each_with_one_wrong(good, (*WRONG, *KEYS)):
            check_event(world, event)


@quick
@given(EVENTS)
def test_any_event_is_handled_or_refused_by_name(world: Any, event: Any) -> None:
    check_event(world, event)


@pytest.mark.slow
@many
@given(EVENTS)
def test_many_events_are_handled_or_refused_by_name(world: Any, event: Any) -> None:
    check_event(world, event)


@pytest.mark.parametrize("event", [[], None, "x", {}, {"Records": None}, {"Records": [None]}])
def test_what_is_no_event_is_refused_for_good(world: Any, event: Any) -> None:
    with pytest.raises(world.module.UnexpectedEvent, match="not from S3") as raised:
        world.module.handler(event, Context())
    assert not raised.value.retry


class Peak:
    """The most memory in bytes that ffmpeg had, as its watcher saw it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most = 0
        measure = ffmpeg_module._resident_bytes

        def measured(pid: int) -> int:
            found = measure(pid)
            if pid != os.getpid():
                self.most = max(self.most, found)
            return found

        monkeypatch.setattr(ffmpeg_module, "_resident_bytes", measured)
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "4096")


def check_damaged(world: Any, scratch: Path, peak: Peak, content: bytes) -> bool:
    """Whether the video is answered; if not, it says for good what is wrong with it."""
    world.put("a.mp4", content)
    started = time.monotonic()
    try:
        answered = bool(world.handle("a.mp4")["videos"])
    except PermanentError as error:
        answered = False
        said = str(error)
        assert said.startswith(f"s3://{world.input}/a.mp4: ")
        assert "X-Amz" not in said
        assert len(said) < 1000
    assert time.monotonic() - started < 15
    assert peak.most < 300 << 20
    assert list(scratch.iterdir()) == []
    return answered


def check_places(
    world: Any, scratch: Path, peak: Peak, clips: list[Path], count: int
) -> list[bool]:
    """Cut the clips off at `count` places, and flip a bit there or overwrite some bytes.

    Returns which of the damaged clips were answered.
    """
    random = Random(0)
    answered = []
    for number in range(count):
        content = clips[number % len(clips)].read_bytes()
        # half of all flips are where the index is, near the beginning or the end
        at = random.choice((random.randrange(len(content)), random.randrange(2000)))
        at = random.choice((at, len(content) - 1 - at))
        flipped = bytearray(content)
        flipped[at] ^= 1 << random.randrange(8)
        overwritten = bytearray(content)
        overwritten[at : at + 4] = random.randbytes(4)
        for damaged in (
            content[: (number + 1) * len(content) // (count + 1)],
            flipped,
            overwritten,
        ):
            answered.append(check_damaged(world, scratch, peak, bytes(damaged)))
    return answered


@pytest.fixture
def peak(monkeypatch: pytest.MonkeyPatch) -> Peak:
    return Peak(monkeypatch)


@pytest.fixture
def clips(make: Any, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """MP4s with their index at the end, at the beginning and in pieces, of which frames vote."""
    monkeypatch.setenv("FRAMES", "3")
    x264 = ("-pix_fmt", "yuv420p")
    return [
        make("clip.mp4", *x264),
        make("first.mp4", *x264, "-movflags", "+faststart"),
        make("pieces.mp4", *x264, "-movflags", "+frag_keyframe+empty_moov", "-g", "5"),
    ]


def test_a_damaged_mp4_is_answered_or_refused_by_name(
    world: Any, scratch: Path, peak: Peak, clips: list[Path]
) -> None:
    assert len(set(check_places(world, scratch, peak, clips, 3))) == 2


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_mp4s_damaged_in_200_places_are_answered_or_refused_by_name(
    world: Any, scratch: Path, peak: Peak, clips: list[Path]
) -> None:
    assert len(set(check_places(world, scratch, peak, clips, 200))) == 2


# The containers of video_errors.CONTAINERS that are not fuzzed above, and how to make them.
CONTAINERS = {
    "clip.mkv": "-c:v libx264",
    "clip.webm": "-c:v libvpx-vp9 -deadline realtime -cpu-used 8",
    "clip.avi": "-c:v mpeg4",
    "clip.mpg": "-c:v mpeg2video -r 25",
    "clip.ts": "-c:v libx264",
    "clip.wmv": "-c:v wmv2",
    "clip.flv": "-c:v flv",
    "clip.ogv": "-c:v libtheora",
    "clip.mxf": "-c:v mpeg2video -r 25",
    "clip.h264": "-c:v libx264",
    "clip.hevc": "-c:v libx265 -x265-params log-level=none",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTAINERS)
def test_other_containers_damaged_are_answered_or_refused_by_name(
    world: Any,
    scratch: Path,
    peak: Peak,
    make: Any,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setenv("FRAMES", "3")
    clip = make(name, *CONTAINERS[name].split(), "-pix_fmt", "yuv420p")
    # Most of them are built to be played from any place on.
    assert True in check_places(world, scratch, peak, [clip], 4)
    assert not check_damaged(world, scratch, peak, clip.read_bytes()[:20])
