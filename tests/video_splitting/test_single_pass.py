"""One pass over a short clip gives the very frames that seeking gives; real ffmpeg over HTTP."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import ffmpeg as ffmpeg_module
import ffmpeg_output
import frames
import pytest
import single_pass
import video_errors
from camera import Camera
from ffmpeg_output import Listing, Packet

from tests.video_splitting.test_camera import damage
from tests.video_splitting.test_frames import slide_show

PATTERN = "testsrc2=s=320x240:r=25:d=3"
H264 = "-c:v libx264 -pix_fmt yuv420p"
# name: encoder options, source
CLIPS = {
    "plain.mp4": (H264, PATTERN),
    "ntsc.mov": (H264, "testsrc2=s=320x240:r=30000/1001:d=2.2"),
    "slow.mkv": (H264, "testsrc2=s=320x240:r=7:d=4"),
    "sixty.mkv": (H264, "testsrc2=s=320x240:r=60:d=1.3"),
    "short-groups.mp4": (f"{H264} -g 12", PATTERN),
    "many-b.mp4": (f"{H264} -bf 8 -b_strategy 0 -x264-params b-pyramid=normal", PATTERN),
    "many-b.mkv": (f"{H264} -bf 8 -b_strategy 0 -x264-params b-pyramid=normal", PATTERN),
    "interlaced.mp4": (f"{H264} -flags +ildct+ilme", PATTERN),
    "vfr.mp4": (f"{H264} -fps_mode vfr -vf select='not(mod(n\\,3))+not(mod(n\\,7))'", PATTERN),
    "vfr.mkv": (f"{H264} -fps_mode vfr -vf select='not(mod(n\\,3))+not(mod(n\\,7))'", PATTERN),
    "late.mp4": (f"{H264} -output_ts_offset 7.3", PATTERN),
    "late.mkv": (f"{H264} -output_ts_offset 7.3", PATTERN),
    "pieces.mp4": (f"{H264} -g 20 -movflags frag_keyframe+empty_moov", PATTERN),
    "web.webm": ("-c:v libvpx-vp9 -deadline realtime -cpu-used 8", PATTERN),
    "old.webm": ("-c:v libvpx -deadline good -cpu-used 5 -auto-alt-ref 1 -lag-in-frames 16",
                 PATTERN),
    "av1.mp4": ("-c:v libsvtav1 -preset 12 -svtav1-params lp=1", PATTERN),
    "mjpeg.mov": ("-c:v mjpeg -q:v 3", PATTERN),
    "prores.mov": ("-c:v prores_ks -pix_fmt yuva444p10le", "testsrc2=s=160x120:r=25:d=1"),
    "mpeg2.mkv": ("-c:v mpeg2video -bf 2 -q:v 3", PATTERN),
    "hdr.mov": ("-c:v libx265 -pix_fmt yuv420p10le -color_trc smpte2084 -tag:v hvc1 "
                "-x265-params log-level=none", PATTERN),
    "three.mp4": (H264, "testsrc2=s=320x240:r=2:d=1.5"),
    "wide.mp4": (f"{H264} -vf setsar=2/1", PATTERN),
}  # fmt: skip
# Where ffmpeg complains about pictures that refer to some before the key frame, or leaves them out,
# seeking takes a later picture. One pass has seen the earlier ones.
SEEKING_MISSES = {
    "open-gop.mp4": (f"{H264} -x264-params keyint=12:open-gop=1:scenecut=0", PATTERN),
    "open-gop.mkv": (f"{H264} -x264-params keyint=12:open-gop=1:scenecut=0", PATTERN),
    "open-hevc.mp4": (
        "-c:v libx265 -pix_fmt yuv420p -x265-params log-level=none:keyint=12:open-gop=1",
        PATTERN,
    ),
    "refresh.mp4": (f"{H264} -x264-params intra-refresh=1:keyint=25", PATTERN),
    "mpeg4.mp4": ("-c:v mpeg4 -bf 2 -q:v 3", PATTERN),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _binary(monkeypatch: pytest.MonkeyPatch, ffmpeg: str) -> None:
    monkeypatch.setenv("FFMPEG", ffmpeg)


class Runs:
    """Frames taken with and without a single pass, and what ffmpeg was started with."""

    def __init__(self, files: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files, self.folder = files, folder
        self.argv: list[list[str]] = []
        run = ffmpeg_module.run

        def counted(argv: list[str], *rest: Any) -> tuple[int, str]:
            self.argv.append(argv)
            return run(argv, *rest)

        monkeypatch.setattr(ffmpeg_module, "run", counted)

    def footage(self, path: Path, at_once: bool, seconds: float = 30) -> frames.Footage:
        """The video's frames; without its size, they are sought one by one."""
        size = path.stat().st_size if at_once else 0
        video = ffmpeg_module.Video(self.files.url(path.name), "", "", size=size)
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        return frames.Footage(Camera(video, folder, seconds, fetch=partial(self.fetch, video.url)))

    def fetch(self, url: str, target: Path) -> bool:
        """Write what the server has to `target`."""
        try:
            with urllib.request.urlopen(url) as answer:
                target.write_bytes(answer.read())
        except urllib.error.HTTPError:
            return False
        return True

    def compare(self, path: Path, wanted: int = 5) -> tuple[int, int]:
        """Check that a pass gives what seeking gives; return how often each started ffmpeg."""
        self.argv.clear()
        sought = seen(self.footage(path, False).spread(wanted))
        seeks = len(self.argv)
        self.argv.clear()
        taken = seen(self.footage(path, True).spread(wanted))
        assert [frame[:3] for frame in taken] == [frame[:3] for frame in sought]
        assert [n for n, frame in enumerate(taken) if frame[3] != sought[n][3]] == []
        return len(self.argv), seeks

    def shown(self, path: Path) -> list[tuple[float, bytes]]:
        """Every picture of the video and its time in seconds, decoded from its start."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        output = ["-fps_mode", "passthrough", str(folder / "%04d.jpg")]
        video = ffmpeg_module.Video(self.files.url(path.name), "", "")
        argv = ffmpeg_module.command(video, 0, output, ffmpeg_module.SHOWINFO)
        # ffmpeg.run would keep the head and the tail of so many messages alone.
        environment, begun = {**os.environ, "TZ": "UTC0"}, time.time()
        run = subprocess.run(argv, capture_output=True, text=True, check=True, env=environment)
        said = ffmpeg_output.own_lines(run.stderr, begun, time.time())
        pictures = [one.read_bytes() for one in sorted(folder.iterdir())]
        return list(zip(ffmpeg_output.parse_times(said), pictures, strict=True))


@pytest.fixture
def runs(files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(files, tmp_path, monkeypatch)


def seen(taken: list[frames.Frame]) -> list[tuple[int, float, bool, bytes]]:
    return [(one.index, one.time, one.damaged, one.path.read_bytes()) for one in taken]


def lists(path: Path) -> int:
    """How often ffmpeg lists the packets: Matroska's have no true times at first sight."""
    return 1 if path.suffix in {".mp4", ".mov"} else 2


@pytest.mark.parametrize("name", CLIPS)
def test_a_pass_gives_the_very_frames_that_seeking_gives(runs: Runs, make: Any, name: str) -> None:
    # GIVEN a short clip
    options, source = CLIPS[name]
    path = make(f"pass-{name}", *options.split(), source=source)
    # WHEN, THEN listing its packets and one pass give the same times and bytes as seeking
    assert runs.compare(path)[0] == lists(path) + 1


@pytest.mark.slow
@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("wanted", [2, 3, 10, 17])
def test_so_it_does_for_other_numbers_of_frames(
    runs: Runs, make: Any, name: str, wanted: int
) -> None:
    options, source = CLIPS[name]
    path = make(f"pass-{name}", *options.split(), source=source)
    assert runs.compare(path, wanted)[0] == lists(path) + 1


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("plain.mp4", 0.4),  # x264's usual pyramid: P B b b
        ("many-b.mkv", 0.7),
        ("vfr.mp4", 0.3),
        ("pieces.mp4", 0.4),
        ("hdr.mov", 0.4),  # HEVC
        ("three.mp4", 0.0),
    ],
)
def test_pictures_that_no_other_refers_to_are_not_decoded(
    runs: Runs, make: Any, name: str, least: float
) -> None:
    options, source = CLIPS[name]
    path = make(f"pass-{name}", *options.split(), source=source)
    pictures = len(runs.shown(path))

    runs.argv.clear()
    taken = runs.footage(path, True).spread(5)

    (argv,) = [argv for argv in runs.argv if "image2" in argv]
    hidden = sum(word.count("eq(n\\,") for word in argv if word.startswith("noise=drop="))
    assert least * pictures <= hidden <= pictures - len(taken)
    if not least:
        assert hidden == 0


def test_a_codec_in_which_ffmpeg_cannot_tell_is_decoded_whole(runs: Runs, make: Any) -> None:
    # GIVEN MPEG-4 Part 2 whose title makes it look like H.264
    options = "-c:v mpeg4 -q:v 3 -metadata title=avcC"
    path = make("pass-title.mp4", *options.split(), source=PATTERN)
    # WHEN, THEN it is listed again without asking
    assert runs.compare(path)[0] == 3
    assert [argv for argv in runs.argv if any(w.startswith("noise=drop=") for w in argv)] == []


@pytest.mark.parametrize("name", SEEKING_MISSES)
def test_a_pass_gives_what_the_video_shows_where_seeking_does_not(
    runs: Runs, make: Any, name: str
) -> None:
    # GIVEN a clip with key frames that ffmpeg cannot start from without complaints
    options, source = SEEKING_MISSES[name]
    path = make(f"pass-{name}", *options.split(), source=source)
    # WHEN, THEN its frames are those that the video shows at their times
    taken = seen(runs.footage(path, True).spread(10))
    assert [frame[1] for frame in taken] == [round(n * 0.3, 3) for n in range(10)]
    shown = runs.shown(path)
    for _, at_time, damaged, picture in taken:
        first = next(content for at, content in shown if at >= at_time - 0.001)
        assert (damaged, picture == first) == (False, True), at_time
    assert len(runs.argv) == lists(path) + 1


def test_the_second_look_is_one_pass(runs: Runs, clip: Path) -> None:
    # GIVEN the first frame
    footage = runs.footage(clip, True)
    footage.first()
    assert len(runs.argv) == 1
    # WHEN more are asked for, THEN they come with a list of the packets and one pass
    taken = seen(footage.spread(5))
    assert len(runs.argv) == 3
    assert taken == seen(runs.footage(clip, False).spread(5))


@pytest.mark.parametrize(
    "numbers", [(0,), (10,), *(pytest.param(n, marks=pytest.mark.slow) for n in ((24, 25), ()))]
)
def test_damage_is_left_to_seeking(
    runs: Runs, make: Any, ffmpeg: str, numbers: tuple[int, ...]
) -> None:
    options = "-c:v libx264 -pix_fmt yuv420p -g 10 -x264-params scenecut=0"
    whole = make("pass-whole.mp4", *options.split(), source="testsrc2=s=320x240:r=10:d=4")
    path = whole.parent / f"pass-damaged-{len(numbers)}{numbers[:1]}.mp4"
    damage(whole, path, ffmpeg, *numbers)
    once, seeks = runs.compare(path)
    assert once == seeks + 2


def test_a_truncated_clip(runs: Runs, clip: Path, ffmpeg: str) -> None:
    fast, cut = clip.parent / "pass-fast.mp4", clip.parent / "pass-cut.mp4"
    options = ("-c", "copy", "-movflags", "+faststart")
    subprocess.run([ffmpeg, "-v", "error", "-y", "-i", clip, *options, fast], check=True)
    cut.write_bytes(fast.read_bytes()[: fast.stat().st_size * 6 // 10])
    runs.compare(cut, 8)


@pytest.mark.parametrize(
    "name",
    [
        *("a.avi", "a.flv", "a.h264"),
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("a.ts", "a.mpg", "a.wmv", "a.mxf")),
    ],
)
def test_other_containers_are_sought(runs: Runs, make: Any, name: str) -> None:
    options = {"a.avi": "-c:v mpeg4", "a.flv": "-c:v flv", "a.wmv": "-c:v wmv2"}
    codec = "mpeg2video" if name in {"a.mpg", "a.mxf"} else "libx264"
    words = options.get(name, f"-c:v {codec}").split()
    path = make(f"pass-{name}", *words, "-pix_fmt", "yuv420p", source=PATTERN)
    once, seeks = runs.compare(path)
    assert once == seeks + 1  # the list, which says what the container is


def test_a_video_of_unknown_length(runs: Runs, videos: Path, ffmpeg: str) -> None:
    source = ["-f", "lavfi", "-i", "testsrc2=s=64x64:r=10:d=3"]
    encode = ["-c:v", "libvpx", "-deadline", "realtime", "-f", "webm", "-"]
    made = subprocess.run([ffmpeg, "-v", "error", *source, *encode], stdout=-1, check=True)
    (videos / "pass-live.webm").write_bytes(made.stdout)
    assert runs.compare(videos / "pass-live.webm") == (4, 2)


def test_an_edit_list_and_sound_that_starts_early_and_ends_late(
    runs: Runs, videos: Path, ffmpeg: str
) -> None:
    whole, path = videos / "pass-uncut.mp4", videos / "pass-edited.mp4"
    command = [ffmpeg, "-v", "error", "-y", "-f", "lavfi", "-i", "sine=d=6", "-itsoffset", "0.7"]
    command += ["-f", "lavfi", "-i", PATTERN, "-pix_fmt", "yuv420p", "-g", "30"]
    subprocess.run([*command, str(whole)], check=True)
    # WHEN it is cut without encoding, between key frames, THEN an edit list hides pictures
    cut = ["-ss", "1.3", "-i", str(whole), "-c", "copy", str(path)]
    subprocess.run([ffmpeg, "-v", "error", "-y", *cut], check=True)
    for video in (whole, path):
        assert runs.compare(video)[0] <= 3


@pytest.mark.parametrize("kind", ["mkv", "mp4"])
def test_the_stream_that_players_show(runs: Runs, videos: Path, ffmpeg: str, kind: str) -> None:
    path = videos / f"pass-two.{kind}"
    command = [ffmpeg, "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc=s=128x128:r=10:d=3"]
    command += ["-f", "lavfi", "-i", "testsrc2=s=64x64:r=5:d=2", "-map", "0", "-map", "1"]
    command += ["-pix_fmt", "yuv420p", "-disposition:v:0", "0", "-disposition:v:1", "default"]
    subprocess.run([*command, str(path)], check=True)
    # The list of the wrong stream, that of the right one, and the pass.
    assert runs.compare(path)[0] == 3


def test_a_rotated_clip(runs: Runs, clip: Path, ffmpeg: str) -> None:
    path = clip.parent / "pass-turned.mp4"
    turn = ["-display_rotation", "90", "-i", str(clip), "-c", "copy", str(path)]
    subprocess.run([ffmpeg, "-v", "error", "-y", *turn], check=True)
    assert runs.compare(path)[0] == 2


def test_pictures_that_change_their_size_are_sought(
    runs: Runs, videos: Path, ffmpeg: str, tmp_path: Path
) -> None:
    # GIVEN a recording in which the camera was turned, as browsers make it
    parts = []
    for number, size in enumerate(("320x240", "240x320")):
        part = tmp_path / f"{number}.ts"
        source = ["-f", "lavfi", "-i", f"testsrc2=s={size}:r=10:d=1.5", "-pix_fmt", "yuv420p"]
        subprocess.run([ffmpeg, "-v", "error", *source, "-c:v", "libx264", str(part)], check=True)
        parts.append(str(part))
    path = videos / "pass-sizes.mkv"
    join = ["-i", f"concat:{'|'.join(parts)}", "-c", "copy", str(path)]
    subprocess.run([ffmpeg, "-v", "error", "-y", *join], check=True)
    # WHEN, THEN
    once, seeks = runs.compare(path)
    assert once > seeks


def test_a_slide_show(runs: Runs, videos: Path, ffmpeg: str) -> None:
    path = slide_show(videos, ffmpeg, "pass-slides.mp4", {"red": 1, "green": 8, "blue": 1})
    runs.compare(path)


@pytest.mark.parametrize("error", [video_errors.FfmpegTimeout, video_errors.TooLittleMemory])
def test_a_pass_that_takes_too_long_or_too_much_leaves_time_for_seeking(
    runs: Runs, clip: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    expected = seen(runs.footage(clip, False).spread(5))
    run, allowed = ffmpeg_module.run, []

    def limited(argv: list[str], url: str, seconds: float, *rest: Any) -> Any:
        if "-copyts" in argv:
            allowed.append(seconds)
            if "-nofind_stream_info" not in argv:
                raise error("stopped")
        return run(argv, url, seconds, *rest)

    monkeypatch.setattr(ffmpeg_module, "run", limited)
    assert seen(runs.footage(clip, True, seconds=20).spread(5)) == expected
    assert allowed == pytest.approx([5, 5], abs=0.5)


def test_errors_of_the_store_are_those_of_seeking(runs: Runs, clip: Path) -> None:
    for status, error in ((403, "VideoForbidden"), (404, "VideoGone"), (412, "VideoChanged")):
        runs.files.status = status
        with pytest.raises(getattr(video_errors, error)):
            runs.footage(clip, True).spread(5)


def test_a_long_video_is_sought(runs: Runs, make: Any) -> None:
    # GIVEN a minute with a key frame each second: small, but decoding all of it takes long
    source = "testsrc2=s=640x360:r=30:d=60"
    options = ("-preset", "ultrafast", "-crf", "45", "-g", "30", "-pix_fmt", "yuv420p")
    path = make("pass-long.mp4", *options, source=source)
    once, seeks = runs.compare(path)
    assert once == seeks + 1
    # AND one whose size alone says so is not even listed
    footage = runs.footage(path, True)
    footage._camera.video = replace(footage._camera.video, size=6 << 20)
    runs.argv.clear()
    footage.spread(5)
    assert len(runs.argv) == seeks


def test_a_clip_is_fetched_once_and_ffmpeg_opens_nothing_else(runs: Runs, clip: Path) -> None:
    runs.files.paths.clear()
    runs.footage(clip, True).spread(5)
    assert runs.files.paths == [clip.name]
    for argv in runs.argv:
        assert argv[argv.index("-protocol_whitelist") + 1] == "fd"
        assert not any("SECRET" in word for word in argv)


def test_a_fetched_playlist_cannot_read_other_files(runs: Runs, clip: Path) -> None:
    path = clip.parent / "pass-list.mp4"
    for text in (f"#EXTM3U\n#EXTINF:5,\nfile://{clip}\n", f"ffconcat version 1.0\nfile '{clip}'\n"):
        path.write_text(text)
        with pytest.raises(video_errors.UnreadableVideo):
            runs.footage(path, True).spread(5)


def test_a_clip_that_cannot_be_fetched_is_read_by_ffmpeg(
    runs: Runs, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = seen(runs.footage(clip, False).spread(5))
    monkeypatch.setattr(runs, "fetch", lambda *_: False)
    runs.argv.clear()
    assert seen(runs.footage(clip, True).spread(5)) == expected
    assert len(runs.argv) == 2


def packets(count: int, group: int) -> Listing:
    made = [Packet(n, n + 1, n % group == 0, False) for n in range(count)]
    return Listing(Fraction(1, 25), tuple(made))


@pytest.mark.parametrize(
    ("count", "group", "pixels", "pass_pays"),
    [
        (75, 250, 1280 * 720, True),  # 3 s in one group: each seek decodes from the start
        (75, 25, 1920 * 1080, True),
        (500, 250, 1280 * 720, True),  # 20 s: each seek decodes 5 s on average
        (1500, 25, 1280 * 720, False),  # a minute with a key frame each second
        (250, 25, 3840 * 2160, False),  # large pictures: starting ffmpeg is worth few of them
        (250, 25, 320 * 240, True),
    ],
)
def test_when_a_pass_pays(count: int, group: int, pixels: int, pass_pays: bool) -> None:
    starts = [round(count * n / 5) + 13 * (n > 0) for n in range(5)]
    assert single_pass.pays(packets(count, group), starts, pixels, has_first=True) == pass_pays


def test_a_pass_that_skips_pictures_pays_for_longer_clips() -> None:
    listing, half = packets(200, 40), tuple(range(1, 200, 2))
    starts = [40 * n + 13 * (n > 0) for n in range(5)]

    assert not single_pass.pays(listing, starts, 1280 * 720, has_first=True)
    assert single_pass.pays(replace(listing, unreferenced=half), starts, 1280 * 720, has_first=True)


def test_what_is_skipped_is_known_by_its_time_and_not_wanted() -> None:
    listing = packets(6, 6)
    references = replace(listing, packets=tuple(listing.packets[n] for n in (0, 2, 4)))

    assert single_pass.unreferenced(listing, references) == (1, 3, 5)
    assert single_pass.unreferenced(listing, None) == ()
    same = replace(listing, packets=(*listing.packets, listing.packets[0]))
    assert single_pass.unreferenced(same, references) == ()

    known = replace(listing, unreferenced=(1, 3, 5))
    assert single_pass.skipped(known, [0, 3]) == (1, 5)
    many = replace(packets(9000, 250), unreferenced=tuple(range(1, 9000, 2)))
    assert len(single_pass.skipped(many, [0])) == single_pass.MOST_SKIPPED


def test_times_are_rounded_as_ffmpeg_does() -> None:
    unit = Fraction(1, 1000)
    assert [single_pass._units(n, unit) for n in (499, 500, 1500, -500, -1499)] == [0, 1, 2, -1, -1]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("[h264 @ 0x1] [error] error while decoding MB 0 22", True),
        ("[in#0/mov,mp4,m4a,3gp,3g2,mj2 @ 0x1] [error] Error during demuxing", True),
        ("[vist#0:0/h264 @ 0x1] [dec:h264 @ 0x2] [warning] corrupt decoded frame", True),
        ("[error] Error opening output files", True),
        ("[info]     title           : [h264 @ 0x1] [error] x", False),
        ("[h264 @ 0x1] [warning] Increasing reorder buffer", False),
    ],
)
def test_complaints(line: str, complaint: bool) -> None:
    assert ffmpeg_output.complains(f"[info] x\n{line}\n") == complaint
