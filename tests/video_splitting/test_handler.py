"""The whole splitter, from an S3 event through real ffmpeg and a recognizer to the outputs."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import io
import json
import os
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import botocore.session
import pytest
import recognizer
import store
import video_errors
from PIL import Image

from tests.faults.proxy import Request, breaking

FIRST = "a/output-00.jpg"  # of a.mp4, if several frames are taken


def log_lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_one_video(world: Any, callee: Any, clip: Path, scratch: Path, capsys: Any) -> None:
    # GIVEN a video in the input bucket
    world.put("test_00.mp4", clip)
    # WHEN S3's event arrives
    answer = world.handle("test_00.mp4")
    # THEN its first frame is in stage-1, with the metadata that the recognizer needs
    assert world.keys(world.stage) == ["test_00.jpg"]
    head = world.s3.head_object(Bucket=world.stage, Key="test_00.jpg")
    assert head["ContentType"] == "image/jpeg"
    assert head["Metadata"] == {
        "source-bucket": world.input,
        "source-key": "test_00.mp4",
        "source-etag": hashlib.md5(clip.read_bytes()).hexdigest(),
        "frame-index": "0",
        "frame-count": "1",
        "frame-time": "0",
        "frame-policy": "first",
    }
    body = world.s3.get_object(Bucket=world.stage, Key="test_00.jpg")["Body"].read()
    assert Image.open(io.BytesIO(body)).size == (320, 240)
    # AND the recognizer was called once, for that frame, and has written the text
    assert callee.payloads == [{"bucket_name": world.stage, "image_file_name": "test_00.jpg"}]
    assert world.keys(world.output) == ["test_00.txt"]
    assert answer == {
        "videos": [
            {
                "video": f"s3://{world.input}/test_00.mp4",
                "frames": 1,
                "looks": 1,
                "output_key": "test_00.txt",
            }
        ]
    }
    # AND each step has a log line with its time, and none contains the URL's credentials
    lines = log_lines(capsys)
    assert [line["step"] for line in lines] == [
        "start",
        "ffmpeg",
        "upload",
        "frames",
        "tidy",
        "invoke",
        "video",
    ]
    assert all(line["ms"] > 0 for line in lines[1:])
    assert "Signature" not in str(lines)
    # AND nothing is left on disk
    assert not list(scratch.iterdir())


@pytest.mark.parametrize(
    "key", ["a b+c.mp4", "folder/über größe 日本.mp4", "100%.mp4", "a%20b.mp4", "q?x=1&y#z.mp4"]
)
def test_any_key(world: Any, clip: Path, key: str) -> None:
    world.put(key, clip)
    world.handle(key)
    frame = key.removesuffix(".mp4") + ".jpg"
    assert world.keys(world.stage) == [frame]
    assert world.metadata(world.stage, frame)["source-key"] == quote(key)


def test_an_event_with_encoded_slashes(world: Any, clip: Path) -> None:
    world.put("a/b.mp4", clip)
    event = world.event("a/b.mp4")
    event["Records"][0]["s3"]["object"]["key"] = "a%2Fb.mp4"
    world.module.handler(event, _Context())
    assert world.keys(world.stage) == ["a/b.jpg"]


class _Context:
    def get_remaining_time_in_millis(self) -> int:
        return 60_000


def test_an_error_that_nobody_foresaw_names_its_video_and_spares_the_others(
    world: Any, monkeypatch: pytest.MonkeyPatch, clip: Path, capsys: Any
) -> None:
    world.put("odd.mp4", clip)
    world.put("sound.mp4", clip)
    inspect = store.inspect

    def odd(s3: Any, named: store.Source) -> store.Source:
        if named.key == "odd.mp4":
            raise KeyError("ContentLength")  # as for an answer whose headers were cut
        return inspect(s3, named)

    monkeypatch.setattr(store, "inspect", odd)
    with pytest.raises(world.module.Unforeseen) as error:
        world.handle("odd.mp4", "sound.mp4")
    assert str(error.value) == f"s3://{world.input}/odd.mp4: KeyError: 'ContentLength'"
    assert "Traceback" in capsys.readouterr().err
    assert world.keys(world.output) == ["sound.txt"]


def test_a_store_that_falls_silent_is_asked_again_within_ffmpegs_time(
    world: Any, clip: Path, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FFMPEG_TIMEOUT_S", "3")
    world.put("a.mp4", clip)
    asked: list[Request] = []

    def first(request: Request) -> str | None:
        if request.command != "GET" or "/a.mp4" not in request.path:
            return None
        asked.append(request)
        return "hang" if len(asked) == 1 else None

    with breaking(store_url, first) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
        assert len(world.handle("a.mp4")["videos"]) == 1
    assert len(asked) > 1
    assert world.text("a.txt") == "Ann"


EDITED = {
    "frame-count": ("1000000000", "101", "-1", "0", "many", ""),
    "frame-index": ("x", "-1"),
    "frame-time": ("nan", "inf", "soon"),
}


@pytest.mark.parametrize("frames", [1, 3])
def test_frames_whose_metadata_were_edited_are_made_again(
    world: Any, monkeypatch: pytest.MonkeyPatch, clip: Path, frames: int
) -> None:
    # GIVEN frames of this very video
    monkeypatch.setenv("FRAMES", str(frames))
    world.put("a.mp4", clip)
    world.handle("a.mp4")
    key = world.keys(world.stage)[0]
    found = world.s3.get_object(Bucket=world.stage, Key=key)
    body, plan = found["Body"].read(), store.Plan(frames)
    source = store.inspect(world.s3, store.Source(world.input, "a.mp4"))

    def kept(metadata: dict[str, str]) -> int:
        world.s3.put_object(Bucket=world.stage, Key=key, Body=body, Metadata=metadata)
        head = store.described(world.s3, world.stage, key)
        return len(store.kept_frames(world.s3, world.stage, source, plan, head))

    assert kept(found["Metadata"]) == frames
    # WHEN somebody has edited what they say, THEN they do not count
    for name, values in EDITED.items():
        for value in values:
            assert kept({**found["Metadata"], name: value}) == 0, (name, value)
    world.handle("a.mp4")
    assert world.metadata(world.stage, key) == found["Metadata"]


def test_events_without_videos(world: Any, callee: Any) -> None:
    test_event = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": world.input}
    assert world.module.handler(test_event, _Context()) == {"videos": []}
    assert world.module.handler({"Records": []}, _Context()) == {"videos": []}
    assert callee.payloads == []


@pytest.mark.parametrize("event", [{}, {"Records": [{"EventSource": "aws:sns", "Sns": {}}]}])
def test_events_from_other_sources(world: Any, event: dict[str, Any]) -> None:
    with pytest.raises(world.module.UnexpectedEvent, match="not from S3"):
        world.module.handler(event, _Context())


def test_every_record_is_tried(world: Any, clip: Path, scratch: Path) -> None:
    # GIVEN two good videos among three bad ones
    world.put("good1.mp4", clip)
    world.put("good2.mov", clip)
    world.put("empty.mp4", b"")
    world.put("text.mp4", b"only text" * 50)
    # WHEN one event names them all
    with pytest.raises(world.module.VideosFailed) as raised:
        world.handle("gone.mp4", "good1.mp4", "empty.mp4", "text.mp4", "good2.mov")
    # THEN the good ones were done and the error names the others with their reasons
    assert world.keys(world.stage) == ["good1.jpg", "good2.mov.jpg"]
    text = str(raised.value)
    assert text.startswith("3 of 5 videos failed.")
    assert f"VideoGone: s3://{world.input}/gone.mp4: it was deleted" in text
    assert f"EmptyVideo: s3://{world.input}/empty.mp4: it has no bytes" in text
    assert f"UnreadableVideo: s3://{world.input}/text.mp4: it is not a video" in text
    assert "good" not in text
    assert not list(scratch.iterdir())


def test_a_single_failure_is_raised_unchanged(world: Any, capsys: Any, scratch: Path) -> None:
    world.put("text.mp4", b"only text" * 50)
    with pytest.raises(
        video_errors.UnreadableVideo, match=f"^s3://{world.input}/text.mp4: "
    ) as raised:
        world.handle("text.mp4")
    output = capsys.readouterr().out
    assert "Signature" not in output + str(raised.value)
    assert json.loads(output.splitlines()[-1])["error"].startswith("UnreadableVideo")
    assert not list(scratch.iterdir())


def test_ffmpeg_runs_out_of_time(
    world: Any, clip: Path, monkeypatch: Any, tmp_path: Path, scratch: Path
) -> None:
    # GIVEN an ffmpeg that never ends, has a child process and writes half a file
    slow, nap = tmp_path / "slow", f"77.{uuid.uuid4().int}"
    slow.write_text(f'#!/bin/sh\nfor last; do :; done\necho half > "$last"\nsleep {nap} & wait\n')
    slow.chmod(0o755)
    monkeypatch.setenv("FFMPEG", str(slow))
    world.put("a.mp4", clip)
    # WHEN the invocation has 16 s left, of which 15 are reserved for a call and later steps
    with pytest.raises(video_errors.FfmpegTimeout, match=r"a.mp4: ffmpeg was stopped after 1 s"):
        world.handle("a.mp4", seconds=lambda: 16)
    # THEN no files and no processes are left
    assert not list(scratch.iterdir())
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue
        assert nap.encode() not in words


def test_no_time_is_left_for_ffmpeg(world: Any, clip: Path, monkeypatch: Any) -> None:
    # GIVEN an invocation that has only the time that is reserved for later steps
    monkeypatch.setenv("FFMPEG", "/nowhere")
    world.put("a.mp4", clip)
    # THEN ffmpeg is not started, and no message says that it was
    why = r"a.mp4: no time was left for ffmpeg. Raise FFMPEG_TIMEOUT_S and the function's timeout"
    with pytest.raises(video_errors.FfmpegTimeout, match=why):
        world.handle("a.mp4", seconds=lambda: 15)


def test_the_same_event_twice(world: Any, callee: Any, clip: Path, monkeypatch: Any) -> None:
    # GIVEN a video and its frame
    world.put("a.mp4", clip)
    world.handle("a.mp4")
    # WHEN the event comes again, and ffmpeg would fail
    monkeypatch.setenv("FFMPEG", "/nowhere")
    world.handle("a.mp4")
    # THEN the frame is reused, and the recognizer is called again
    assert callee.payloads[0] == callee.payloads[1]
    # BUT a new video with the same key is read
    world.put("a.mp4", clip.read_bytes() + b"\0" * 8)
    with pytest.raises(video_errors.FfmpegFailed):
        world.handle("a.mp4")


def test_frames_of_another_policy_are_made_again(world: Any, clip: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("FRAMES", "2")
    world.put("a.mp4", clip)
    world.handle("a.mp4")
    monkeypatch.setenv("FRAMES", "3")
    world.handle("a.mp4")
    times = [world.metadata(world.stage, key)["frame-time"] for key in world.keys(world.stage)]
    assert times == ["0", "0.667", "1.333"]


def test_several_frames(world: Any, callee: Any, clip: Path, monkeypatch: Any) -> None:
    # GIVEN 7 frames per video, 3 per call, and two people in the video
    monkeypatch.setenv("FRAMES", "7")
    callee.seconds = 0.2
    for index, name in enumerate(["Ann", "Bob", "Bob", "Unknown", "Ann", "Bob"]):
        callee.faces[f"x/a/output-0{index}.jpg"] = [callee.face(name, 0.5)]
    callee.faces["x/a/output-06.jpg"] = []
    world.put("x/a.mp4", clip)
    # WHEN
    answer = world.handle("x/a.mp4")
    # THEN all frames are there, ordered by time
    keys = [f"x/a/output-0{index}.jpg" for index in range(7)]
    assert world.keys(world.stage) == keys
    found = [world.metadata(world.stage, key) for key in keys]
    assert [float(item["frame-time"]) for item in found] == sorted(
        float(item["frame-time"]) for item in found
    )
    assert {item["frame-count"] for item in found} == {"7"}
    # AND every frame was sent once, in calls that write nothing, to one environment
    sent = [p["image_file_names"] for p in callee.payloads]
    assert sent == [keys[:3], keys[3:6], keys[6:]]
    assert callee.most_busy == 1
    # AND only the agreed name is written
    assert world.keys(world.output) == ["x/a.txt"]
    assert world.text("x/a.txt") == "Bob"
    assert answer["videos"][0]["output_key"] == "x/a.txt"
    summary = world.metadata(world.output, "x/a.txt")
    assert summary["name"] == "Bob"
    assert (summary["votes"], summary["frames"]) == ("3", "7")
    assert {name: summary[name] for name in callee.settings} == callee.settings
    assert summary["source-key"] == "x/a.mp4"
    # AND a second event gives the same without ffmpeg, and the recognizer computes nothing
    monkeypatch.setenv("FFMPEG", "/nowhere")
    callee.faces.clear()
    world.handle("x/a.mp4")
    assert [p["unchanged"] for p in callee.payloads[3:]] == [callee.settings] * 3
    assert world.text("x/a.txt") == "Bob"


def test_several_frames_of_a_clip_start_ffmpeg_twice(
    world: Any, clip: Path, ffmpeg: str, monkeypatch: Any, tmp_path: Path
) -> None:
    # GIVEN an ffmpeg that notes its starts
    noted = tmp_path / "noted"
    noting = tmp_path / "noting"
    noting.write_text(f'#!/bin/sh\necho "$*" >> {noted}\nexec {ffmpeg} "$@"\n')
    noting.chmod(0o755)
    monkeypatch.setenv("FFMPEG", str(noting))
    monkeypatch.setenv("FRAMES", "10")
    world.put("a.mp4", clip)
    # WHEN, THEN the clip is fetched once, its packets are listed, and one pass takes all frames
    world.handle("a.mp4")
    assert len(world.keys(world.stage)) == 10
    assert [" -protocol_whitelist fd " in line for line in noted.read_text().splitlines()] == [
        True,
        True,
    ]


def test_each_object_is_described_once(world: Any, clip: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("FRAMES", "2")
    world.put("a.mp4", clip)
    asked: list[str] = []
    name = "before-parameter-build.s3.HeadObject"
    world.module.s3().meta.events.register(name, lambda params, **_: asked.append(params["Key"]))
    world.handle("a.mp4")
    # The video is described again at the end, in case it was overwritten.
    # a.jpg is the frame of a deployment that kept one, a.jpg.faces.json what it kept beside it.
    names = ["a.jpg", "a.jpg.faces.json", "a.json", "a.mp4", "a.mp4", "a.txt", "a/output-00.jpg"]
    assert sorted(asked) == names


@pytest.mark.parametrize(("missing", "made"), [("", 2), ("RECOGNITION_FUNCTION", 2)])
def test_clients_are_made_while_the_environment_starts(
    world: Any, monkeypatch: Any, missing: str, made: int
) -> None:
    clients: list[str] = []
    create: Any = botocore.session.Session.create_client

    def counted(session: Any, service: str, **options: Any) -> Any:
        clients.append(service)
        return create(session, service, **options)

    monkeypatch.setattr(botocore.session.Session, "create_client", counted)
    if missing:
        monkeypatch.delenv(missing)
    # GIVEN no Lambda, THEN importing makes none
    world.module.__spec__.loader.exec_module(world.module)
    assert clients == []
    # GIVEN Lambda, THEN they are there before the first event
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "video-splitting")
    world.module.__spec__.loader.exec_module(world.module)
    assert clients == ["s3", "lambda"][:made]
    # AND a missing setting is an error of the event, which names it
    if missing:
        world.put("a.mp4", b"x")
        with pytest.raises(world.module.SettingsError, match=missing):
            world.handle("a.mp4")


@pytest.mark.parametrize("fails", [False, True])
def test_garbage_is_collected_after_init_however_it_ends(
    world: Any, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    during: list[bool] = []
    create: Any = botocore.session.Session.create_client

    def making(*words: Any, **options: Any) -> Any:
        during.append(gc.isenabled())
        return create(*words, **options) if not fails else 1 / 0

    monkeypatch.setattr(botocore.session.Session, "create_client", making)
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "video-splitting")
    with contextlib.suppress(ZeroDivisionError):
        world.module.__spec__.loader.exec_module(world.module)
    assert set(during) == {False}
    assert gc.isenabled()


def test_a_shorter_video_removes_what_a_longer_one_left(
    world: Any, clip: Path, make: Any, monkeypatch: Any
) -> None:
    # GIVEN the frames of a video and of one with a similar key, and texts of frames that an older
    # deployment left
    monkeypatch.setenv("FRAMES", "5")
    for key in ("a.mp4", "ab.mp4"):
        world.put(key, clip)
        world.handle(key)
    for index in range(5):
        source = world.metadata(world.stage, f"a/output-0{index}.jpg")
        if index == 3:  # index 3 was made from another video
            source["source-key"] = "a/output-03.mp4"
        place = {"Bucket": world.output, "Key": f"a/output-0{index}.txt"}
        world.s3.put_object(**place, Body=b"x", Metadata=source)
    world.s3.put_object(Bucket=world.output, Key="a/output-007b.txt", Body=b"by hand")
    # WHEN a video of two frames replaces the video
    short = make("two.mp4", "-pix_fmt", "yuv420p", source="testsrc2=s=64x64:r=2:d=1")
    world.put("a.mp4", short)
    assert world.handle("a.mp4")["videos"][0]["frames"] == 2
    # THEN only its own frames and text are left, and everything made from other keys
    stage = world.keys(world.stage)
    assert stage == [f"a/output-0{i}.jpg" for i in (0, 1)] + [
        f"ab/output-0{i}.jpg" for i in range(5)
    ]
    assert world.keys(world.output) == ["a.txt", "a/output-007b.txt", "a/output-03.txt", "ab.txt"]


def test_embeddings_of_an_older_version_are_removed(
    world: Any, clip: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("FRAMES", "2")
    world.put("a.mp4", clip)
    world.handle("a.mp4")
    own = world.metadata(world.stage, "a/output-00.jpg")
    old = {**own, "source-etag": "old"}
    other = {**old, "source-key": "b.mp4"}
    # GIVEN embeddings of this version, of an older one, and of a video with another key
    named = {"a.jpg": old, "a/output-00.jpg": own, "a/output-01.jpg": old, "a/output-03.jpg": other}
    named["a/output-07.jpg"] = own  # a second look removed its frame
    for frame, metadata in named.items():
        place = {"Bucket": world.stage, "Key": f"{frame}.faces.json"}
        world.s3.put_object(**place, Body=b"{}", Metadata=metadata)

    world.handle("a.mp4")

    kept = [key for key in world.keys(world.stage) if key.endswith(".faces.json")]
    assert kept == [f"a/output-0{index}.jpg.faces.json" for index in (0, 3, 7)]


def test_an_unchanged_agreed_name_is_not_rewritten(
    world: Any, callee: Any, clip: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("FRAMES", "2")
    world.keep_versions()
    world.put("a.mp4", clip)
    world.handle("a.mp4")
    before = world.versions(world.output)
    world.handle("a.mp4")
    assert world.versions(world.output) == before
    # BUT with another gallery the frames are recognized and the text is written again
    callee.settings["gallery"] = "other"
    callee.faces["a/output-00.jpg"] = []
    world.handle("a.mp4")
    assert len(world.versions(world.output)) == 2


def test_names_in_any_script(world: Any, callee: Any, clip: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("FRAMES", "2")
    for index in (0, 1):
        callee.faces[f"a/output-0{index}.jpg"] = [callee.face("Zoë 日", 0.1)]
    world.put("a.mp4", clip)
    world.handle("a.mp4")
    assert world.text("a.txt") == "Zoë 日"
    assert world.metadata(world.output, "a.txt")["name"] == quote("Zoë 日")


def test_an_error_of_the_callee_names_video_and_callee(world: Any, callee: Any, clip: Path) -> None:
    callee.script = [
        lambda _: (
            200,
            {"X-Amz-Function-Error": "Unhandled"},
            {"errorType": "GalleryMismatch", "errorMessage": "data.pt is for sface"},
        )
    ]
    world.put("a.mp4", clip)
    expected = r"s3://\S+/a.mp4: 'namer' raised GalleryMismatch on a.jpg: data.pt is for sface"
    with pytest.raises(recognizer.RecognitionFailed, match=expected):
        world.handle("a.mp4")


def test_the_invocation_is_denied(world: Any, callee: Any, clip: Path) -> None:
    refusal = {"Message": "not authorized to perform: lambda:InvokeFunction"}
    callee.script = [lambda _: (403, {"X-Amzn-ErrorType": "AccessDeniedException"}, refusal)]
    world.put("a.mp4", clip)
    with pytest.raises(world.module.StoreRefused, match=r"AccessDenied.*lambda:InvokeFunction"):
        world.handle("a.mp4")
    assert len(callee.payloads) == 1


def test_stage_1_is_missing(world: Any, clip: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("STAGE_1_BUCKET", "no-such-bucket-here")
    world.put("a.mp4", clip)
    with pytest.raises(world.module.StoreRefused, match=r"a.mp4: .*NoSuchBucket"):
        world.handle("a.mp4")


def test_a_video_is_overwritten_while_it_is_read(
    world: Any, clip: Path, ffmpeg: str, monkeypatch: Any, tmp_path: Path
) -> None:
    # GIVEN a video that is replaced after it was inspected and before it is read
    world.put("a.mp4", clip)
    inspect = world.module.store.inspect

    def overwrite_after_inspecting(s3: Any, named: Any) -> Any:
        seen = inspect(s3, named)
        world.put("a.mp4", clip.read_bytes() + b"\0" * 8)
        return seen

    monkeypatch.setattr(world.module.store, "inspect", overwrite_after_inspecting)
    # WHEN, THEN no frame of the new video is written with the old ETag
    with pytest.raises(video_errors.VideoChanged):
        world.handle("a.mp4")
    assert world.keys(world.stage) == []


def test_a_version_in_a_versioned_bucket(world: Any, clip: Path, monkeypatch: Any) -> None:
    world.s3.put_bucket_versioning(
        Bucket=world.input, VersioningConfiguration={"Status": "Enabled"}
    )
    world.put("a.mp4", clip)
    inspect = world.module.store.inspect

    def overwrite_after_inspecting(s3: Any, named: Any) -> Any:
        seen = inspect(s3, named)
        world.put("a.mp4", b"text")
        return seen

    monkeypatch.setattr(world.module.store, "inspect", overwrite_after_inspecting)
    with pytest.raises(video_errors.VideoChanged, match="while its faces were named"):
        world.handle("a.mp4")
    etag = world.metadata(world.stage, "a.jpg")["source-etag"]
    assert etag == hashlib.md5(clip.read_bytes()).hexdigest()


def name_by_etag(world: Any, callee: Any) -> Any:
    """A recognizer that names each frame after its video's ETag."""

    def name(payload: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        for key in payload.get("image_file_names") or [payload["image_file_name"]]:
            etag = world.metadata(world.stage, key)["source-etag"]
            callee.faces[key] = [callee.face(etag, 0.1)]
        answer: tuple[int, dict[str, str], Any] = type(callee).good_answer(callee, payload)
        return answer

    return name


def another(clip: Path) -> bytes:
    """The same pictures in a file with a different ETag."""
    return clip.read_bytes() + b"\0" * 8


@pytest.mark.parametrize("wanted", ["1", "2"])
def test_the_last_video_with_a_key_wins_over_a_late_answer(
    world: Any, callee: Any, clip: Path, monkeypatch: Any, wanted: str
) -> None:
    # GIVEN a recognizer that, called for the old video, writes and answers only after the new
    # video's event is done
    monkeypatch.setenv("FRAMES", wanted)
    name, new = name_by_etag(world, callee), hashlib.md5(another(clip)).hexdigest()
    callee.good_answer = name

    def late(payload: dict[str, Any]) -> Any:
        old = world.s3.get_object(Bucket=world.stage, Key="a.jpg" if wanted == "1" else FIRST)
        body = old["Body"].read()
        world.put("a.mp4", another(clip))
        world.handle("a.mp4")
        assert world.text("a.txt") == new
        for key in world.keys(world.stage):
            world.s3.put_object(Bucket=world.stage, Key=key, Body=body, Metadata=old["Metadata"])
        return name(payload)

    callee.script = [late]
    # WHEN the old event ends, THEN it fails, after writing the old name over the new one
    world.put("a.mp4", clip)
    with pytest.raises(video_errors.VideoChanged, match=r"a.mp4: it was overwritten .* A retry"):
        world.handle("a.mp4")
    assert world.text("a.txt") != new
    # AND its retry repairs the frame and the name
    world.handle("a.mp4")
    assert world.text("a.txt") == new
    assert {world.metadata(world.stage, k)["source-etag"] for k in world.keys(world.stage)} == {new}


def test_the_new_event_reads_a_frame_of_the_old_video(world: Any, callee: Any, clip: Path) -> None:
    # GIVEN a frame of an old video, which its late event puts over the new video's frame
    callee.good_answer = name = name_by_etag(world, callee)
    world.put("a.mp4", clip)
    world.handle("a.mp4")
    old = world.s3.get_object(Bucket=world.stage, Key="a.jpg")
    body, metadata = old["Body"].read(), old["Metadata"]

    def read_old_frame(payload: dict[str, Any]) -> Any:
        new = world.s3.get_object(Bucket=world.stage, Key="a.jpg")
        place = {"Bucket": world.stage, "Key": "a.jpg"}
        world.s3.put_object(**place, Body=body, Metadata=metadata)
        answer = name(payload)
        # AND the old event's retry has repaired the frame: only the answer shows the mix-up
        world.s3.put_object(**place, Body=new["Body"].read(), Metadata=new["Metadata"])
        return answer

    callee.script = [read_old_frame]
    world.put("a.mp4", another(clip))
    # WHEN, THEN the new event fails, and its retry names the new video
    with pytest.raises(video_errors.VideoChanged, match=r"a.mp4: its frame a.jpg was overwritten"):
        world.handle("a.mp4")
    world.handle("a.mp4")
    assert world.text("a.txt") == hashlib.md5(another(clip)).hexdigest()


def test_a_video_is_deleted_while_its_faces_are_named(world: Any, callee: Any, clip: Path) -> None:
    def delete(payload: dict[str, Any]) -> Any:
        world.s3.delete_object(Bucket=world.input, Key="a.mp4")
        return callee.good_answer(payload)

    callee.script = [delete]
    world.put("a.mp4", clip)
    assert world.handle("a.mp4")["videos"][0]["output_key"] == "a.txt"


def test_a_key_too_long_for_metadata(world: Any, clip: Path, monkeypatch: Any) -> None:
    # GIVEN two percent-encoded keys, one just short enough and one too long
    monkeypatch.setenv("FRAMES", "2")
    short, long = "日" * 84, "日" * 200
    for key in (short, long):
        world.put(f"{key}.mp4", clip)
        world.handle(f"{key}.mp4")
    found = [world.metadata(world.output, f"{key}.txt") for key in (short, long)]
    # THEN the first is stored as it is, the other as its hash
    assert found[0]["source-key"] == quote(f"{short}.mp4")
    assert found[1]["source-key"] == f"sha256:{hashlib.sha256(f'{long}.mp4'.encode()).hexdigest()}"
    assert sum(len(name) + len(value) for name, value in found[1].items()) < 2048


def test_access_denied(world: Any, clip: Path, monkeypatch: Any) -> None:
    # A client for which every request is denied.
    class Refusing:
        def __getattr__(self, name: str) -> Any:
            client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"])
            error: Any = {"Error": {"Code": "403", "Message": "Forbidden"}}

            def refuse(**_: Any) -> Any:
                raise client.exceptions.ClientError(error, "HeadObject")

            return refuse

    monkeypatch.setattr(world.module, "s3", Refusing)
    with pytest.raises(video_errors.VideoForbidden, match=r"s3:GetObject .* kms:Decrypt"):
        world.handle("a.mp4")


@pytest.mark.parametrize("value", ["", "0", "many", "101", "AUTO"])
def test_settings_are_checked(world: Any, monkeypatch: Any, value: str) -> None:
    monkeypatch.setenv("FRAMES", value)
    with pytest.raises(world.module.SettingsError, match="FRAMES"):
        world.handle("a.mp4")


def test_presigned_urls_use_the_host_of_the_region(world: Any, monkeypatch: Any) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    url = world.module.s3().generate_presigned_url(
        "get_object", Params={"Bucket": "p-input", "Key": "a.mp4"}
    )
    assert url.startswith("https://p-input.s3.eu-west-1.amazonaws.com/a.mp4?X-Amz-Algorithm=AWS4")


def test_real_clips(world: Any, shared_media: Path) -> None:
    for path in sorted(shared_media.glob("*.mp4")):
        world.put(path.name, path)
        world.handle(path.name)
    assert len(world.keys(world.stage)) == len(list(shared_media.glob("*.mp4")))
