"""A gallery in S3 is read at start and refreshed when its ETag changes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import gallery
import numpy as np
import pytest
from gallery import GalleryError
from gallery_s3 import S3Gallery
from s3_objects import make_client

from tests.faults.proxy import breaking

Capture = pytest.CaptureFixture[str]
URI = "s3://p-stage-1/galleries/data.pt"
ANN, BOB = np.eye(2, gallery.LENGTHS["sface"], dtype=np.float32)


class Clock:
    """A clock that tests set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def put(s3: Any, folder: Path, names: list[str], model: str = "sface") -> None:
    gallery.save(folder / "data.pt", [ANN, BOB][: len(names)], names, model, 112)
    s3.upload_file(str(folder / "data.pt"), "p-stage-1", "galleries/data.pt")


def parse(data: bytes, name: str) -> gallery.Gallery:
    return gallery.parse(data, name, "sface")


def test_a_newly_enrolled_person_is_known_after_the_refresh_time(s3: Any, tmp_path: Path) -> None:
    put(s3, tmp_path, ["Ann"])
    clock = Clock()
    source = S3Gallery(s3, URI, parse, 60, clock)
    first = source.current()
    assert first.names == ("Ann",)

    # WHEN somebody is enrolled, THEN the change shows after 60 s and not before
    put(s3, tmp_path, ["Ann", "Bob"])
    clock.now += 59
    assert source.current() is first
    clock.now += 1
    assert source.current().names == ("Ann", "Bob")

    # WHEN nothing changes, THEN the gallery is not read again
    second = source.current()
    clock.now += 60
    assert source.current() is second


@contextmanager
def kept(source: S3Gallery, capsys: Capture, reason: str) -> Iterator[None]:
    """The gallery stays the same, and one log line with a metric says why."""
    before = source.current()
    yield
    capsys.readouterr()
    assert source.current() is before
    line = json.loads(capsys.readouterr().out)
    assert re.search(reason, line["warning"])
    assert URI in line["warning"]
    (metric,) = line["_aws"]["CloudWatchMetrics"]
    assert metric["Metrics"] == [{"Name": "GalleryKept", "Unit": "Count"}]
    assert (line["GalleryKept"], line["gallery"]) == (1, before.digest)
    assert set(metric["Dimensions"][0]) <= set(line)


def test_a_good_gallery_is_kept_while_the_new_one_is_broken(
    s3: Any, tmp_path: Path, capsys: Capture
) -> None:
    put(s3, tmp_path, ["Ann"])
    reads: list[bytes] = []

    def counted(data: bytes, name: str) -> gallery.Gallery:
        reads.append(data)
        return parse(data, name)

    source = S3Gallery(s3, URI, counted, 0)
    with kept(source, capsys, "was made with the model facenet-vggface2"):
        put(s3, tmp_path, ["Ann"], "facenet-vggface2")
    with kept(source, capsys, "is not a gallery"):
        s3.put_object(Bucket="p-stage-1", Key="galleries/data.pt", Body=b"no gallery")
    # THEN each check warns, but what has not changed is not read again
    count = len(reads)
    with kept(source, capsys, "is not a gallery"):
        pass
    assert len(reads) == count
    # WHEN it is mended, THEN it counts
    put(s3, tmp_path, ["Ann", "Bob"])
    assert source.current().names == ("Ann", "Bob")


def test_a_good_gallery_is_kept_while_s3_does_not_give_the_new_one(
    s3: Any, endpoint: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(s3, tmp_path, ["Ann"])
    monkeypatch.setenv("TIMEOUT_S", "2")
    faults: list[str] = []
    with breaking(endpoint, lambda _: faults[0] if faults else None) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        source = S3Gallery(make_client(), URI, parse, 0)
        for fault, reason in (
            ("403", "AccessDenied.*its bucket and key admit the function's role"),
            ("503", "SlowDown.*S3 did not answer as it should. It will be read again"),
            ("hang", "timeout.*S3 did not answer"),
            ("reset", "Connection.*S3 did not answer"),
        ):
            with kept(source, capsys, reason):
                faults[:] = [fault]
            faults.clear()
        with kept(source, capsys, "NoSuchKey.*Upload it there"):
            s3.delete_object(Bucket="p-stage-1", Key="galleries/data.pt")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (
            "s3://p-stage-1/nothing.pt",
            "Cannot read the gallery s3://p-stage-1/nothing.pt.*NoSuchKey.*Upload it there",
        ),
        ("s3://p-nowhere/data.pt", "NoSuchBucket.*of a bucket that exists"),
        ("s3://p-stage-1", "use s3://BUCKET/KEY"),
        ("data.pt", "use s3://BUCKET/KEY"),
    ],
)
def test_a_missing_gallery_is_named(s3: Any, uri: str, message: str) -> None:
    with pytest.raises(GalleryError, match=message):
        S3Gallery(s3, uri, parse, 60)


def test_the_function_reads_its_gallery_from_s3_and_refreshes_it(
    s3: Any,
    data_pt: Path,
    sample_photos: Path,
    tmp_path: Path,
    load_handler: Callable[..., ModuleType],
    output_bucket: None,
    capsys: Capture,
) -> None:
    s3.upload_file(str(sample_photos / "obama2.jpg"), "p-stage-1", "kept-up.jpg")
    s3.upload_file(str(data_pt), "p-stage-1", "galleries/data.pt")
    handler = load_handler(GALLERY_URI=URI, GALLERY_REFRESH_S="0", GALLERY="/nowhere/data.pt")
    payload = {"bucket_name": "p-stage-1", "image_file_name": "kept-up.jpg"}

    first = handler.handler(payload, None)["results"][0]["faces"][0]["name"]
    known = gallery.load(data_pt, "sface")
    others = [i for i, name in enumerate(known.names) if name != first]
    rows = [known.embeddings[i] for i in others]
    gallery.save(tmp_path / "data.pt", rows, [known.names[i] for i in others], "sface", 112)
    s3.upload_file(str(tmp_path / "data.pt"), "p-stage-1", "galleries/data.pt")

    assert first == "Barack Obama"
    assert handler.handler(payload, None)["results"][0]["faces"][0]["name"] == "Unknown"

    # WHEN it is replaced by a broken one, THEN videos are answered as before
    s3.put_object(Bucket="p-stage-1", Key="galleries/data.pt", Body=b"no gallery")
    capsys.readouterr()
    assert handler.handler(payload, None)["results"][0]["faces"][0]["name"] == "Unknown"
    assert "is not a gallery" in capsys.readouterr().out
