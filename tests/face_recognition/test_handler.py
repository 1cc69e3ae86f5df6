"""The function reads frames from a real S3 server and writes names to another bucket."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import threading
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote, unquote

import pytest
import unknown_faces
from engine import EngineError
from gallery import GalleryError
from PIL import Image
from recognition import NamedFace, Recognizer, SettingsError

from tests.faults.proxy import Request, breaking

pytestmark = pytest.mark.usefixtures("output_bucket")


@pytest.fixture(scope="module")
def handler(load_handler: Callable[..., ModuleType]) -> ModuleType:
    return load_handler()


def jpeg(path: Path) -> bytes:
    """A photo as a frame; `pair` is two known people side by side, Barack Obama larger."""
    if path.name == "pair":
        image = Image.new("RGB", (900, 500))
        for photo, side, left in (("obama2.jpg", 500, 0), ("biden.jpg", 400, 500)):
            part = Image.open(path.with_name(photo)).convert("RGB")
            part.thumbnail((side, side))
            image.paste(part, (left, 0))
    else:
        image = Image.open(path).convert("RGB")
        image.thumbnail((900, 900))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def put(s3: Any, sample_photos: Path) -> Callable[..., None]:
    """upload(key, photo, **metadata) puts a sample photo into stage-1 as a frame."""

    def upload(key: str, photo: str, **metadata: str) -> None:
        body = jpeg(sample_photos / photo)
        s3.put_object(Bucket="p-stage-1", Key=key, Body=body, Metadata=metadata)

    return upload


def one(key: str, **more: Any) -> dict[str, Any]:
    return {"bucket_name": "p-stage-1", "image_file_name": key, **more}


def several(*keys: str, **more: Any) -> dict[str, Any]:
    return {"bucket_name": "p-stage-1", "image_file_names": list(keys), **more}


def output(s3: Any, key: str) -> tuple[str, dict[str, str], str]:
    answer = s3.get_object(Bucket="p-output", Key=key)
    return answer["Body"].read().decode(), answer["Metadata"], answer["ContentType"]


def has_output(s3: Any, key: str) -> bool:
    return "Contents" in s3.list_objects_v2(Bucket="p-output", Prefix=key)


def test_a_frame_becomes_a_name(handler: ModuleType, s3: Any, put: Any) -> None:
    source = {"source-bucket": "p-input", "source-key": quote("ä b.mp4"), "source-etag": "e1"}
    put("ä b.jpg", "obama2.jpg", **source)

    answer = handler.handler(one("ä b.jpg"), None)

    (result,) = answer["results"]
    (face,) = result["faces"]
    assert answer["model"] == "sface"
    assert (result["image_file_name"], result["output_key"]) == ("ä b.jpg", "ä b.txt")
    assert face["name"] == "Barack Obama"
    assert 0 < face["distance"] < 0.4
    assert face["probability"] > 0.99
    assert len(face["box"]) == 4
    text, metadata, content_type = output(s3, "ä b.txt")
    assert text == "Barack Obama"
    assert content_type == "text/plain; charset=utf-8"
    assert {name: metadata[name] for name in source} == source
    assert result["source_etag"] == "e1"
    assert unquote(metadata["name"]) == "Barack Obama"
    assert metadata["model"] == "sface"
    assert [{**stored, "nearest": "Barack Obama"} for stored in json.loads(metadata["faces"])] == [
        face
    ]
    assert "nearest" not in metadata
    assert float(metadata["distance"]) == face["distance"]
    assert json.loads(metadata["box"]) == face["box"]


def test_a_stranger_is_unknown_and_a_missing_face_is_reported(
    handler: ModuleType, s3: Any, put: Any
) -> None:
    put("stranger.jpg", "t1.jpg")
    put("cup.jpg", "coffee.png")

    (stranger,) = handler.handler(one("stranger.jpg"), None)["results"]
    (cup,) = handler.handler(one("cup.jpg"), None)["results"]

    assert [face["name"] for face in stranger["faces"]] == ["Unknown"] * 6
    assert cup["faces"] == []
    assert output(s3, "cup.txt")[0] == "No face"
    text, metadata, _ = output(s3, "stranger.txt")
    nearest = min(stranger["faces"], key=lambda face: float(face["distance"]))
    assert text == metadata["name"] == "Unknown"
    assert float(metadata["distance"]) == nearest["distance"] > 0.637
    assert json.loads(metadata["box"]) == nearest["box"] != stranger["faces"][0]["box"]
    assert unquote(metadata["nearest"]) == nearest["nearest"]
    assert nearest["nearest"] in ("Barack Obama", "Joe Biden", "Eileen Collins")


def test_the_answer_names_the_settings_and_the_etags(
    handler: ModuleType, s3: Any, put: Any
) -> None:
    put("settings.jpg", "biden.jpg", **{"source-etag": "e7"})
    etag = s3.head_object(Bucket="p-stage-1", Key="settings.jpg")["ETag"].strip('"')

    answer = handler.handler(one("settings.jpg"), None)

    _, metadata, _ = output(s3, "settings.txt")
    for name in ("model", "gallery", "threshold", "selection"):
        assert answer[name] == metadata[name]
    assert (answer["threshold"], answer["selection"]) == ("0.6370", "known")
    assert (answer["results"][0]["source_etag"], answer["results"][0]["frame_etag"]) == ("e7", etag)
    assert set(answer) == {"model", "gallery", "threshold", "selection", "results"}


def test_several_frames_vote_and_are_not_written(handler: ModuleType, s3: Any, put: Any) -> None:
    keys = ["votes/output-00.jpg", "votes/output-01.jpg", "votes/output-02.jpg"]
    for key, photo in zip(keys, ["pair", "t1.jpg", "coffee.png"], strict=True):
        put(key, photo)

    results = handler.handler(several(*keys), None)["results"]

    assert [result["image_file_name"] for result in results] == keys
    names = [[face["name"] for face in result["faces"]] for result in results]
    # both known people of one frame, where a frame alone would stop at the larger
    assert names == [["Barack Obama", "Joe Biden"], ["Unknown"] * 6, []]
    assert [result["written"] for result in results] == [False] * 3
    assert not has_output(s3, "votes")
    (single,) = handler.handler(one(keys[0]), None)["results"]
    assert [face["name"] for face in single["faces"]] == ["Barack Obama"]


@pytest.mark.parametrize("photo", ["obama2.jpg", "t1.jpg", "coffee.png"])
@pytest.mark.parametrize("write", ["always", "known", "never", None])
def test_an_output_is_written_as_the_payload_says(
    handler: ModuleType, s3: Any, put: Any, photo: str, write: str | None
) -> None:
    key = f"{write}-{photo}.jpg"
    put(key, photo)
    event = one(key) if write is None else one(key, write=write)
    expected = write in ("always", None) or (write == "known" and photo == "obama2.jpg")

    first = handler.handler(event, None)["results"][0]
    second = handler.handler(event, None)["results"][0]

    assert first["written"] == second["written"] == expected
    assert has_output(s3, key.removesuffix(".jpg") + ".txt") == expected


@pytest.mark.parametrize("write", ["known", "never"])
def test_an_output_that_says_the_answer_already_counts_as_written(
    handler: ModuleType, s3: Any, put: Any, write: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(f"said-{write}.jpg", "t1.jpg")
    before = handler.handler(one(f"said-{write}.jpg"), None)["results"]
    written = s3.head_object(Bucket="p-output", Key=f"said-{write}.txt")["LastModified"]
    capsys.readouterr()

    assert handler.handler(one(f"said-{write}.jpg", write=write), None)["results"] == before
    assert before[0]["written"]
    assert '"new": false' in capsys.readouterr().out
    after = s3.head_object(Bucket="p-output", Key=f"said-{write}.txt")["LastModified"]
    assert after == written


def test_an_output_without_room_for_its_faces_is_not_written_again(
    handler: ModuleType, s3: Any, put: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    put("no room.jpg", "t1.jpg", **{"source-key": "k" * 768, "source-etag": "e" * 600})
    first = handler.handler(one("no room.jpg"), None)
    assert "faces" not in output(s3, "no room.txt")[1]
    puts: list[str] = []

    def count(params: dict[str, Any], **_: Any) -> None:
        puts.append(params["Key"])

    events, event = handler._s3.meta.events, "provide-client-params.s3.PutObject"
    events.register(event, count)
    try:
        again = [
            handler.handler(one("no room.jpg", write=write), None)
            for write in ("always", "known", "never")
        ]
    finally:
        events.unregister(event, count)

    assert again == [first] * 3
    assert puts == []


def test_a_text_that_says_something_else_about_the_frame_is_written_again(
    handler: ModuleType, s3: Any, put: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN the text of a video whose frames agreed on something else than this frame
    put("agreed.jpg", "obama2.jpg")
    handler.handler(one("agreed.jpg"), None)
    _, metadata, _ = output(s3, "agreed.txt")
    agreed = {**metadata, "name": "Unknown", "frames": "5"}
    s3.put_object(Bucket="p-output", Key="agreed.txt", Body=b"Unknown", Metadata=agreed)
    capsys.readouterr()

    (untouched,) = handler.handler(one("agreed.jpg", write="never"), None)["results"]
    assert not untouched["written"]
    assert output(s3, "agreed.txt")[0] == "Unknown"
    (written,) = handler.handler(one("agreed.jpg"), None)["results"]

    assert written["written"]
    assert output(s3, "agreed.txt")[0] == "Barack Obama"
    assert '"new": true' not in capsys.readouterr().out  # the faces were known


def test_nothing_is_computed_if_the_settings_are_unchanged(
    handler: ModuleType, put: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    put("unchanged.jpg", "obama2.jpg")
    answer = handler.handler(one("unchanged.jpg", write="never"), None)
    settings = {name: answer[name] for name in ("model", "gallery", "threshold", "selection")}
    capsys.readouterr()

    for event in (one("no such frame.jpg"), several("no such frame.jpg", "another.jpg")):
        again = handler.handler({**event, "unchanged": settings}, None)
        assert again == {**settings, "unchanged": True, "results": []}
    assert capsys.readouterr().out == ""

    changes: list[dict[str, Any]] = [{name: "other"} for name in settings]
    for change in (*changes, {"model": None}, {"gallery": ["x"]}):
        other = {**settings, **change}
        event = one("unchanged.jpg", write="never", unchanged=other)
        assert handler.handler(event, None) == answer
    missing = {name: settings[name] for name in ("model", "gallery", "threshold")}
    for unchanged in (missing, {}):
        event = one("unchanged.jpg", write="never", unchanged=unchanged)
        assert handler.handler(event, None) == answer


@pytest.mark.parametrize("damaged", ["[{", '[{"name":"Unknown"}]', None])
def test_an_output_with_damaged_or_older_metadata_is_made_again(
    handler: ModuleType, s3: Any, put: Any, damaged: str | None
) -> None:
    put("damaged metadata.jpg", "biden.jpg")
    expected = handler.handler(one("damaged metadata.jpg"), None)
    _, metadata, _ = output(s3, "damaged metadata.txt")
    rest = {name: value for name, value in metadata.items() if name != "faces"}
    damage = rest if damaged is None else {**rest, "faces": damaged}
    s3.put_object(Bucket="p-output", Key="damaged metadata.txt", Body=b"?", Metadata=damage)

    assert handler.handler(one("damaged metadata.jpg"), None) == expected
    assert output(s3, "damaged metadata.txt")[:2] == ("Joe Biden", metadata)


def waiting(handler: ModuleType, *operations: str) -> Any:
    """Hold S3 requests of these kinds back until two have arrived; returns how to undo that."""
    together = threading.Barrier(2, timeout=20)
    events = handler._s3.meta.events

    def wait(**_: Any) -> None:
        together.wait()

    for operation in operations:
        events.register(f"before-send.s3.{operation}", wait)
    return lambda: [events.unregister(f"before-send.s3.{name}", wait) for name in operations]


def test_the_frames_of_a_batch_are_read_in_parallel(handler: ModuleType, put: Any) -> None:
    keys = ["parallel-1.jpg", "parallel-2.jpg"]
    for key in keys:
        put(key, "obama2.jpg")

    undo = waiting(handler, "GetObject")
    try:
        results = handler.handler(several(*keys), None)["results"]
    finally:
        undo()

    assert [result["faces"][0]["name"] for result in results] == ["Barack Obama"] * 2


def test_a_frame_and_its_output_are_read_in_parallel(handler: ModuleType, put: Any) -> None:
    put("parallel.jpg", "obama2.jpg")

    undo = waiting(handler, "GetObject", "HeadObject")
    try:
        (result,) = handler.handler(one("parallel.jpg"), None)["results"]
    finally:
        undo()

    assert result["written"]


def test_an_output_that_cannot_be_written_fails_its_frame(handler: ModuleType, put: Any) -> None:
    put("unwritten.jpg", "obama2.jpg")

    def refuse(params: dict[str, Any], **_: Any) -> None:
        params["Bucket"] = "no-such-bucket"

    events, event = handler._s3.meta.events, "provide-client-params.s3.PutObject"
    events.register(event, refuse)
    try:
        with pytest.raises(handler.RecognitionFailed) as error:
            handler.handler(one("unwritten.jpg"), None)
    finally:
        events.unregister(event, refuse)

    assert "1 of 1 frame: p-stage-1/unwritten.jpg: " in str(error.value)
    assert "NoSuchBucket" in str(error.value)


def test_a_frame_put_by_hand_is_its_own_source(handler: ModuleType, s3: Any, put: Any) -> None:
    put("by hand.png", "biden.jpg")

    handler.handler(one("by hand.png"), None)

    text, metadata, _ = output(s3, "by hand.png.txt")
    etag = s3.head_object(Bucket="p-stage-1", Key="by hand.png")["ETag"].strip('"')
    assert text == "Joe Biden"
    assert metadata["source-bucket"] == "p-stage-1"
    assert unquote(metadata["source-key"]) == "by hand.png"
    assert metadata["source-etag"] == metadata["frame-etag"] == etag


def test_the_same_frame_is_computed_only_once(
    handler: ModuleType, s3: Any, put: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    put("twice.jpg", "obama2.jpg")
    first = handler.handler(one("twice.jpg"), None)
    capsys.readouterr()

    second = handler.handler(one("twice.jpg"), None)
    assert second == first
    assert '"new": false' in capsys.readouterr().out

    # WHEN the frame changes, THEN it is computed again
    put("twice.jpg", "biden.jpg")
    assert handler.handler(one("twice.jpg"), None)["results"][0]["faces"][0]["name"] == "Joe Biden"


def test_a_new_threshold_computes_the_frame_again(
    load_handler: Callable[..., ModuleType], handler: ModuleType, s3: Any, put: Any
) -> None:
    put("again.jpg", "obama2.jpg")
    handler.handler(one("again.jpg"), None)

    strict = load_handler(THRESHOLD="0.01").handler(one("again.jpg"), None)

    assert strict["results"][0]["faces"][0]["name"] == "Unknown"
    assert output(s3, "again.txt")[0] == "Unknown"


def test_all_faces_are_named_largest_first(
    load_handler: Callable[..., ModuleType], s3: Any, put: Any
) -> None:
    put("six.jpg", "t1.jpg")

    result = load_handler(FACES="all").handler(one("six.jpg"), None)["results"][0]

    assert len(result["faces"]) == 6
    assert output(s3, "six.txt")[0] == "\n".join(["Unknown"] * 6)


def test_a_bad_frame_is_reported_after_the_others_are_done(
    handler: ModuleType, s3: Any, put: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    put("good.jpg", "biden.jpg")
    s3.put_object(Bucket="p-stage-1", Key="bad.jpg", Body=b"no image")

    with pytest.raises(handler.RecognitionFailed) as error:
        handler.handler(several("bad.jpg", "missing.jpg", "good.jpg"), None)

    assert "2 of 3 frames" in str(error.value)
    assert "p-stage-1/bad.jpg: it is not a readable image" in str(error.value)
    assert "p-stage-1/missing.jpg: " in str(error.value)
    assert '"frame": "p-stage-1/good.jpg"' in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["AVIF", "DDS"])
def test_other_frames_are_tried_despite_a_damaged_image(
    handler: ModuleType, s3: Any, put: Any, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put("whole.jpg", "biden.jpg")
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, kind)
    damaged = bytearray(buffer.getvalue())
    if kind == "AVIF":
        start = damaged.index(b"mdat") + 4
        damaged[start:] = bytes(len(damaged) - start)
    else:
        damaged[80:88] = b"\4\0\0\0none"  # an unknown compression
    s3.put_object(Bucket="p-stage-1", Key="damaged.jpg", Body=bytes(damaged))

    with pytest.raises(handler.RecognitionFailed) as error:
        handler.handler(several("damaged.jpg", "whole.jpg"), None)

    assert "1 of 2 frames: p-stage-1/damaged.jpg: it is not a readable image" in str(error.value)
    assert '"frame": "p-stage-1/whole.jpg"' in capsys.readouterr().out


@pytest.mark.parametrize("fault", ["hang", "half", "reset", "503"])
def test_a_request_that_fails_once_is_repeated_in_time(
    load_handler: Callable[..., ModuleType], endpoint: str, s3: Any, put: Any, fault: str
) -> None:
    # GIVEN a store that fails the first request of each step, and a function that may take 8 s
    put(f"{fault}.jpg", "biden.jpg")
    seen: set[tuple[str, str]] = set()

    def once(request: Request) -> str | None:
        step = (request.command, request.path)
        is_first = step not in seen
        seen.add(step)
        return fault if is_first else None

    with breaking(endpoint, once) as proxy:
        handler = load_handler(AWS_ENDPOINT_URL=proxy.url, TIMEOUT_S="8")
        started = time.monotonic()
        answer = handler.handler(one(f"{fault}.jpg"), None)
    assert answer["results"][0]["faces"][0]["name"] == "Joe Biden"
    assert output(s3, f"{fault}.txt")[0] == "Joe Biden"
    assert len(seen) == 3
    assert time.monotonic() - started < 8


def test_a_frame_that_is_never_answered_is_blamed_alone(
    load_handler: Callable[..., ModuleType],
    endpoint: str,
    put: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("whole", "silent", "last"):
        put(f"{name}.jpg", "biden.jpg")

    def silent(request: Request) -> str | None:
        return "hang" if "silent" in request.path else None

    with breaking(endpoint, silent) as proxy:
        handler = load_handler(AWS_ENDPOINT_URL=proxy.url, TIMEOUT_S="2")
        with pytest.raises(handler.RecognitionFailed) as error:
            handler.handler(several("whole.jpg", "silent.jpg", "last.jpg"), None)

    assert "1 of 3 frames: p-stage-1/silent.jpg: Read timeout" in str(error.value)
    assert "whole.jpg" not in str(error.value)
    assert '"frame": "p-stage-1/last.jpg"' in capsys.readouterr().out


def test_an_error_that_nobody_foresaw_is_blamed_on_its_frame(
    handler: ModuleType, put: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    put("sound.jpg", "biden.jpg")
    put("odd.jpg", "coffee.png")
    name_faces = handler._recognizer.name_faces

    def odd(image: Any, votes: bool) -> Any:
        faces = name_faces(image, votes)
        return faces if faces else 1 / len(faces)

    monkeypatch.setattr(handler._recognizer, "name_faces", odd)
    with pytest.raises(handler.RecognitionFailed) as error:
        handler.handler(several("odd.jpg", "sound.jpg"), None)
    assert (
        str(error.value) == "1 of 2 frames: p-stage-1/odd.jpg: ZeroDivisionError: division by zero"
    )
    printed = capsys.readouterr()
    assert "Traceback" in printed.err
    failed = json.loads(printed.out.splitlines()[0])
    assert (failed["level"], failed["frame"]) == ("ERROR", "p-stage-1/odd.jpg")
    assert failed["exception_name"] == "ZeroDivisionError"
    assert '"frame": "p-stage-1/sound.jpg"' in printed.out


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (None, "must be a JSON object"),
        ([], "must be a JSON object"),
        ({"image_file_name": "a"}, "no bucket_name"),
        ({"bucket_name": "", "image_file_name": "a"}, "no bucket_name"),
        ({"bucket_name": "\ud800", "image_file_name": "a"}, "no bucket_name"),
        ({"bucket_name": "b"}, "either image_file_name or image_file_names"),
        ({"bucket_name": "b", "image_file_name": "a", "image_file_names": ["a"]}, "either"),
        ({"bucket_name": "b", "image_file_names": []}, "at least one"),
        ({"bucket_name": "b", "image_file_names": "a"}, "must be a list"),
        ({"bucket_name": "b", "image_file_name": 7}, "must be a string"),
        ({"bucket_name": "b", "image_file_names": ["a", ""]}, "must be a string"),
        ({"bucket_name": "b", "image_file_names": ["a", "a"]}, "twice"),
        ({"bucket_name": "b", "image_file_names": ["a", "\ud800"]}, "string of UTF-8"),
        (several(*map(str, range(1001))), "has 1,001 keys: send at most 1,000"),
        (
            one("a", write="maybe"),
            "With image_file_name, write must be one of always, known, never",
        ),
        (one("a", write=None), "one of always, known, never: None"),
        (one("a", write=["never"]), "one of always, known, never"),
        (several("a", write="always"), "With image_file_names, write must be one of never"),
        (several("a", write="known"), "write must be one of never: 'known'"),
        (one("a", unchanged=None), "unchanged must be an object"),
        (several("a", unchanged="sface"), "unchanged must be an object"),
        ({"bucket_name": "p-output", "image_file_name": "a"}, "cannot share the bucket"),
    ],
)
def test_a_bad_payload_is_refused(handler: ModuleType, event: Any, reason: str) -> None:
    with pytest.raises(handler.BadPayload, match=reason):
        handler.handler(event, None)


def test_a_thousand_frames_may_be_named(handler: ModuleType) -> None:
    keys = [str(number) for number in range(1000)]
    assert handler.read_payload(several(*keys)).keys == keys


def test_a_key_needs_room_for_the_embeddings_beside_its_frame(
    load_handler: Callable[..., ModuleType], handler: ModuleType, s3: Any, put: Any
) -> None:
    # GIVEN keys of 1,013 bytes, and of one more; S3 allows 1,024
    fits, long = ("é" * 504 + end for end in (".jpeg", "_.jpeg"))
    for key in (fits, long):
        put(key, "t1.jpg")
    # WHEN embeddings are kept, THEN the longer key is refused before anything is computed
    keeping = load_handler(KEEP_EMBEDDINGS="1")
    with pytest.raises(keeping.BadPayload, match=r"KEEP_EMBEDDINGS=1.* 1,013 .* has 1,014\."):
        keeping.handler(several(fits, long), None)
    keeping.handler(several(fits), None)
    assert s3.head_object(Bucket="p-stage-1", Key=f"{fits}.faces.json")["ContentLength"] > 0
    # WHEN they are not, THEN it is read
    handler.handler(several(long), None)


@pytest.mark.parametrize("faces", ["known", "no such choice"])
def test_garbage_is_collected_after_init_however_it_ends(
    load_handler: Callable[..., ModuleType], faces: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    during: list[bool] = []
    read = Recognizer.from_environment

    def reading(*words: Any) -> Recognizer:
        during.append(gc.isenabled())
        return read(*words)

    monkeypatch.setattr(Recognizer, "from_environment", reading)
    with contextlib.suppress(SettingsError):
        load_handler(FACES=faces)
    assert (during, gc.isenabled()) == ([False], True)


def test_a_long_key_is_stored_as_its_hash(handler: ModuleType, s3: Any, put: Any) -> None:
    key = "名" * 200 + ".jpg"
    put(key, "biden.jpg")

    handler.handler(one(key), None)
    again = handler.handler(one(key), None)["results"][0]

    _, metadata, _ = output(s3, key.removesuffix(".jpg") + ".txt")
    assert metadata["source-key"] == f"sha256:{sha256(key.encode()).hexdigest()}"
    assert sum(len(k) + len(v) for k, v in metadata.items()) < 2048
    assert [face["name"] for face in json.loads(metadata["faces"])] == ["Joe Biden"]
    assert again["written"]


@pytest.mark.parametrize(
    ("variables", "error"),
    [
        ({"MODELS_DIR": "/nowhere"}, EngineError),
        ({"ENGINE": "other"}, EngineError),
        ({"GALLERY": "/nowhere/data.pt"}, GalleryError),
        ({"FACES": "some"}, SettingsError),
        ({"THRESHOLD": "low"}, SettingsError),
        ({"THRESHOLD": "nan"}, SettingsError),
        ({"THRESHOLD": "inf"}, SettingsError),
        ({"THRESHOLD": "9"}, SettingsError),
        ({"THRESHOLD": "-1"}, SettingsError),
    ],
)
def test_a_cold_start_with_invalid_settings_raises_a_named_error(
    load_handler: Callable[..., ModuleType], variables: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        load_handler(**variables)


def test_the_log_has_the_fields_of_powertools_and_the_callers_id(
    handler: ModuleType, put: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    class Context:
        aws_request_id = "own"
        function_name = "n-face-recognition"

    put("log.jpg", "obama.jpg")
    capsys.readouterr()
    handler.handler(one("log.jpg", correlation_id="callers"), Context())
    with pytest.raises(handler.RecognitionFailed):
        handler.handler(one("none.jpg"), Context())
    handler.handler(one("log.jpg"), None)

    good, bad, outside = map(json.loads, capsys.readouterr().out.splitlines())

    assert (good["level"], good["service"], good["step"]) == ("INFO", "face-recognition", "embed")
    assert (good["function_request_id"], good["correlation_id"]) == ("own", "callers")
    assert good["location"].startswith("recognize:")
    assert good["function_name"] == "n-face-recognition"
    assert (bad["level"], bad["exception_name"]) == ("ERROR", "NoSuchKey")
    assert bad["correlation_id"] == "own"  # without a caller's, its own finds it
    assert "correlation_id" not in outside


def test_both_functions_log_the_same_fields(root: Path) -> None:
    def fields(path: str) -> list[str]:
        text = (root / path).read_text()
        return [line.split('"')[1] for line in text.splitlines() if line.startswith('        "')]

    ours, theirs = fields("face-recognition/log_line.py"), fields("video-splitting/step_log.py")

    assert len(ours) > 9
    assert ours == theirs


@pytest.mark.parametrize(
    ("name", "probability", "kept"),
    [("Unknown", 0.95, True), ("Unknown", 0.94, False), ("Ann", 0.99, False)],
)
def test_a_stranger_is_surely_a_face(name: str, probability: float, kept: bool) -> None:
    face = NamedFace(name, 0.7, probability, (0, 0, 9, 9), "Ann")
    assert unknown_faces.is_stranger(face) == kept


def test_unknown_faces_are_kept_beside_their_frame_if_asked_for(
    load_handler: Callable[..., ModuleType], s3: Any, put: Any
) -> None:
    def kept() -> list[str]:
        found = s3.list_objects_v2(Bucket="p-stage-1", Prefix="kept").get("Contents", [])
        return [item["Key"] for item in found if item["Key"].endswith(".json")]

    # GIVEN a frame of six strangers, WHEN nobody asked for it, nothing is kept
    source = {"source-bucket": "p-input", "source-key": "kept.mp4", "source-etag": "e1"}
    put("kept.jpg", "t1.jpg", **source)
    load_handler().handler(several("kept.jpg"), None)
    assert kept() == []
    # WHEN somebody did, THEN it is, with the metadata that the splitter goes by
    keeping = load_handler(KEEP_EMBEDDINGS="1")
    (result,) = keeping.handler(several("kept.jpg"), None)["results"]
    stored = s3.get_object(Bucket="p-stage-1", Key="kept.jpg.faces.json")
    assert kept() == ["kept.jpg.faces.json"]
    assert stored["Metadata"] == source
    content = stored["Body"].read()
    read = json.loads(content)
    boxes = [face["box"] for face in result["faces"] if face["probability"] >= 0.95]
    assert [face["box"] for face in read["faces"]] == boxes
    assert len(boxes) == 6
    assert (read["metric"], read["frame-etag"]) == ("cosine", result["frame_etag"])
    # AND the embedding is the one that the distance comes from
    model, size, row = unknown_faces.embedding(content, 5)
    nearest = keeping._recognizer.gallery.nearest(row)
    assert (model, size) == ("sface", 240)
    assert result["faces"][5]["distance"] == pytest.approx(nearest.distance, abs=1e-4)
    # WHEN the frame shows nobody unknown any more, THEN it is deleted
    put("kept.jpg", "obama2.jpg", **source)
    keeping.handler(several("kept.jpg"), None)
    assert kept() == []
