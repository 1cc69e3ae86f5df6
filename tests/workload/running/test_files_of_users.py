"""The files that users name: only files are opened, and any text gives a named error."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline import text_file
from pipeline.deployment_file import read_file
from pipeline.settings import SettingsError
from workload.reporting.prices import load_prices
from workload.running.expected import read_expected
from workload.running.input_errors import InputError, PricesError, RunError
from workload.running.run import load

READERS: dict[str, tuple[Callable[[Path], Any], type[Exception]]] = {
    "settings": (read_file, SettingsError),
    "run": (load, RunError),
    "prices": (load_prices, PricesError),
    "expected": (read_expected, InputError),
}
PARTS = (
    *("[", "]", "{", "}", '"', ":", ",", "\n", "\r", "=", "#", "\0", "\ufeff", "1e999", "NaN"),
    *("[deployment]\n", "[video-splitting]\n", "FRAMES", "prefix = x\n", "video,name\n", "a.mp4,"),
    *('{"videos": ', '"date": ', "[" * 100_000, "Infinity", "=cmd", "\x1b[31m", "\ud800"),
)


@pytest.fixture(autouse=True)
def _in_time() -> Iterator[None]:
    """End what waits for a writer."""
    signal.alarm(20)
    yield
    signal.alarm(0)


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_not_opened(
    reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, error = READERS[reader]
    fifo, link, large = (tmp_path / name for name in ("fifo", "link", "large"))
    os.mkfifo(fifo)
    link.symlink_to("/dev/zero")
    monkeypatch.chdir(tmp_path)  # the path of a socket may have 100 bytes at most
    with large.open("wb") as file:
        file.truncate(text_file.MAX_BYTES + 1)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        for path in (fifo, link, Path("/dev/zero"), Path("socket").absolute(), tmp_path):
            with pytest.raises(error, match="it is not a regular file"):
                read(path)
    with pytest.raises(error, match="bytes, and 100,000,000 are allowed"):
        read(large)


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@example(["[" * 100_000], True)
@given(st.lists(st.sampled_from(PARTS) | st.text(max_size=5), max_size=8), st.booleans())
def test_any_text_gives_a_named_error_or_is_read(
    tmp_path: Path, parts: list[str], is_utf8: bool
) -> None:
    path = tmp_path / "any"
    text = "".join(parts)
    path.write_bytes(text.encode("utf-8" if is_utf8 else "utf-16", "surrogatepass"))
    for read, error in READERS.values():
        try:
            read(path)
        except error as named:
            message = str(named)
        else:
            message = ""
        assert str(path) in message or not message
