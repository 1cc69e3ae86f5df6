"""Frame policy, keys, and frames that real ffmpeg takes from files on a real HTTP server."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import botocore
import ffmpeg as ffmpeg_module
import frames
import pytest
import video_errors
from camera import Camera
from PIL import Image


@pytest.fixture(autouse=True)
def _binary(monkeypatch: pytest.MonkeyPatch, ffmpeg: str) -> None:
    monkeypatch.setenv("FFMPEG", ffmpeg)


def take(files: Any, name: str, folder: Path, wanted: int = 1, seconds: float = 20) -> list[Any]:
    video = ffmpeg_module.Video(files.url(name), "", "")
    return frames.Footage(Camera(video, folder, seconds)).spread(wanted)


@pytest.mark.parametrize(
    ("wanted", "duration", "rate", "expected"),
    [
        (4, 8.0, 25.0, [0, 2, 4, 6]),
        (4, 8.0, None, [0, 2, 4, 6]),
        (8, 1.0, 2.0, [0, 0.5]),
        (8, 0.02, 25.0, [0]),
    ],
)
def test_times(wanted: int, duration: float, rate: float | None, expected: list[float]) -> None:
    assert frames.times(wanted, duration, rate) == expected


def test_frames_are_taken_at_their_times(files: Any, make: Any, tmp_path: Path) -> None:
    # GIVEN a video that is red for 1 s, then blue for 1 s
    source = "color=red:s=64x64:r=10:d=1[r];color=blue:s=64x64:r=10:d=1[b];[r][b]concat"
    make("redblue.mp4", "-pix_fmt", "yuv420p", source=source)
    # WHEN one, then four frames are taken
    (one,) = take(files, "redblue.mp4", tmp_path)
    four = take(files, "redblue.mp4", tmp_path, 4)
    # THEN they come from the times that the policy gives
    colors: list[Any] = [
        Image.open(frame.path).convert("RGB").getpixel((32, 32)) for frame in [one, *four]
    ]
    assert ["red" if c[0] > c[2] else "blue" for c in colors] == [
        "red",
        "red",
        "red",
        "blue",
        "blue",
    ]
    assert [frame.time for frame in four] == [0, 0.5, 1, 1.5]
    assert [frame.index for frame in four] == [0, 1, 2, 3]
    full = colors[0]
    assert full[0] > 245  # full range; mistaking it for limited range would wash it out
    assert max(full[1:]) < 12


SLIDES = {"red": (254, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 254)}


def slide_show(folder: Path, ffmpeg: str, name: str, seconds: dict[str, int]) -> Path:
    """A video with one picture per color, shown for that many seconds, as editors write it."""
    sources = [f"color={color}:s=64x64:r=1:d=1" for color in seconds]
    inputs = [word for source in sources for word in ("-f", "lavfi", "-i", source)]
    starts = [sum(list(seconds.values())[:index]) for index in range(len(seconds))]
    at = "+".join(f"eq(N\\,{index})*{start}" for index, start in enumerate(starts))
    long = "+".join(f"eq(N\\,{index})*{span}" for index, span in enumerate(seconds.values()))
    times = f"setts=pts=({at})/TB:dts=({at})/TB:duration=({long})/TB"
    chain = f"{''.join(f'[{index}]' for index in range(len(seconds)))}concat=n={len(seconds)}"
    command = [ffmpeg, "-v", "error", "-y", *inputs, "-filter_complex", chain, "-bf", "0"]
    command += ["-fps_mode", "passthrough"]
    options = ["-pix_fmt", "yuv420p", "-bsf:v", times, str(folder / name)]
    subprocess.run([*command, *options], check=True)
    return folder / name


def color(path: Path) -> str:
    pixel: Any = Image.open(path).convert("RGB").getpixel((32, 32))
    near = {
        c: sum(abs(a - b) for a, b in zip(pixel, rgb, strict=True)) for c, rgb in SLIDES.items()
    }
    return min(near, key=lambda name: near[name])


@pytest.mark.parametrize(
    ("name", "seconds", "seen"),
    [
        ("late.mp4", {"red": 1, "blue": 9}, ["red", "blue"]),
        ("early.mp4", {"red": 9, "blue": 1}, ["red", "blue"]),
        ("middle.mp4", {"red": 1, "green": 8, "blue": 1}, ["red", "green", "blue"]),
        ("last.mkv", {"red": 1, "green": 1, "blue": 8}, ["red", "blue"]),
    ],
)
def test_a_picture_that_stays_long_is_found(
    files: Any, videos: Path, ffmpeg: str, tmp_path: Path, name: str, seconds: Any, seen: list[str]
) -> None:
    # GIVEN a slide show with one frame per slide, each shown for seconds
    slide_show(videos, ffmpeg, name, seconds)
    # WHEN five frames are asked for
    taken = take(files, name, tmp_path, 5)
    # THEN they are what the video shows at those times, without repetitions
    assert [color(frame.path) for frame in taken] == seen
    assert [frame.index for frame in taken] == list(range(len(taken)))


@pytest.mark.parametrize("kind", ["mp4", "mkv", "avi", "mpg", "ts.mpeg"])
def test_frames_are_spread_over_the_video_stream_not_the_sound(
    files: Any, videos: Path, ffmpeg: str, tmp_path: Path, kind: str
) -> None:
    # GIVEN 2 s of video, first red and then blue, with 10 s of sound
    name = f"sound-goes-on.{kind}"
    source = "color=red:s=64x64:r=25:d=1[r];color=blue:s=64x64:r=25:d=1[b];[r][b]concat"
    command = [ffmpeg, "-v", "error", "-y", "-f", "lavfi", "-i", source]
    command += ["-f", "lavfi", "-i", "sine=d=10", "-pix_fmt", "yuv420p"]
    command += ["-f", "mpegts"] if kind.startswith("ts") else []
    subprocess.run([*command, str(videos / name)], check=True)
    # WHEN, THEN
    taken = take(files, name, tmp_path, 5)
    assert [round(frame.time, 1) for frame in taken] == [0, 0.4, 0.8, 1.2, 1.6]
    assert [color(frame.path) for frame in taken] == ["red"] * 3 + ["blue"] * 2


def test_a_video_that_starts_after_its_sound(
    files: Any, videos: Path, ffmpeg: str, tmp_path: Path
) -> None:
    command = [ffmpeg, "-v", "error", "-y", "-f", "lavfi", "-i", "sine=d=6", "-itsoffset", "4"]
    command += ["-f", "lavfi", "-i", "testsrc2=s=64x64:r=10:d=2", "-pix_fmt", "yuv420p"]
    subprocess.run([*command, str(videos / "starts-late.mkv")], check=True)
    taken = take(files, "starts-late.mkv", tmp_path, 4)
    assert len({frame.path.read_bytes() for frame in taken}) == 4


@pytest.fixture(scope="module")
def big(make: Any) -> Path:
    """A 38 MB video with a key frame each second and its index at the end."""
    noise = "testsrc2=s=640x360:r=30:d=20,noise=alls=60:allf=t"
    path: Path = make("big.mp4", "-preset", "ultrafast", "-b:v", "15M", "-g", "30", source=noise)
    assert path.stat().st_size > 20_000_000
    return path


def test_several_frames_of_a_large_file_are_cheap(files: Any, big: Path, tmp_path: Path) -> None:
    size = big.stat().st_size
    # WHEN three frames are taken, THEN less than 60 % of it is requested
    assert len(take(files, big.name, tmp_path, 3)) == 3
    assert files.served < size * 0.6, f"{files.served:,} of {size:,} bytes"


def test_one_frame_of_a_large_file_is_cheap(files: Any, big: Path, tmp_path: Path) -> None:
    size = big.stat().st_size
    # WHEN its first frame is taken, THEN less than a fifth of it is requested
    take(files, big.name, tmp_path)
    assert files.served < size / 5, f"{files.served:,} of {size:,} bytes"


def test_rotation_and_pixel_shape(
    files: Any, make: Any, clip: Path, tmp_path: Path, ffmpeg: str
) -> None:
    # GIVEN a clip rotated by 90 degrees in its header, as by phones, and an anamorphic clip
    turned = clip.parent / "turned.mp4"
    subprocess.run(
        [ffmpeg, "-v", "error", "-display_rotation", "90", "-i", clip, "-c", "copy", turned],
        check=True,
    )
    make("wide.mp4", "-vf", "setsar=2/1", "-pix_fmt", "yuv420p")
    # WHEN, THEN
    (frame,) = take(files, "turned.mp4", tmp_path)
    with Image.open(frame.path) as image:
        assert image.size == (240, 320)
    (frame,) = take(files, "wide.mp4", tmp_path)
    with Image.open(frame.path) as image:
        assert image.size == (640, 240)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("hdr.mov", "-c:v libx265 -pix_fmt yuv420p10le -color_trc smpte2084 -tag:v hvc1"),
        ("alpha.mov", "-c:v prores_ks -pix_fmt yuva444p10le"),
        ("odd.mkv", "-vf scale=321:241 -c:v ffv1 -pix_fmt gbrp16le"),
        ("gray.mkv", "-c:v ffv1 -pix_fmt gray"),
        ("old.avi", "-c:v mpeg4"),
        ("old.mpg", "-c:v mpeg2video -r 25"),
        ("new.mp4", "-c:v libsvtav1 -preset 12"),
        ("web.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8"),
        ("UPPER.MOV", "-c:v libx264 -f mov"),
    ],
)
def test_kinds_of_video(files: Any, make: Any, tmp_path: Path, name: str, options: str) -> None:
    make(name, *options.split(), source="testsrc2=s=320x240:r=10:d=0.5")
    for frame in take(files, name, tmp_path, 2):
        image = Image.open(frame.path)
        image.load()
        assert image.format == "JPEG"
        assert image.size in {(320, 240), (321, 241)}


def test_a_video_with_fewer_frames_than_requested(files: Any, make: Any, tmp_path: Path) -> None:
    make("three.mp4", "-pix_fmt", "yuv420p", source="testsrc2=s=64x64:r=2:d=1.5")
    assert len(take(files, "three.mp4", tmp_path, 8)) == 3


def test_a_video_of_unknown_length(files: Any, ffmpeg: str, videos: Path, tmp_path: Path) -> None:
    # GIVEN a recording without a length in its header, as browsers write to a pipe
    source = ["-f", "lavfi", "-i", "testsrc2=s=64x64:r=10:d=3"]
    encode = ["-c:v", "libvpx", "-deadline", "realtime", "-f", "webm", "-"]
    made = subprocess.run([ffmpeg, "-v", "error", *source, *encode], stdout=-1, check=True)
    (videos / "live.webm").write_bytes(made.stdout)
    # WHEN, THEN there is one frame per second until it ends
    taken = take(files, "live.webm", tmp_path, 5)
    assert [frame.time for frame in taken] == [0, 1, 2]
    assert len({frame.path.read_bytes() for frame in taken}) == 3


def test_a_truncated_but_readable_video(
    files: Any, clip: Path, ffmpeg: str, tmp_path: Path
) -> None:
    fast = clip.parent / "fast.mp4"
    options = ("-c", "copy", "-movflags", "+faststart")
    subprocess.run([ffmpeg, "-v", "error", "-y", "-i", clip, *options, fast], check=True)
    (clip.parent / "cut.mp4").write_bytes(fast.read_bytes()[: fast.stat().st_size * 6 // 10])
    assert 1 < len(take(files, "cut.mp4", tmp_path, 8)) < 8


def test_a_cut_avi_takes_as_long_over_connections_of_either_kind(
    files: Any, make: Any, tmp_path: Path
) -> None:
    # GIVEN an AVI cut to two thirds, whose index would be past its end
    source = "testsrc2=s=640x360:r=25:d=8"
    whole = make("two-mb.avi", "-c:v", "mpeg4", "-q:v", "4", source=source)
    (whole.parent / "cut.avi").write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    times = []
    for files.closes in (False, True):
        # WHEN the store keeps connections open, or closes each
        started = time.monotonic()
        times.append([frame.time for frame in take(files, "cut.avi", tmp_path, 5, seconds=60)])
        # THEN nothing waits on one
        assert time.monotonic() - started < ffmpeg_module.STALL_S
    assert times[0] == times[1]
    assert len(times[0]) == 5


def make_bad_videos(clip: Path, make: Any) -> None:
    folder = clip.parent
    (folder / "no-index.mp4").write_bytes(clip.read_bytes()[:20_000])
    (folder / "text.mp4").write_text("not a video\n" * 100)
    (folder / "random.mp4").write_bytes(bytes(range(256)) * 500)
    (folder / "photo.mp4").write_bytes(b"\x89PNG\r\n\x1a\n" + b"0" * 500)
    sound = make("sound.m4a", source="sine=d=1")
    (folder / "sound.mp4").write_bytes(sound.read_bytes())


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("no-index.mp4", video_errors.UnreadableVideo, "cut short before its index"),
        ("text.mp4", video_errors.UnreadableVideo, "not a video"),
        ("random.mp4", video_errors.UnreadableVideo, "not a video"),
        ("photo.mp4", video_errors.UnreadableVideo, "not a video"),
        ("sound.mp4", video_errors.NoVideoStream, "no video stream"),
    ],
)
def test_bad_videos(
    files: Any, clip: Path, make: Any, tmp_path: Path, name: str, error: Any, words: str
) -> None:
    make_bad_videos(clip, make)
    with pytest.raises(error, match=words) as raised:
        take(files, name, tmp_path)
    assert "SECRET" not in str(raised.value)
    assert "Upload" in str(raised.value)


def test_a_playlist_cannot_read_other_files(
    files: Any, clip: Path, make: Any, tmp_path: Path
) -> None:
    # GIVEN playlists, most of them disguised, that refer to a local file and to another URL
    folder = clip.parent
    other = files.url(make("segment.ts", "-pix_fmt", "yuv420p").name)
    lists = {
        "hls.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{other}\n#EXT-X-ENDLIST\n",
        "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{other}\n#EXT-X-ENDLIST\n",
        "hls.mov": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{clip}\n",
        "concat.mp4": f"ffconcat version 1.0\nfile '{clip}'\n",
        "sdp.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        "dash.mp4": f'<?xml version="1.0"?><MPD><Period><BaseURL>{other}</BaseURL></Period></MPD>',
    }
    for name, text in lists.items():
        (folder / name).write_text(text)
        # WHEN, THEN it is refused, and only the object itself was requested
        with pytest.raises(video_errors.UnreadableVideo):
            take(files, name, tmp_path)
        assert set(files.paths) == {name}
        files.paths.clear()


def test_no_local_file_is_opened_whatever_the_format(
    files: Any, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN an ffmpeg that reads playlists
    monkeypatch.setattr(ffmpeg_module, "FORMATS", f"hls,{ffmpeg_module.FORMATS}")
    segment = make("segment.ts", "-pix_fmt", "yuv420p")

    def frames_of(place: str) -> int:
        (tmp_path / "first.jpg").unlink(missing_ok=True)
        text = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:2,\n{place}\n#EXT-X-ENDLIST\n"
        segment.with_name("list.m3u8").write_text(text)
        return len(take(files, "list.m3u8", tmp_path))

    # WHEN one names a URL, THEN it is read; WHEN it names a local file, THEN it is not
    assert frames_of(files.url(segment.name)) == 1
    with pytest.raises(video_errors.VideoError):
        frames_of(f"file://{segment}")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (403, video_errors.VideoForbidden),
        (404, video_errors.VideoGone),
        (412, video_errors.VideoChanged),
        (400, video_errors.VideoUnreachable),
        (302, video_errors.VideoUnreachable),
        (416, video_errors.UnreadableVideo),  # the file ends before what its index names
    ],
)
def test_http_errors_of_the_store(
    files: Any, clip: Path, tmp_path: Path, status: int, error: Any
) -> None:
    files.status = status
    with pytest.raises(error) as raised:
        take(files, clip.name, tmp_path)
    assert "SECRET" not in str(raised.value)
    assert set(files.paths) == {clip.name}


def test_a_truncated_jpeg_is_not_a_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (64, 64)).save(path)
    assert ffmpeg_module.is_jpeg(path)
    path.write_bytes(path.read_bytes()[:-2])
    assert not ffmpeg_module.is_jpeg(path)
    assert not ffmpeg_module.is_jpeg(tmp_path / "none.jpg")


def test_urls_are_removed_from_messages() -> None:
    own = "https://b.s3.amazonaws.com/a%20b.mp4?X-Amz-Signature=SECRET"
    said = (
        f"Error opening input file {own}.\n[tcp] '{own.upper()}' http://other/?Signature=SECRET x"
    )
    assert ffmpeg_module.redact(said, own).count("SECRET") == 0
    assert ffmpeg_module.redact(said, own).endswith("x")


def test_pictures_over_the_pixel_limit(files: Any, make: Any, tmp_path: Path) -> None:
    make("huge.avi", "-c:v", "mjpeg", source="color=s=8200x4400:r=1:d=1")
    with pytest.raises(video_errors.TooLarge, match="more than 35,389,440 pixels"):
        take(files, "huge.avi", tmp_path)


def test_the_store_is_unreachable(tmp_path: Path) -> None:
    video = ffmpeg_module.Video("http://127.0.0.1:9/x.mp4?X-Amz-Signature=SECRET", "", "")
    with pytest.raises(video_errors.VideoUnreachable, match="refused") as raised:
        frames.Footage(Camera(video, tmp_path, 20)).first()
    assert "SECRET" not in str(raised.value)


def test_a_timeout_leaves_no_process(files: Any, clip: Path, tmp_path: Path) -> None:
    files.stall = 20
    started = time.monotonic()
    with pytest.raises(video_errors.FfmpegTimeout, match="after 1 s"):
        take(files, clip.name, tmp_path, seconds=1)
    assert time.monotonic() - started < 10
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    assert not [pid for pid in children if "ffmpeg" in Path(f"/proc/{pid}/comm").read_text()]


def test_ffmpeg_dies_with_its_splitter(files: Any, clip: Path, tmp_path: Path) -> None:
    # GIVEN a process that waits for ffmpeg, which waits for a silent store
    files.stall = 30
    code = f"""
import sys
sys.path.insert(0, {str(Path(ffmpeg_module.__file__).parent)!r})
import ffmpeg
video = ffmpeg.Video({files.url(clip.name)!r}, "", "")
ffmpeg.run(ffmpeg.command(video, 0, [{str(tmp_path / "a.jpg")!r}]), video.url, 60)
"""
    with subprocess.Popen([sys.executable, "-c", code]) as splitter:
        children = Path(f"/proc/{splitter.pid}/task/{splitter.pid}/children")
        deadline = time.monotonic() + 20
        while not files.paths:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        (child,) = children.read_text().split()
        # WHEN it is killed
        splitter.kill()
    # THEN ffmpeg ends as well
    deadline = time.monotonic() + 5
    while state_of(child) != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.02)


def state_of(pid: str) -> str:
    """The process's state, "Z" for one that has ended; the same if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


def test_frames_taken_before_time_runs_out_are_kept(files: Any, clip: Path, tmp_path: Path) -> None:
    # GIVEN a store so slow that time runs out after the first run of ffmpeg
    files.stall = 0.8
    footage = frames.Footage(Camera(ffmpeg_module.Video(files.url(clip.name), "", ""), tmp_path, 3))
    assert [frame.time for frame in footage.spread(5)] == [0]
    assert "FfmpegTimeout: ffmpeg was stopped after 3 s" in footage.cut


def test_a_long_file_without_an_index_keeps_the_frames_taken(
    files: Any, make: Any, tmp_path: Path
) -> None:
    # GIVEN 20 MB of raw H.264, which must be read from its start, in requests of 1 MiB
    options = "-vf noise=alls=50:allf=t -c:v libx264 -preset ultrafast -qp 20"
    made = make("long.h264", *options.split(), source="testsrc2=s=320x240:r=25:d=12")
    assert made.stat().st_size > 18 << 20
    # WHEN time runs out in the middle of the file
    files.stall = 0.2
    footage = frames.Footage(Camera(ffmpeg_module.Video(files.url(made.name), "", ""), tmp_path, 3))
    taken = [frame.time for frame in footage.spread(8)]
    # THEN the frames up to there are kept
    assert 2 <= len(taken) < 8
    assert taken == list(range(len(taken)))
    assert "FfmpegTimeout: ffmpeg was stopped after 3 s" in footage.cut


def test_a_missing_ffmpeg(files: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FFMPEG", "/nowhere/ffmpeg")
    with pytest.raises(video_errors.FfmpegFailed, match=r"install_ffmpeg\.sh"):
        take(files, "clip.mp4", tmp_path)


def test_ffmpeg_does_not_get_the_functions_credentials(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    monkeypatch.setenv("OTHER", "kept")
    out = tmp_path / "env"
    ffmpeg_module.run(["sh", "-c", f"env > {out}"], "http://x", 5)
    assert "AWS_" not in out.read_text()
    assert "OTHER=kept" in out.read_text()


def test_https_is_verified(files: Any, clip: Path, tmp_path: Path) -> None:
    # GIVEN a server with a certificate for localhost that signs itself
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
        f"-addext subjectAltName=DNS:localhost -keyout {key} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    server = type(files)(clip.parent)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    url = f"https://localhost:{server.server_port}/clip.mp4"
    unrelated_cas = str(Path(botocore.__file__).parent / "cacert.pem")
    other = tmp_path / "other"
    other.mkdir()
    try:
        # WHEN the certificate is trusted, THEN the video is read, and otherwise it is not
        assert Camera(ffmpeg_module.Video(url, "", str(certificate)), tmp_path, 20).first()
        with pytest.raises(video_errors.VideoUnreachable, match="certificate verify failed"):
            Camera(ffmpeg_module.Video(url, "", unrelated_cas), other, 20).first()
    finally:
        server.shutdown()
        server.server_close()
