"""Which picture is taken: streams, damage, key frames, memory; real ffmpeg over real HTTP."""

from __future__ import annotations

import os
import re
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import ffmpeg as ffmpeg_module
import ffmpeg_output
import frames
import pytest
import video_errors
from camera import Camera
from PIL import Image, ImageChops, ImageStat

ENCODERS = {
    "h264": "-c:v libx264 -g 10 -x264-params scenecut=0",
    "slices": "-c:v libx264 -g 10 -x264-params scenecut=0:slices=4",
    "mpeg4": "-c:v mpeg4 -g 10 -q:v 3",
    "mpeg2": "-c:v mpeg2video -g 10 -r 25 -q:v 3",
    "mjpeg": "-c:v mjpeg -q:v 3",
}
PATTERN = "testsrc2=s=320x240:r=10:d=4"
# Packets so large that damage is noticed.
NOISY = "testsrc2=s=320x240:r=10:d=2,noise=alls=40:allf=t"


@pytest.fixture(autouse=True)
def _binary(monkeypatch: pytest.MonkeyPatch, ffmpeg: str) -> None:
    monkeypatch.setenv("FFMPEG", ffmpeg)


def film(files: Any, name: str, folder: Path, seconds: float = 20) -> frames.Footage:
    return frames.Footage(Camera(ffmpeg_module.Video(files.url(name), "", ""), folder, seconds))


def damage(path: Path, target: Path, ffmpeg: str, *numbers: int) -> None:
    """Overwrite a quarter of these packets of an MP4, in decoding order, in its middle."""
    command = [ffmpeg, "-i", str(path), "-map", "0:v", "-c", "copy", "-bsf:v", "showinfo"]
    listing = subprocess.run([*command, "-f", "null", "-"], capture_output=True, text=True).stderr
    sizes = [int(size) for size in re.findall(r"n: *\d+ size: *(\d+)", listing)]
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    for number in numbers or range(len(sizes)):
        size = sizes[number]
        at = start + sum(sizes[:number]) + size // 2
        data[at : at + size // 4] = bytes(index * 37 % 256 for index in range(size // 4))
    target.write_bytes(data)


def still(path: Path, at: float, target: Path, ffmpeg: str) -> Path:
    """The picture of an undamaged video at a time."""
    command = [ffmpeg, "-v", "error", "-y", "-ss", str(at), "-i", str(path), "-frames:v", "1"]
    subprocess.run([*command, "-q:v", "2", "-update", "1", str(target)], check=True)
    return target


def difference(one: Path, other: Path) -> float:
    with Image.open(one) as a, Image.open(other) as b:
        return float(ImageStat.Stat(ImageChops.difference(a.convert("L"), b.convert("L"))).mean[0])


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_damaged_first_picture_is_not_the_last_word(
    files: Any, make: Any, ffmpeg: str, tmp_path: Path, kind: str
) -> None:
    # GIVEN a video whose first key frame is damaged
    whole = make(
        f"whole-{kind}.mp4", *ENCODERS[kind].split(), "-pix_fmt", "yuv420p", source=PATTERN
    )
    damage(whole, whole.parent / f"damaged-{kind}.mp4", ffmpeg, 0)
    # WHEN its first frame is taken, THEN it is a later one, whole, with its own time
    frame = film(files, f"damaged-{kind}.mp4", tmp_path).first()
    assert 0 < frame.time <= 1.2
    assert not frame.damaged
    assert difference(frame.path, still(whole, frame.time, tmp_path / "still.jpg", ffmpeg)) < 1.5


def test_a_whole_first_picture_before_damage_is_taken(
    files: Any, make: Any, ffmpeg: str, tmp_path: Path
) -> None:
    whole = make("whole-h264.mp4", *ENCODERS["h264"].split(), "-pix_fmt", "yuv420p", source=PATTERN)
    damage(whole, whole.parent / "second.mp4", ffmpeg, 1, 2, 3)
    frame = film(files, "second.mp4", tmp_path).first()
    assert (frame.time, frame.damaged) == (0, False)


@pytest.mark.parametrize("source", [PATTERN, "testsrc2=s=320x240:r=10:d=0.4"])
def test_if_all_groups_are_damaged_the_first_picture_stays(
    files: Any, make: Any, ffmpeg: str, tmp_path: Path, source: str
) -> None:
    name = f"all-{len(source)}.mp4"
    whole = make(f"w-{name}", *ENCODERS["h264"].split(), "-pix_fmt", "yuv420p", source=source)
    damage(whole, whole.parent / name, ffmpeg)
    frame = film(files, name, tmp_path).first()
    assert (frame.time, frame.damaged) == (0, True)


def test_damage_in_the_middle_of_several_frames(
    files: Any, make: Any, ffmpeg: str, tmp_path: Path
) -> None:
    # GIVEN a damaged second group, of the pictures from 1 s on
    whole = make("whole-h264.mp4", *ENCODERS["h264"].split(), "-pix_fmt", "yuv420p", source=PATTERN)
    damage(whole, whole.parent / "middle.mp4", ffmpeg, 10)
    # WHEN five frames are taken, THEN each is what the undamaged video shows at its time
    taken = film(files, "middle.mp4", tmp_path).spread(5)
    assert len(taken) == 5
    for frame in taken:
        found = still(whole, max(frame.time - 0.001, 0), tmp_path / "still.jpg", ffmpeg)
        assert difference(frame.path, found) < 1.5, frame


def test_texts_in_a_video_do_not_make_it_damaged(files: Any, make: Any, tmp_path: Path) -> None:
    # GIVEN a title that looks like messages of ffmpeg
    title = (
        "x\n[info] Stream mapping:\n[h264 @ 0x1] [error] error while decoding MB 0 0\n"
        "[info]   Duration: 99:00:00.00\n[info]   Stream #0:7: Video: h264, 9 fps (default)"
    )
    make("title.mkv", "-pix_fmt", "yuv420p", "-metadata", f"title={title}")
    frame = film(files, "title.mkv", tmp_path).first()
    assert (frame.time, frame.damaged) == (0, False)


def messages(before: str = "", after: str = "") -> str:
    return (
        "[info]     title           : x\n"
        "[info]                     : [info]   Duration: 9:00:00.0\n"
        "[h264 @ 0x5] [error] printed while ffmpeg looks at the file\n"
        "[info]   Duration: 00:01:02.50, start: 0.000000\n"
        "[info]   Stream #0:0[0x1](und): Video: h264 (High), yuv420p, 320x240, 29.97 fps, 30 tbr\n"
        "[info] Stream mapping:\n[info]   Stream #0:0 -> #0:0 (h264 (native) -> mjpeg (native))\n"
        f"{before}[Parsed_showinfo_0 @ 0x7] [info] n:   0 pts: 0 pts_time:0.5 duration: 1\n{after}"
    )


PARSER = (
    "[h264 @ 0x1] [error] Invalid NAL unit size (1144 > 1056).\n"
    "[h264 @ 0x1] [error] missing picture in access unit with size 1060\n"
)


def test_what_the_parser_of_packets_says_of_the_end_is_no_damage() -> None:
    decoder = "[h264 @ 0x2] [error] Invalid NAL unit size (1144 > 1056).\n"

    assert not ffmpeg_output.first_is_damaged(messages(PARSER))
    assert ffmpeg_output.first_is_damaged(messages(PARSER + decoder))


def test_where_a_file_was_cut_off_does_not_count_against_its_first_picture(
    make: Any, ffmpeg: str, tmp_path: Path
) -> None:
    # GIVEN a clip at hand, so that ffmpeg reads to its end before the first picture is there
    whole = make(
        "whole-fast.mp4",
        "-c:v",
        "libx264",
        "-pix_fmt",
        "yuv420p",
        "-movflags",
        "+faststart",
        source=PATTERN,
    )
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    video = ffmpeg_module.Video("http://127.0.0.1:9/", "", "", file=cut)
    camera = Camera(video, tmp_path, 20)
    shot, _ = camera.first()

    # WHEN the decoder complained of something ahead, and the picture is looked at alone
    again = camera.whole(replace(shot, damaged=True))

    assert (round(again.appears, 3), again.damaged) == (0, False)


@pytest.mark.parametrize(("seek", "is_damaged"), [(0.35, False), (0.15, True)])
def test_only_damage_in_what_a_picture_is_made_from_counts(
    make: Any, ffmpeg: str, tmp_path: Path, seek: float, is_damaged: bool
) -> None:
    # GIVEN pictures at ten a second, decoded in the order 0, 4, 2, 1, 3 ..., of which 2 is damaged.
    # The decoder comes to it before it gives out 4, which is not made from it.
    options = ("-c:v", "libx264", "-bf", "3", "-b_strategy", "0", "-g", "99", "-sc_threshold", "0")
    whole = make("one-group.mp4", *options, "-pix_fmt", "yuv420p", source=NOISY)
    damage(whole, tmp_path / "damaged.mp4", ffmpeg, 2)
    video = ffmpeg_module.Video("http://127.0.0.1:9/", "", "", file=tmp_path / "damaged.mp4")

    shot = Camera(video, tmp_path, 20).shot(seek)

    assert shot is not None
    assert round(shot.appears, 2) == pytest.approx(seek + 0.05)
    assert shot.damaged is is_damaged


@pytest.mark.parametrize(
    ("line", "damaged"),
    [
        ("[h264 @ 0x1] [error] error while decoding MB 0 22\n", True),
        ("[vist#0:0/h264 @ 0x1] [dec:h264 @ 0x2] [warning] corrupt decoded frame\n", True),
        ("[vist#0:0/h264 @ 0x1] [dec:h264 @ 0x2] [error] Error submitting packet\n", True),
        ("[h264 @ 0x1] [warning] Increasing reorder buffer\n", False),
        ("[info]     comment         : [h264 @ 0x1] [error] x\n", False),
        ("[mov,mp4 @ 0x1] [error] of the container\n", False),
        ("[mjpeg @ 0x1] [error] of the encoder\n", False),
        ("", False),
    ],
)
def test_which_messages_mean_damage(line: str, damaged: bool) -> None:
    assert ffmpeg_output.first_is_damaged(messages(line)) == damaged
    assert not ffmpeg_output.first_is_damaged(messages(after=line))


def test_the_probe_is_not_read_from_metadata_of_the_video() -> None:
    probe = ffmpeg_output.parse_probe(messages())
    assert (probe.duration, probe.start) == (62.5, 0.5)
    assert probe.streams == (ffmpeg_output.Stream(0, 29.97, False, False),)


@pytest.mark.parametrize("codec", ["h264", "mpeg2", "hevc"])
def test_a_transport_stream_that_starts_in_a_group(
    files: Any, make: Any, videos: Path, ffmpeg: str, tmp_path: Path, codec: str
) -> None:
    # GIVEN a recording cut where it happened to be, in an open group of pictures
    hevc = "-c:v libx265 -x265-params log-level=none:keyint=10:open-gop=1"
    options = {**ENCODERS, "hevc": hevc, "h264": "-c:v libx264 -x264-params keyint=10:open-gop=1"}
    whole = make(f"{codec}.ts", *options[codec].split(), "-pix_fmt", "yuv420p", source=PATTERN)
    data = whole.read_bytes()
    (videos / f"cut-{codec}.ts").write_bytes(data[len(data) // 7 // 188 * 188 :])
    # WHEN, THEN its first frame is one of the whole recording's pictures
    frame = film(files, f"cut-{codec}.ts", tmp_path).first()
    assert not frame.damaged
    stills = [still(whole, n / 10, tmp_path / f"{n}.jpg", ffmpeg) for n in range(4, 24)]
    assert min(difference(frame.path, one) for one in stills) < 1.5
    # AND further ones are found
    assert len(film(files, f"cut-{codec}.ts", tmp_path).spread(3)) == 3


@pytest.mark.parametrize("kind", ["mkv", "mp4"])
@pytest.mark.parametrize(
    ("first", "second", "seen"),
    [
        ("0", "default", "blue"),
        ("default", "0", "red"),
        ("0", "0", "red"),
        ("default", "default", "red"),
    ],
)
def test_the_stream_that_players_show(
    files: Any, videos: Path, ffmpeg: str, tmp_path: Path, kind: str, first: str, second: str,
    seen: str,
) -> None:  # fmt: skip
    # GIVEN a file whose two video streams are red and blue, the red one larger and longer
    name = f"two-{first}-{second}.{kind}"
    command = [ffmpeg, "-v", "error", "-y", "-f", "lavfi", "-i", "color=red:s=128x128:r=10:d=3"]
    command += ["-f", "lavfi", "-i", "color=blue:s=64x64:r=5:d=2", "-map", "0", "-map", "1"]
    command += ["-pix_fmt", "yuv420p", "-disposition:v:0", first, "-disposition:v:1", second]
    subprocess.run([*command, str(videos / name)], check=True)
    # WHEN, THEN all frames are of the stream that players show
    taken = film(files, name, tmp_path).spread(3)
    assert [color(frame.path) for frame in taken] == [seen] * 3
    assert taken[-1].time == pytest.approx(4 / 3 if seen == "blue" else 2, abs=0.01)


def color(path: Path) -> str:
    with Image.open(path) as image:
        red, _, blue = image.convert("RGB").resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
    return "red" if red > blue else "blue"


@pytest.mark.parametrize("kind", ["mkv", "mp4"])
def test_a_cover_is_never_a_frame(
    files: Any, videos: Path, ffmpeg: str, tmp_path: Path, kind: str
) -> None:
    # GIVEN a blue cover before a red video, and alone with sound
    cover = tmp_path / "cover.jpg"
    Image.new("RGB", (300, 300), "blue").save(cover)
    attach = ["-attach", str(cover), "-metadata:s:t", "mimetype=image/jpeg"]
    for name, source in (("cover", "color=red:s=64x64:r=10:d=1"), ("sound-only", "sine=d=1")):
        command = [ffmpeg, "-v", "error", "-y", "-f", "lavfi", "-i", source]
        if kind == "mp4":
            command += ["-i", str(cover), "-map", "1", "-map", "0", "-c:v:0", "copy"]
            command += ["-disposition:v:0", "attached_pic"]
        else:
            command += attach
        subprocess.run([*command, str(videos / f"{name}.{kind}")], check=True)
    # WHEN, THEN
    assert color(film(files, f"cover.{kind}", tmp_path).first().path) == "red"
    (tmp_path / "first.jpg").unlink()
    with pytest.raises(video_errors.NoVideoStream):
        film(files, f"sound-only.{kind}", tmp_path).first()


CONTAINERS = {
    "a.mts": "-c:v libx264 -f mpegts",
    "a.3gp": "-c:v libx264",
    "a.wmv": "-c:v wmv2",
    "a.flv": "-c:v flv",
    "a.f4v": "-c:v libx264",
    "a.ogv": "-c:v libtheora",
    "a.mxf": "-c:v mpeg2video -r 25",
    "a.h264": "-c:v libx264",
    "a.hevc": "-c:v libx265 -x265-params log-level=none",
    "a.m2v": "-c:v mpeg2video -r 25",
    "a.vob": "-c:v mpeg2video -r 25 -f vob",
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers(files: Any, make: Any, tmp_path: Path, name: str) -> None:
    make(
        name,
        *CONTAINERS[name].split(),
        "-pix_fmt",
        "yuv420p",
        source="testsrc2=s=176x144:r=25:d=2.5",
    )
    taken = film(files, name, tmp_path).spread(3)
    assert len(taken) == 3
    assert len({frame.path.read_bytes() for frame in taken}) == 3
    assert not any(frame.damaged for frame in taken)


@pytest.mark.parametrize("name", ["a.gif", "a.y4m", "a.nut", "a.ivf"])
def test_other_containers_are_refused_naming_those_that_are_read(
    files: Any, make: Any, tmp_path: Path, name: str
) -> None:
    codec = {"a.ivf": ["-c:v", "libvpx"]}.get(name, [])
    make(name, *codec, source="testsrc2=s=64x64:r=10:d=0.3")
    refusal = r"^it is not a video file that is read here\. Upload one of MP4, MOV"
    with pytest.raises(video_errors.UnreadableVideo, match=refusal):
        film(files, name, tmp_path).first()


def own_mb() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


@pytest.mark.parametrize(
    ("size", "encoder"),
    [  # libx265 takes 7 s for each clip
        pytest.param("7680x4320", "libx265", marks=pytest.mark.slow),
        pytest.param("8192x4096", "libx265", marks=pytest.mark.slow),
        ("7680x4320", "libsvtav1"),
    ],
)
def test_8k_video_fits_into_the_functions_memory(
    files: Any, make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: str, encoder: str
) -> None:
    # GIVEN half of the function's default memory, and the 90 MB that it needs for itself
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", str(own_mb() + 512 - 90))
    fast = "-preset ultrafast -x265-params log-level=none" if encoder == "libx265" else "-preset 12"
    name = f"{size}-{encoder}.mp4"
    options = ("-c:v", encoder, *fast.split(), "-pix_fmt", "yuv420p10le")
    make(name, *options, source=f"testsrc2=s={size}:r=25:d=0.2")
    # WHEN, THEN
    with Image.open(film(files, name, tmp_path).first().path) as image:
        assert "{}x{}".format(*image.size) == size


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 10])
def test_8k_vp9_fits_in_8_bits_and_is_refused_at_once_in_10(
    files: Any, make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bits: int
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", str(own_mb() + 512 - 90))
    name = f"vp9-{bits}.webm"
    options = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -lag-in-frames 0 -pix_fmt"
    pixels = "yuv420p" if bits == 8 else "yuv420p10le"
    make(name, *options.split(), pixels, source="testsrc2=s=7680x4320:r=25:d=0.12")
    if bits == 8:
        with Image.open(film(files, name, tmp_path).first().path) as image:
            assert image.size == (7680, 4320)
    else:
        with pytest.raises(video_errors.TooLittleMemory) as raised:
            film(files, name, tmp_path).first()
        assert not raised.value.retry


@pytest.mark.slow
def test_pictures_too_large_for_the_memory_of_the_function(
    files: Any, make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # GIVEN pictures for which ffmpeg needs more than 150 MB, and two groups of them
    options = ["-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le"]
    options += ["-x265-params", "log-level=error:keyint=5"]
    make("uhd.mp4", *options, source="testsrc2=s=3840x2160:r=25:d=0.4")
    # WHEN the function has less, THEN key frames are decoded by themselves
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", str(own_mb() + 230))
    assert len(film(files, "uhd.mp4", tmp_path).spread(5)) == 2
    # AND with less than one picture needs, ffmpeg is stopped but the function goes on
    need = own_mb() + 60
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", str(need))
    with pytest.raises(video_errors.TooLittleMemory, match=rf"{need} MB: .* Raise memory_mb"):
        film(files, "uhd.mp4", tmp_path).first()
    # AND with enough, nothing is left out
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", str(own_mb() + 450))
    assert len(film(files, "uhd.mp4", tmp_path).spread(5)) == 5


def test_a_store_that_fails_later_leaves_the_frames_taken(
    files: Any, clip: Path, tmp_path: Path
) -> None:
    footage = film(files, clip.name, tmp_path)
    footage.first()
    files.status = 400
    assert [frame.time for frame in footage.spread(5)] == [0]
    assert footage.cut.startswith("VideoUnreachable: ")
    # BUT another video or a missing permission is an error
    for status, error in ((412, video_errors.VideoChanged), (403, video_errors.VideoForbidden)):
        files.status = status
        with pytest.raises(error):
            footage.spread(5)


def test_a_second_look_costs_no_second_probing(
    files: Any, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[list[str]] = []
    run = ffmpeg_module.run

    def counted(argv: list[str], *rest: Any) -> tuple[int, str]:
        runs.append(argv)
        return run(argv, *rest)

    monkeypatch.setattr(ffmpeg_module, "run", counted)
    footage = film(files, clip.name, tmp_path)
    footage.first()
    assert len(runs) == 1
    assert [frame.time for frame in footage.spread(5)] == [0, 0.4, 0.8, 1.2, 1.6]
    assert len(runs) == 6  # the end of the stream, and each further frame


@pytest.mark.parametrize(
    ("seconds", "memory_mb", "error"),
    [(0.2, 0, video_errors.FfmpegTimeout), (20, 33, video_errors.TooLittleMemory)],
)
def test_what_stopped_ffmpeg_is_told_even_if_its_thread_is_slow(
    monkeypatch: pytest.MonkeyPatch, seconds: float, memory_mb: int, error: type[Exception]
) -> None:
    # GIVEN a busy machine, on which a thread waits for its turn after it has killed a process
    kill = os.killpg

    def kill_and_wait(group: int, number: int) -> None:
        kill(group, number)
        time.sleep(0.3)

    monkeypatch.setattr(os, "killpg", kill_and_wait)
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", str(memory_mb))
    with pytest.raises(error):
        ffmpeg_module.run(["sleep", "60"], "", seconds)


def test_a_run_that_has_no_time_left_tells_the_time_of_those_before(
    files: Any, clip: Path, tmp_path: Path
) -> None:
    # GIVEN an invocation that has time for one run of ffmpeg, and then less than none
    left = iter([20.0, -5.0])
    video = ffmpeg_module.Video(files.url(clip.name), "", "")
    camera = Camera(video, tmp_path, 20, allowed=lambda: next(left))
    assert camera.first()
    # THEN another one is not said to have had no time at all
    with pytest.raises(video_errors.FfmpegTimeout, match=r"ffmpeg was stopped after \d+ s"):
        camera.packets(0)
