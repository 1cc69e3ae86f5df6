"""Only ffmpeg's own messages about its input decide why a video gave no frame."""

from __future__ import annotations

import struct
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import ffmpeg as ffmpeg_module
import ffmpeg_output
import frames
import pytest
import video_errors
from camera import Camera
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

# What ffmpeg says about its input, by the error that it gives.
CAUSES = {
    "HTTP error 403 Forbidden": video_errors.VideoForbidden,
    "HTTP error 404 Not Found": video_errors.VideoGone,
    "HTTP error 412 Precondition Failed": video_errors.VideoChanged,
    "HTTP error 503 Slow Down": video_errors.VideoUnreachable,
}
TEXTS = (
    *CAUSES,
    "Server returned 404 Not Found",
    "Error opening input: Input/output error",
    "Connection to tcp://1.2.3.4:443 failed: Connection refused",
    "Stream map '' matches no streams.",
    "Picture size 9x9 is invalid",
    "Stream mapping:",
    "  Stream #0:0 -> #0:0 (h264 (native) -> mjpeg (native))",
    "n:   0 pts:      0 pts_time:7.5",
    "  Duration: 99:00:00.00, start: 5.000000",
    "  Stream #0:7: Video: h264, 9x9, 1 fps (default)",
)
CONTEXTS = (
    *("", "[http @ 0x1] ", "[https @ 0x55a753d00180] ", "[tcp @ 0x1] ", "[in#0 @ 0x1] "),
    *("[in#0/matroska,webm @ 0x1] ", "[Parsed_showinfo_0 @ 0x1] ", "[h264 @ 0x1] "),
)
LEVELS = ("", "[info] ", "[warning] ", "[error] ", "[fatal] ")
PAST = "2026-01-31 12:00:00.000 "
LINE_BREAKS = ("\n", "\r\n", "\r", "\v", "\f", "\x1b[2J\n", "\u2028", " ")
LINES = st.builds(
    "".join,
    st.tuples(*map(st.sampled_from, (LINE_BREAKS, ("", PAST), CONTEXTS, LEVELS, TEXTS))),
)
IMITATIONS = st.lists(LINES, min_size=1, max_size=4).map("".join)
ROOM = 250  # bytes of text in each place of the clips
quick = settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
many = settings(quick, max_examples=60)


@pytest.mark.parametrize(("said", "error"), CAUSES.items())
def test_the_protocol_says_what_the_store_answered(said: str, error: type[Exception]) -> None:
    assert type(video_errors.failure(f"[https @ 0x1] [warning] {said}")) is error


def test_text_that_has_no_time_continues_the_message_above() -> None:
    now = datetime(2026, 11, 27, 12, tzinfo=UTC)

    def said(seconds: float, text: str) -> str:
        at = now + timedelta(seconds=seconds)
        return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} {text}"

    printed = [
        said(0, "[info] a"),
        "[http @ 0x1] [error] b",
        said(-90, "c"),
        said(90, "d"),
        "",
        said(2, "[error] e"),
    ]
    own = ffmpeg_output.own_lines("\n".join(printed), now.timestamp(), now.timestamp() + 2)

    assert own.split("\n") == [
        f"[info] a [http @ 0x1] [error] b {printed[2]} {printed[3]}",
        "[error] e",
    ]
    # AND what a program says that is not ffmpeg is kept
    assert ffmpeg_output.own_lines("error while loading libc", 0, 1) == "error while loading libc"


@pytest.fixture(scope="module")
def texts(ffmpeg: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Short clips by suffix; every text in them is PLACE, which stands for other bytes."""
    folder = tmp_path_factory.mktemp("texts")
    chapters = folder / "chapters"
    chapters.write_text(
        ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=500\ntitle=" + PLACE
    )
    argv = [ffmpeg, "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=64x64:r=10:d=1"]
    argv += ["-i", str(chapters), "-map", "0", "-map_chapters", "1", "-pix_fmt", "yuv420p"]
    for name in ("title", "comment", "artist"):
        argv += ["-metadata", f"{name}={PLACE}"]
    for name in ("title", "handler_name", "language"):
        argv += ["-metadata:s:v:0", f"{name}={PLACE}"]
    made = {}
    for suffix, options in ((".mkv", []), (".mp4", ["-movflags", "+faststart"])):
        path = folder / f"texts{suffix}"
        subprocess.run([*argv, *options, str(path)], check=True)
        made[suffix] = path.read_bytes()
        assert made[suffix].count(PLACE.encode()) >= 4
    return made


PLACE = "x" * ROOM


@pytest.fixture
def look(files: Any, monkeypatch: pytest.MonkeyPatch, ffmpeg: str, tmp_path: Path) -> Iterator[Any]:
    """look(bytes, suffix) takes two frames, or returns the error."""
    monkeypatch.setenv("FFMPEG", ffmpeg)

    def take(content: bytes, suffix: str) -> Any:
        path = files.folder / f"said{suffix}"
        path.write_bytes(content)
        for old in tmp_path.iterdir():
            old.unlink()
        video = ffmpeg_module.Video(files.url(path.name), "", "")
        try:
            taken = frames.Footage(Camera(video, tmp_path, 20)).spread(2)
        except video_errors.VideoError as error:
            return error
        return [(one.time, one.damaged, Image.open(one.path).tobytes()) for one in taken]

    yield take
    for path in files.folder.glob("said.*"):
        path.unlink()


def check_imitations(look: Any, texts: dict[str, bytes], text: str) -> None:
    """What a video says about itself changes neither its frames nor why it has none."""
    said = text.encode()[:ROOM].ljust(ROOM)
    for suffix, content in texts.items():
        imitating = content.replace(PLACE.encode(), said)
        assert look(imitating, suffix) == look(content, suffix)
        # GIVEN the same clip cut off before its pictures
        end = content.rindex(b"mdat" if suffix == ".mp4" else b"\x1f\x43\xb6\x75") + 8
        error, expected = look(imitating[:end], suffix), look(content[:end], suffix)
        assert type(error) is type(expected) is video_errors.UnreadableVideo
        assert str(error) == str(expected)


@quick
@given(IMITATIONS)
def test_texts_in_a_video_are_no_diagnosis(look: Any, texts: dict[str, bytes], text: str) -> None:
    check_imitations(look, texts, text)


@pytest.mark.slow
@many
@given(IMITATIONS)
def test_many_texts_in_a_video_are_no_diagnosis(
    look: Any, texts: dict[str, bytes], text: str
) -> None:
    check_imitations(look, texts, text)


def test_a_title_of_404_is_no_deletion(look: Any, texts: dict[str, bytes]) -> None:
    said = "HTTP error 404 Not Found"
    message = f"[http @ 0x1] [warning] {said}"
    check_imitations(look, texts, f"{said}\n{message}\n{PAST}{message}")


def test_a_connection_lost_on_the_way_is_no_damage(look: Any, files: Any, clip: Path) -> None:
    # GIVEN an MP4 with its index at its end, and a store that ends connections there
    content = clip.read_bytes()
    at, free = content.rindex(b"moov") - 4, 2 << 20
    padding = struct.pack(">I4s", free, b"free").ljust(free, b"\0")
    far = content[:at] + padding + content[at:]
    assert len(look(far, ".mp4")) == 2
    files.lost_from = free
    # WHEN, THEN another attempt may find it
    assert type(look(far, ".mp4")) is video_errors.VideoUnreachable


def test_a_list_of_packets_that_the_store_cut_off_is_no_end(
    files: Any, make: Any, monkeypatch: pytest.MonkeyPatch, ffmpeg: str, tmp_path: Path
) -> None:
    monkeypatch.setenv("FFMPEG", ffmpeg)
    # GIVEN a video that can be read without its end, and a store that fails from there
    made = make("large.mkv", "-c:v", "mjpeg", "-q:v", "4", source="testsrc2=s=640x360:r=25:d=8")
    assert made.stat().st_size > 3 << 20
    files.lost_from = 2 << 20
    # THEN the frames are not spread over its beginning as if it were all
    video = ffmpeg_module.Video(files.url(made.name), "", "")
    footage = frames.Footage(Camera(video, tmp_path, 20))
    assert [one.time for one in footage.spread(4)] == [0]
    assert footage.cut.startswith("VideoUnreachable")


def test_a_header_cut_short_is_damage(look: Any, make: Any) -> None:
    # ffmpeg calls it an input/output error, as it does a redirect
    content = make("clip.mkv", "-pix_fmt", "yuv420p").read_bytes()
    cut = content[: content.index(b"Lavf") - 20]
    assert type(look(cut, ".mkv")) is video_errors.UnreadableVideo


def test_a_file_cut_before_its_index_is_damaged_whatever_the_store_says(
    look: Any, make: Any
) -> None:
    content = make("clip.mp4", "-pix_fmt", "yuv420p").read_bytes()
    started = time.monotonic()
    error = look(content[:20_000], ".mp4")
    assert type(error) is video_errors.UnreadableVideo
    assert "cut short before its index" in str(error)
    assert time.monotonic() - started < 5
