"""The function reads frames from a real S3 server and writes names to another bucket."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote, unquote

import pytest
from gallery import GalleryError
from models import ModelError
from PIL import Image
from recognition import SettingsError

pytestmark = pytest.mark.usefixtures("output_bucket")


@pytest.fixture(scope="module")
def handler(load_handler: Callable[..., ModuleType]) -> ModuleType:
    return load_handler()


def jpeg(path: Path) -> bytes:
    buffer = io.BytesIO()
    image = Image.open(path).convert("RGB")
    image.thumbnail((900, 900))
    image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def put(s3: Any, sample_photos: Path) -> Callable[..., None]:
    """upload(key, photo, **metadata) puts a sample photo into stage-1 as a frame."""

    def upload(key: str, photo: str, **metadata: str) -> None:
        body = jpeg(sample_photos / photo)
        s3.put_object(Bucket="p-stage-1", Key=key, Body=body, Metadata=metadata)

    return upload


def one(key: str) -> dict[str, Any]:
    return {"bucket_name": "p-stage-1", "image_file_name": key}


def output(s3: Any, key: str) -> tuple[str, dict[str, str], str]:
    answer = s3.get_object(Bucket="p-output", Key=key)
    return answer["Body"].read().decode(), answer["Metadata"], answer["ContentType"]


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
    assert json.loads(metadata["faces"]) == result["faces"]
    assert float(metadata["distance"]) == face["distance"]
    assert json.loads(metadata["box"]) == face["box"]


def test_a_stranger_is_unknown_and_a_missing_face_is_reported(
    handler: ModuleType, s3: Any, put: Any
) -> None:
    put("stranger.jpg", "t1.jpg")
    put("cup.jpg", "coffee.png")

    names = ["stranger.jpg", "cup.jpg"]
    event = {"bucket_name": "p-stage-1", "image_file_names": names}
    results = handler.handler(event, None)["results"]

    assert [r["image_file_name"] for r in results] == names
    assert results[0]["faces"][0]["name"] == "Unknown"
    assert results[1]["faces"] == []
    assert output(s3, "stranger.txt")[0] == "Unknown"
    assert output(s3, "cup.txt")[0] == "No face"


@pytest.mark.parametrize("operation", ["GetObject", "HeadObject", "PutObject"])
def test_the_requests_of_a_batch_run_in_parallel(
    handler: ModuleType, put: Any, operation: str
) -> None:
    # GIVEN an S3 that holds each request back until a second one of its kind arrives
    names = [f"{operation}-1.jpg", f"{operation}-2.jpg"]
    for name in names:
        put(name, "obama2.jpg")
    together = threading.Barrier(2, timeout=20)

    def wait(**_: Any) -> None:
        together.wait()

    events, event = handler._s3.meta.events, f"before-send.s3.{operation}"
    events.register(event, wait)
    try:
        results = handler.handler({"bucket_name": "p-stage-1", "image_file_names": names}, None)
    finally:
        events.unregister(event, wait)

    assert [result["faces"][0]["name"] for result in results["results"]] == ["Barack Obama"] * 2


def test_an_output_that_cannot_be_written_fails_its_frame(handler: ModuleType, put: Any) -> None:
    put("unwritten.jpg", "obama2.jpg")
    put("written.jpg", "biden.jpg")
    names = ["unwritten.jpg", "written.jpg"]

    def refuse(params: dict[str, Any], **_: Any) -> None:
        if params["Key"] == "unwritten.txt":
            params["Bucket"] = "no-such-bucket"

    events, event = handler._s3.meta.events, "provide-client-params.s3.PutObject"
    events.register(event, refuse)
    try:
        with pytest.raises(handler.RecognitionFailed) as error:
            handler.handler({"bucket_name": "p-stage-1", "image_file_names": names}, None)
    finally:
        events.unregister(event, refuse)

    assert "1 of 2 frames: p-stage-1/unwritten.jpg: " in str(error.value)
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
    handler: ModuleType, s3: Any, put: Any
) -> None:
    put("good.jpg", "biden.jpg")
    s3.put_object(Bucket="p-stage-1", Key="bad.jpg", Body=b"no image")
    names = ["bad.jpg", "missing.jpg", "good.jpg"]

    with pytest.raises(handler.RecognitionFailed) as error:
        handler.handler({"bucket_name": "p-stage-1", "image_file_names": names}, None)

    assert "2 of 3 frames" in str(error.value)
    assert "p-stage-1/bad.jpg: it is not a readable image" in str(error.value)
    assert "p-stage-1/missing.jpg: " in str(error.value)
    assert output(s3, "good.txt")[0] == "Joe Biden"


@pytest.mark.parametrize("kind", ["AVIF", "DDS"])
def test_other_frames_are_tried_despite_a_damaged_image(
    handler: ModuleType, s3: Any, put: Any, kind: str
) -> None:
    put("whole.jpg", "biden.jpg", **{"source-etag": kind})
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, kind)
    damaged = bytearray(buffer.getvalue())
    if kind == "AVIF":
        start = damaged.index(b"mdat") + 4
        damaged[start:] = bytes(len(damaged) - start)
    else:
        damaged[80:88] = b"\4\0\0\0none"  # an unknown compression
    s3.put_object(Bucket="p-stage-1", Key="damaged.jpg", Body=bytes(damaged))
    names = ["damaged.jpg", "whole.jpg"]

    with pytest.raises(handler.RecognitionFailed) as error:
        handler.handler({"bucket_name": "p-stage-1", "image_file_names": names}, None)

    assert "1 of 2 frames: p-stage-1/damaged.jpg: it is not a readable image" in str(error.value)
    assert output(s3, "whole.txt")[1]["source-etag"] == kind


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (None, "must be a JSON object"),
        ([], "must be a JSON object"),
        ({"image_file_name": "a"}, "no bucket_name"),
        ({"bucket_name": "", "image_file_name": "a"}, "no bucket_name"),
        ({"bucket_name": "b"}, "either image_file_name or image_file_names"),
        ({"bucket_name": "b", "image_file_name": "a", "image_file_names": ["a"]}, "either"),
        ({"bucket_name": "b", "image_file_names": []}, "at least one"),
        ({"bucket_name": "b", "image_file_names": "a"}, "must be a list"),
        ({"bucket_name": "b", "image_file_name": 7}, "must be a string"),
        ({"bucket_name": "b", "image_file_names": ["a", ""]}, "must be a string"),
        ({"bucket_name": "b", "image_file_names": ["a", "a"]}, "twice"),
        ({"bucket_name": "p-output", "image_file_name": "a"}, "cannot share the bucket"),
    ],
)
def test_a_bad_payload_is_refused(handler: ModuleType, event: Any, reason: str) -> None:
    with pytest.raises(handler.BadPayload, match=reason):
        handler.handler(event, None)


def test_a_long_key_is_stored_as_its_hash(handler: ModuleType, s3: Any, put: Any) -> None:
    key = "名" * 200 + ".jpg"
    put(key, "biden.jpg")

    handler.handler(one(key), None)
    again = handler.handler(one(key), None)["results"][0]

    _, metadata, _ = output(s3, key.removesuffix(".jpg") + ".txt")
    assert metadata["source-key"] == f"sha256:{sha256(key.encode()).hexdigest()}"
    assert sum(len(k) + len(v) for k, v in metadata.items()) < 2048
    assert json.loads(metadata["faces"]) == again["faces"]


def test_metadata_omits_names_that_are_too_long(handler: ModuleType) -> None:
    face = {"name": "Ünal " * 9, "distance": 0.1, "probability": 0.9, "box": [1.0, 2.0, 3.0, 4.0]}

    metadata = handler.output_metadata({"model": "sface"}, [face] * 40)

    assert "name" not in metadata
    assert metadata["distance"] == "0.1"


def test_metadata_omits_faces_that_are_too_long_for_s3(handler: ModuleType) -> None:
    face = {"name": "Ann", "distance": 0.1234, "probability": 0.9999, "box": [1.0, 2.0, 3.0, 4.0]}

    short = handler.output_metadata({"model": "sface"}, [face])
    long = handler.output_metadata({"model": "sface"}, [face] * 40)

    assert json.loads(short["faces"]) == [face]
    assert "faces" not in long
    assert long["distance"] == "0.1234"
    assert sum(len(k) + len(v) for k, v in long.items()) < 2048


@pytest.mark.parametrize(
    ("variables", "error"),
    [
        ({"MODEL": "facenet-vggface2", "MODELS_DIR": "/nowhere"}, ModelError),
        ({"GALLERY": "/nowhere/data.pt"}, GalleryError),
        ({"FACES": "some"}, SettingsError),
        ({"THRESHOLD": "low"}, SettingsError),
    ],
)
def test_a_cold_start_with_invalid_settings_raises_a_named_error(
    load_handler: Callable[..., ModuleType], variables: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        load_handler(**variables)
