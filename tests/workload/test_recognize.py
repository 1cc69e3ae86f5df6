"""One command that answers: uploads, waits, says who and when, and why not."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

from PIL import Image

from tests.workload.conftest import PLAIN, Place, wait_until
from workload.reporting.marked_frames import frames_of, save_frames
from workload.reporting.recognized import recognized
from workload.running.outputs import Output

WHY = "FfmpegTimeout: s3://b/a.mp4: over its time"


def pixel(image: Image.Image, x: int, y: int) -> tuple[int, ...]:
    """Red, green and blue at a place."""
    value = image.convert("RGB").getpixel((x, y))
    assert isinstance(value, tuple)
    return value


def test_videos_are_answered_and_a_failure_has_its_reason(
    pipeline: Place, videos: Path, tmp_path: Path
) -> None:
    # GIVEN two files of one name, several frames in one, and one that is not a video
    (tmp_path / "other").mkdir()
    shutil.copy(videos / "test_02.mp4", tmp_path / "clip.mp4")
    shutil.copy(videos / "test_15.mp4", tmp_path / "other" / "clip.mp4")
    (tmp_path / "bad.mp4").write_text("This is not a video.")
    files = ("clip.mp4", "other/clip.mp4", "bad.mp4")

    done = pipeline.run("workload/recognize.py", *files, "--save", "frames", "--json", cwd=tmp_path)

    assert done.returncode == 1, done.stderr
    first, second, bad = json.loads(done.stdout)
    assert (first["answer"], first["people"][0]["first"], first["people"][0]["last"]) == (
        *("Joe Biden", 0.0),
        0.0,
    )
    assert second["answer"] == "Eileen Collins"
    assert 0 < second["people"][0]["first"] < second["people"][0]["last"]
    assert second["seconds"] > 0
    assert bad["failure"].startswith("UnreadableVideo: ")
    assert bad["failure"] in done.stderr  # before the results
    # AND the uploads have a separate folder
    keys = [one["video"] for one in (first, second)]
    assert len({key.rpartition("/")[0] for key in keys}) == 1
    assert set(keys) < set(pipeline.keys(pipeline.deployment.input_bucket))
    # AND a box is drawn where the face is
    s3 = pipeline.client("s3")
    (saved,) = first["saved"]
    frame = s3.get_object(
        Bucket=pipeline.deployment.stage_1_bucket, Key=keys[0].replace(".mp4", ".jpg")
    )
    with Image.open(tmp_path / saved) as marked, Image.open(io.BytesIO(frame["Body"].read())) as f:
        assert marked.size == f.size
        text = s3.head_object(
            Bucket=pipeline.deployment.output_bucket, Key=keys[0].replace(".mp4", ".txt")
        )
        left, top, right, bottom = json.loads(text["Metadata"]["box"])
        red, green, blue = pixel(marked, left + 1, (top + bottom) // 2)
        assert green > red + 60
        assert green > blue + 60
        x, y = (left + right) // 2, (top + bottom) // 2
        pixels = (pixel(marked, x, y), pixel(f, x, y))
        assert all(abs(a - b) < 20 for a, b in zip(*pixels, strict=True))


def test_a_failed_try_is_told_at_once_and_the_retry_is_waited_for(
    bare: Place, folder: Path
) -> None:
    # GIVEN a splitter that fails once, and answers when it is tried again
    logs, s3, names = bare.client("logs"), bare.client("s3"), bare.deployment
    group = names.splitter.log_group
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    told: list[float] = []

    def split() -> None:
        wait_until(lambda: bool(bare.keys(names.input_bucket)))
        (key,) = bare.keys(names.input_bucket)
        notes = {"step": "video", "video": f"s3://{names.input_bucket}/{key}", "error": WHY}
        event = {"timestamp": int(time.time() * 1000), "message": json.dumps(notes)}
        logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=[event])
        told.append(time.time())
        time.sleep(3)
        output = key.replace(".mp4", ".txt")
        s3.put_object(Bucket=names.output_bucket, Key=output, Body=b"Ann")

    splitter = threading.Thread(target=split)
    splitter.start()
    # As a program: `run` changes os.environ, which botocore reads in the thread.
    done = bare.start("workload/recognize.py", folder / "a.mp4", "--deadline", 20)
    splitter.join()

    assert done.returncode == 0, done.stderr
    assert f"{folder / 'a.mp4'}: {WHY} AWS tries again in a minute or two ..." in done.stderr
    assert done.stdout.splitlines()[2].split()[1] == "Ann"


def test_a_terminal_shows_a_reason_once(pipeline: Place, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_text("This is not a video.")
    argv = pipeline.argv("workload/recognize.py", tmp_path / "bad.mp4")
    environ = {**PLAIN, **pipeline.aws.environ}
    ours, terminal = pty.openpty()

    with subprocess.Popen(argv, env=environ, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        screen = b""
        with contextlib.suppress(OSError):  # its end
            while part := os.read(ours, 10_000):
                screen += part
    os.close(ours)
    piped = subprocess.run(argv, env=environ, capture_output=True, text=True)

    assert process.returncode == piped.returncode == 1
    assert b"(no answer)" in screen
    assert screen.count(b"UnreadableVideo: ") == 1
    # AND a file that takes the results has the reason as well
    assert piped.stdout.count("UnreadableVideo: ") == piped.stderr.count("UnreadableVideo: ") == 1


def test_a_video_without_an_answer_names_what_may_be_wrong(bare: Place, folder: Path) -> None:
    done = bare.run("workload/recognize.py", folder / "a.mp4", "--deadline", 0.5)

    assert done.returncode == 1
    assert "(no answer)" in done.stdout
    assert "No answer yet, and no failure" in done.stdout
    assert "python3 deploy/doctor.py --prefix" in done.stdout


def test_ctrl_c_says_what_is_known_and_how_to_learn_the_rest(bare: Place, folder: Path) -> None:
    argv = bare.argv("workload/recognize.py", folder / "a.mp4")
    with subprocess.Popen(
        argv,
        env={**PLAIN, **bare.aws.environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_until(lambda: bool(bare.keys(bare.deployment.input_bucket)))
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)

    assert process.returncode == 130
    assert "Stopped. Results so far:" in stderr
    assert "Traceback" not in stderr
    assert f"{folder / 'a.mp4'}: No answer yet: python3 workload/results.py --prefix" in stdout


def test_what_is_no_video_is_refused_before_anything_is_uploaded(bare: Place, folder: Path) -> None:
    (folder / "notes.txt").write_text("")
    os.mkfifo(folder / "pipe.mp4")

    for name, status in (("notes.txt", 1), ("pipe.mp4", 1), ("missing.mp4", 2)):
        options = ("a.mp4", name)
        done = bare.run("workload/recognize.py", *options, "--deadline", 1, cwd=folder)
        assert (done.returncode, bare.keys(bare.deployment.input_bucket)) == (status, [])
        assert options[1] in done.stderr
    dry = bare.run("workload/recognize.py", "a.mp4", "--dry-run", cwd=folder)
    assert dry.returncode == 0
    assert "Would upload a.mp4 to s3://" in dry.stderr
    assert bare.keys(bare.deployment.input_bucket) == []


def test_each_frame_has_the_boxes_of_its_own_faces(bare: Place, tmp_path: Path) -> None:
    # GIVEN a video with FRAMES=3, an answer from the second one, and details of the first two
    s3, names = bare.client("s3"), bare.deployment
    out = io.BytesIO()
    Image.new("RGB", (200, 150), "#808080").save(out, "JPEG")
    etags = []
    for number in range(3):
        body = out.getvalue() + bytes(number)  # each has another ETag
        stored = s3.put_object(
            Bucket=names.stage_1_bucket,
            Key=f"a/output-{number:02d}.jpg",
            Body=body,
            Metadata={"frame-time": str(number)},
        )
        etags.append(stored["ETag"].strip('"'))
    ann = {"name": "Ann", "distance": 0.3, "box": [20, 30, 60, 80]}
    stranger = {"name": "Unknown", "distance": 0.8, "box": [-5, -5, 400, 9000]}
    frames = [{"time": 0, "faces": [stranger]}, {"time": 1, "faces": [ann]}]
    details = json.dumps({"frames": frames}).encode()
    s3.put_object(Bucket=names.output_bucket, Key="a.json", Body=details)
    metadata = {
        **{"source-key": "a.mp4", "frames": "3", "frame-etag": etags[1]},
        "faces": json.dumps([ann]),
    }

    found = recognized(Output("a.txt", "Ann", metadata))
    kept = list(frames_of(s3, names, found))
    paths, bare_count = save_frames(iter(kept), tmp_path, "a.mp4")

    assert [None if f.faces is None else [x.name for x in f.faces] for f in kept] == [
        ["Unknown"],
        ["Ann"],
        None,
    ]
    assert ([path.name for path in paths], bare_count) == (
        ["a.mp4.jpg", "a.mp4-01.jpg", "a.mp4-02.jpg"],
        1,
    )
