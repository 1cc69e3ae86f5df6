"""The report on answers of several frames: objects and log lines as the functions write them."""

from __future__ import annotations

import base64
import io
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.settings import Deployment
from tests.workload.conftest import Place, aws_of
from workload.report import write_report
from workload.reporting.evidence import gather
from workload.reporting.sightings import look_at
from workload.running.run import VideoRun, WorkloadRun, save

KEEPING = {"face-recognition": {"KEEP_EMBEDDINGS": "1"}}
STRANGER = {"name": "Unknown", "distance": 0.79, "box": [4, 4, 40, 40], "nearest": "Ada <L>"}
ADA = {"name": "Ada <L>", "distance": 0.37, "box": [50, 5, 70, 30], "nearest": "Ada <L>"}


def jpeg(shade: int) -> bytes:
    """A frame of one shade."""
    data = io.BytesIO()
    Image.new("RGB", (80, 60), (shade, shade, shade)).save(data, "JPEG")
    return data.getvalue()


def put(place: Place, bucket: str, key: str, body: bytes, **metadata: str) -> str:
    """Put an object and return its ETag."""
    named = {name.replace("_", "-"): value for name, value in metadata.items()}
    answer = place.client("s3").put_object(Bucket=bucket, Key=key, Body=body, Metadata=named)
    etag: str = answer["ETag"].strip('"')
    return etag


def metadata_of(etag: str, *faces: dict[str, Any], **more: str) -> dict[str, str]:
    """The metadata of a text whose answer is the last of `faces`."""
    own = {"distance": str(faces[-1]["distance"]), "box": json.dumps(faces[-1]["box"])}
    common = {"frame_etag": etag, "model": "sface", "threshold": "0.6370"}
    return {**common, **own, "faces": json.dumps(faces), **more}


def run_of(place: Place, *keys: str) -> WorkloadRun:
    """A run of a minute ago in which these videos were answered."""
    then = time.time() - 60
    videos = tuple(VideoRun(key, 10, then, then + 1, then + 9) for key in keys)
    name = place.deployment.prefix
    return WorkloadRun(name, "", place.aws.region, then, then + 10, 0.0, videos)


def log(place: Place, group: str, start_s: float, *lines: str) -> None:
    """Put the lines of one invocation into a function's log, one second apart."""
    logs, stream = place.client("logs"), str(time.time_ns())
    if not logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]:
        logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName=stream)
    events = [
        {"timestamp": int((start_s + second) * 1000), "message": line}
        for second, line in enumerate(lines)
    ]
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


def report_line(request: str, seconds: int, memory_mb: int) -> str:
    figures = f"Duration: {seconds}000.00 ms\tBilled Duration: {seconds}000 ms"
    memory = f"Memory Size: {memory_mb} MB\tMax Memory Used: 90 MB"
    return f"REPORT RequestId: {request}\t{figures}\t{memory}\t"


def words(page: Path, key: str = "") -> str:
    """The page's text without markup; only the card of a video if `key` is given."""
    html = page.read_text()
    if key:
        (html,) = (
            c
            for c in re.findall(r"<li class=\"card.*?class=\"shut\".*?</li>", html, re.S)
            if key in c
        )
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_a_second_look_says_where_its_answer_comes_from_and_what_it_cost(
    bare: Place, tmp_path: Path
) -> None:
    # GIVEN a video whose answer comes from the fourth of five frames, kept as its only frame
    names = bare.deployment
    etag = put(bare, names.stage_1_bucket, "v.jpg", jpeg(9), frame_time="2.4")
    people = json.dumps([["Ada%20%3CL%3E", 3, 0.8, 2.4, 0.37], ["Bob", 1, 1.6, 1.6, 0.5]])
    several = {"frames": "5", "votes": "3", "people": people}
    found = metadata_of(etag, STRANGER, ADA, **several)
    put(bare, names.output_bucket, "v.txt", b"Ada <L>", **found)
    run = run_of(bare, "v.mp4")
    began, video = run.started + 1, f"s3://{names.input_bucket}/v.mp4"
    step = {"step": "invoke", "video": video}
    log(
        bare,
        names.splitter.log_group,
        began,
        "START RequestId: r1 Version: $LATEST",
        "asking",
        json.dumps({**step, "ms": 500, "look": 1, "frames": 1}),
        "taking frames",
        json.dumps({**step, "ms": 900, "look": 2, "frames": 4}),
        report_line("r1", 5, 1024),
    )
    log(
        bare,
        names.recognizer.log_group,
        began + 3,
        "START RequestId: r2 Version: $LATEST",
        json.dumps({"step": "embed", "frame": f"{names.stage_1_bucket}/v/output-01.jpg", "ms": 9}),
        report_line("r2", 1, 2048),
    )

    write_report(aws_of(bare), names, run, tmp_path / "report.html")

    card = words(tmp_path / "report.html", "v.mp4")
    assert "at 2.4 s, one of 5 frames" in card
    assert "Sure, 3 of 5 frames, second look" in card
    assert "Ada &lt;L&gt; 3 frames, 0.8\u20132.4 s, 0.370 Bob 1 frame, 1.6 s, 0.500" in card
    assert "distance 0.370 / 0.637" in card
    text = words(tmp_path / "report.html")
    # 2 s of 1 GB, 1 s of 2 GB, one request, four frames put once and read twice
    usd = 4 * 0.0000166667 + 0.2e-6 + 4 * (5e-6 + 2 * 0.4e-6)
    bill = f"Of which for second looks videos 1 further frames, 2.00 s 4 ${usd:.6f}"
    assert bill in text
    assert "1 of 1 video had no name in their first frame" in text
    html = (tmp_path / "report.html").read_text()
    assert re.findall(r'<rect class="box (\w+) (\w+)', html) == [
        ("unknown", "other"),
        ("sure", "answering"),
    ]


def test_an_unknown_face_is_shown_with_the_nearest_person(bare: Place, tmp_path: Path) -> None:
    names = bare.deployment
    etag = put(bare, names.stage_1_bucket, "v.jpg", jpeg(9), frame_time="0")
    found = metadata_of(etag, STRANGER, nearest="Ada%20%3CL%3E")
    put(bare, names.output_bucket, "v.txt", b"Unknown", **found)

    write_report(aws_of(bare), names, run_of(bare, "v.mp4"), tmp_path / "report.html")

    said = "Unknown, nearest Ada &lt;L&gt; 0.79"
    assert said in words(tmp_path / "report.html", "v.mp4")
    assert "Unknown Ada &lt;L&gt; 0.790" in words(tmp_path / "report.html")  # the table
    # neither frames nor a second look, where there was one frame
    assert "one of" not in words(tmp_path / "report.html", "v.mp4")
    assert "second look" not in words(tmp_path / "report.html")


@pytest.mark.parametrize(
    ("answering", "note", "at"),
    [
        (2, "", 1.6),
        (None, "The frame is no longer in the stage-1 bucket.", None),
    ],
)
def test_with_many_frames_the_answers_own_is_shown(
    bare: Place, answering: int | None, note: str, at: float | None
) -> None:
    names = bare.deployment
    etags = []
    for index in range(4):
        key, at_s = f"v/output-{index:02}.jpg", f"{index * 0.8:g}"
        etags.append(put(bare, names.stage_1_bucket, key, jpeg(50 * index), frame_time=at_s))
    etag = "gone" if answering is None else etags[answering]
    found = metadata_of(etag, STRANGER, ADA, frames="4", votes="1")
    put(bare, names.output_bucket, "v.txt", b"Ada <L>", **found)

    (card,) = look_at(aws_of(bare), names, run_of(bare, "v.mp4"))

    assert (card.note, card.time) == (note, at)
    assert (card.picture is None) is (answering is None)


@pytest.mark.parametrize("answers", ["txt", "txt+json"])
def test_all_frames_are_shown_with_who_is_seen_when(
    bare: Place, tmp_path: Path, answers: str
) -> None:
    # GIVEN three kept frames, and the faces of each in the recognizer's log or in the details
    names, run = bare.deployment, run_of(bare, "v.mp4")
    etags = [
        put(bare, names.stage_1_bucket, f"v/output-0{i}.jpg", jpeg(80 * i), frame_time=f"{i}.5")
        for i in range(3)
    ]
    found = metadata_of(etags[1], ADA, frames="3", votes="2", answers=answers)
    put(bare, names.output_bucket, "v.txt", b"Ada <L>", **found)
    faces = [STRANGER, ADA, ADA]
    if answers == "txt":
        lines = [
            json.dumps(
                {
                    **{"step": "embed", "ms": 1, "faces": [face]},
                    "frame": f"{names.stage_1_bucket}/v/output-0{i}.jpg",
                }
            )
            for i, face in enumerate(faces)
        ]
        lines = ["START RequestId: r2 Version: $LATEST", *lines, report_line("r2", 4, 2048)]
        log(bare, names.recognizer.log_group, run.started + 2, *lines)
    else:
        details = {"frames": [{"time": i + 0.5, "faces": [f]} for i, f in enumerate(faces)]}
        put(bare, names.output_bucket, "v.json", json.dumps(details).encode())
    evidence = gather(aws_of(bare), names, run)

    (card,) = look_at(aws_of(bare), names, run, evidence.of_video)

    assert [(m.time, m.faces[0].name) for m in card.moments] == [
        (0.5, "Unknown"),
        (1.5, "Ada <L>"),
        (2.5, "Ada <L>"),
    ]
    assert [m.is_answer for m in card.moments] == [False, True, False]
    assert None not in [m.picture for m in card.moments]
    write_report(aws_of(bare), names, run, tmp_path / "report.html")
    text = words(tmp_path / "report.html", "v.mp4")
    assert "Who is seen when Ada &lt;L&gt; 1.5 s, 2.5 s Unknown 0.5 s" in text

    # AND a frame that is no longer there still has its faces
    bare.client("s3").delete_object(Bucket=names.stage_1_bucket, Key="v/output-02.jpg")
    (card,) = look_at(aws_of(bare), names, run, evidence.of_video)
    assert [m.faces[0].name for m in card.moments] == ["Unknown", "Ada <L>", "Ada <L>"]
    assert [m.picture is None for m in card.moments] == [False, False, True]


def test_runs_of_two_deployments_are_compared_by_their_own_logs(
    bare: Place, tmp_path: Path
) -> None:
    # GIVEN an earlier run in which another deployment's splitter took twice as much
    names, other = bare.deployment, Deployment(bare.deployment.prefix, "old")
    after = run_of(bare, "v.mp4")
    runs = {"before": replace(after, namespace=other.namespace), "after": after}
    for place, seconds in ((other, 8), (names, 4)):
        lines = ("START RequestId: r1 Version: $LATEST", report_line("r1", seconds, 1024))
        log(bare, place.splitter.log_group, after.started + 2, *lines)
    for name, run in runs.items():
        save(run, tmp_path / f"{name}.json")

    done = bare.run("workload/report.py", tmp_path / "before.json", tmp_path / "after.json")

    assert done.returncode == 0, done.stderr
    text = words(tmp_path / "after.html")
    costs = re.search(r"1,000 such videos \$([\d.]+) \$([\d.]+) better, -(\d+) %", text)
    assert costs is not None, text
    second = 1000 * 0.0000166667  # the price of 1,000 GB-seconds
    assert float(costs[1]) - float(costs[2]) == pytest.approx(4 * second, rel=0.01)
    assert "The splitter ran once (0 cold), the recognizer 0 times (0 cold)." in text


def test_strangers_are_shown_once_with_all_their_videos(bare: Place, tmp_path: Path) -> None:
    # GIVEN kept faces: one stranger in two videos, another beside them, and one whom only an
    # earlier gallery did not know
    names, run = replace(bare.deployment, settings=KEEPING), run_of(bare, "v.mp4", "w.mp4")
    rows = np.eye(4, dtype="<f4")
    rows[1, 0], rows[1, 1] = 0.8, 0.6  # 0.2 from the first
    kept = {"v.jpg": [0, 2], "w.jpg": [1], "w/output-01.jpg": [3]}
    for frame, faces in kept.items():
        etag = put(bare, names.stage_1_bucket, frame, jpeg(90))
        content = {
            "model": "sface",
            "metric": "cosine",
            "threshold": "0.6370",
            "gallery": "old" if "output" in frame else "g",
            "frame-etag": etag,
            "faces": [
                {"box": [9, 9, 40, 40], "embedding": base64.b64encode(rows[at].tobytes()).decode()}
                for at in faces
            ],
        }
        put(bare, names.stage_1_bucket, f"{frame}.faces.json", json.dumps(content).encode())
        if "output" not in frame:
            found = metadata_of(etag, STRANGER, gallery="g")
            put(bare, names.output_bucket, frame.replace("jpg", "txt"), b"Unknown", **found)

    write_report(aws_of(bare), names, run, tmp_path / "report.html")

    text = words(tmp_path / "report.html")
    assert "Stranger 1 2 faces in 2 videos v.mp4 , w.mp4" in text
    assert "Stranger 2 1 face in 1 video v.mp4" in text
    assert "Stranger 3" not in text
    html = (tmp_path / "report.html").read_text()
    (references,) = re.findall(r'id="strangers">(.*?)</script>', html)
    assert json.loads(references)["strangers"] == {
        "1": [{"key": "v.jpg.faces.json", "face": 0}, {"key": "w.jpg.faces.json", "face": 0}],
        "2": [{"key": "v.jpg.faces.json", "face": 1}],
    }
    assert base64.b64encode(rows[0].tobytes()).decode() not in html  # no biometric data
    # WHEN the deployment does not keep them, nobody is shown
    write_report(aws_of(bare), bare.deployment, run, tmp_path / "report.html")
    assert "Stranger" not in (tmp_path / "report.html").read_text()


def test_a_frame_that_was_replaced_is_not_shown(bare: Place) -> None:
    names = bare.deployment
    put(bare, names.stage_1_bucket, "v.jpg", jpeg(9), frame_time="0")
    put(bare, names.output_bucket, "v.txt", b"Unknown", **metadata_of("other", STRANGER))

    (card,) = look_at(aws_of(bare), names, run_of(bare, "v.mp4"))

    assert (card.note, card.picture) == ("The frame has since been replaced.", None)
