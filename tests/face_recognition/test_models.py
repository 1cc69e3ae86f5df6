"""Fetching model files with real HTTP and real pip, and refusing wrong ones."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import models
import pytest
from models import Model, ModelError, Url, Wheel, fetch, model_path

DATA = bytes(range(256)) * 4096  # 1 MiB


class Source(BaseHTTPRequestHandler):
    """Serves DATA; /wrong serves other bytes and /no-range ignores Range.

    /half always disconnects halfway, /thirds after each third.
    """

    ranges: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.ranges.append(asked)
        if self.path == "/missing":
            self.send_error(404)
            return
        data = DATA[::-1] if self.path == "/wrong" else DATA
        start = int(asked[6:-1]) if asked and self.path != "/no-range" else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        end = {"/half": len(data) // 2, "/thirds": start + len(data) // 3 + 1}.get(self.path)
        self.wfile.write(data[start:end])

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    Source.ranges.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Source)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def table(monkeypatch: pytest.MonkeyPatch, *sources: Url | Wheel) -> None:
    """Add the model `m` with these sources to the known models."""
    model = Model("m", "m.bin", len(DATA), hashlib.sha256(DATA).hexdigest(), sources)
    monkeypatch.setitem(models.MODELS, "m", model)


def test_the_first_working_source_is_used(
    monkeypatch: pytest.MonkeyPatch, address: str, tmp_path: Path
) -> None:
    table(monkeypatch, Url(f"{address}/missing"), Url(f"{address}/wrong"), Url(f"{address}/good"))

    path = fetch("m", tmp_path / "models")

    assert path.read_bytes() == DATA
    assert [p.name for p in path.parent.iterdir()] == ["m.bin"]


def test_a_correct_file_is_kept_and_a_damaged_one_fetched_again(
    monkeypatch: pytest.MonkeyPatch, address: str, tmp_path: Path
) -> None:
    table(monkeypatch, Url(f"{address}/good"))
    path = fetch("m", tmp_path)
    fetch("m", tmp_path)
    assert len(Source.ranges) == 1

    path.write_bytes(DATA[::-1])

    assert fetch("m", tmp_path).read_bytes() == DATA
    assert len(Source.ranges) == 2


@pytest.mark.parametrize("end", ["good", "no-range"])
def test_an_interrupted_download_is_resumed(
    monkeypatch: pytest.MonkeyPatch, address: str, tmp_path: Path, end: str
) -> None:
    # GIVEN a source that always disconnects halfway
    half = len(DATA) // 2
    table(monkeypatch, Url(f"{address}/half"))
    with pytest.raises(ModelError, match=f"the download stopped after {half:,} of 1,048,576 bytes"):
        fetch("m", tmp_path)
    assert (tmp_path / "m.bin.part").read_bytes() == DATA[:half]
    assert Source.ranges == [None, f"bytes={half}-"]

    # WHEN it is fetched again from a working source
    table(monkeypatch, Url(f"{address}/{end}"))

    assert fetch("m", tmp_path).read_bytes() == DATA
    assert Source.ranges[2:] == [f"bytes={half}-"]
    assert [p.name for p in tmp_path.iterdir()] == ["m.bin"]


def test_a_download_reconnects_within_one_run(
    monkeypatch: pytest.MonkeyPatch, address: str, tmp_path: Path
) -> None:
    table(monkeypatch, Url(f"{address}/thirds"))

    assert fetch("m", tmp_path).read_bytes() == DATA
    third = len(DATA) // 3 + 1
    assert Source.ranges == [None, f"bytes={third}-", f"bytes={2 * third}-"]


def test_a_partial_file_of_something_else_is_replaced(
    monkeypatch: pytest.MonkeyPatch, address: str, tmp_path: Path
) -> None:
    (tmp_path / "m.bin.part").write_bytes(b"<html>")
    table(monkeypatch, Url(f"{address}/good"))

    assert fetch("m", tmp_path).read_bytes() == DATA
    assert Source.ranges == ["bytes=6-", None]


def test_an_obstacle_in_the_folder_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    target = tmp_path / "models" / "sface.onnx"
    target.mkdir(parents=True)

    for folder, reason in (
        (file, f"Cannot create the folder {file}"),
        (target.parent, f"{target} is a folder"),
    ):
        done = run("fetch", "sface", "--dir", str(folder))
        assert done.returncode == 1
        assert done.stderr.startswith(f"Error: {reason}")


def test_without_a_working_source_the_error_says_what_was_tried_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, address: str, tmp_path: Path
) -> None:
    wheel = Wheel("six==0.0.0", "no-such-member")
    table(monkeypatch, Url(f"{address}/missing"), Url(f"{address}/wrong"), wheel)

    with pytest.raises(ModelError) as error:
        fetch("m", tmp_path)

    text = str(error.value)
    for part in (
        f"{address}/missing: HTTP Error 404",
        f"{address}/wrong: the download does not have",
        "six==0.0.0",
    ):
        assert part in text
    assert f"place it as {tmp_path / 'm.bin'} (1,048,576 bytes, SHA-256" in text
    assert not (tmp_path / "m.bin").exists()


def test_a_missing_or_short_file_says_how_to_fetch_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table(monkeypatch)
    with pytest.raises(ModelError, match=r"is missing: run python3 .*models\.py fetch m"):
        model_path("m", tmp_path)
    (tmp_path / "m.bin").write_bytes(b"short")
    with pytest.raises(ModelError, match="has 5 bytes, not 1,048,576"):
        model_path("m", tmp_path)


def test_sface_comes_from_its_wheel(models_dir: Path) -> None:
    path = model_path("sface", models_dir)

    assert models.is_correct(path, models.MODELS["sface"])


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, models.__file__, *words]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_command_line(models_dir: Path, tmp_path: Path) -> None:
    assert "facenet-vggface2" in run("list").stdout
    assert run("check", "sface", "--dir", str(models_dir)).returncode == 0
    assert "choose one of facenet-vggface2, sface" in run("fetch", "other").stderr
    (tmp_path / "sface.onnx").write_bytes(bytes(models.MODELS["sface"].size))
    damaged = run("check", "sface", "--dir", str(tmp_path))
    assert damaged.returncode == 1
    assert "does not have the expected SHA-256" in damaged.stderr


def test_it_needs_only_the_standard_library() -> None:
    isolated = [sys.executable, "-E", "-s", "-S", models.__file__, "list"]

    assert subprocess.run(isolated, capture_output=True).returncode == 0


@pytest.mark.parametrize("place", ["DEFAULT_DIR", "DEMO_DIR"])
def test_an_installed_model_is_found_where_it_was_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    table(monkeypatch)
    for folder in ("DEFAULT_DIR", "DEMO_DIR"):
        monkeypatch.setattr(models, folder, tmp_path / folder)
    with pytest.raises(ModelError, match=r"neither in .* nor in .*: run python3 .* fetch m\.$"):
        models.installed_path("m")

    (tmp_path / place).mkdir()
    (tmp_path / place / "m.bin").write_bytes(DATA)
    (tmp_path / place / "sface.onnx").write_bytes(b"")

    assert models.installed_path("m") == tmp_path / place / "m.bin"
    with pytest.raises(ModelError, match="fetch facenet-vggface2, or use --model sface, which is"):
        models.installed_path("facenet-vggface2")
    (tmp_path / place / "m.bin").write_bytes(b"cut off")
    with pytest.raises(ModelError, match="has 7 bytes, not 1,048,576: delete it"):
        models.installed_path("m")


def test_the_models_own_folder_comes_before_the_demos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table(monkeypatch)
    for folder in ("DEFAULT_DIR", "DEMO_DIR"):
        monkeypatch.setattr(models, folder, tmp_path / folder)
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "m.bin").write_bytes(DATA)

    assert models.installed_path("m") == tmp_path / "DEFAULT_DIR" / "m.bin"
