"""The log of an execution environment."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from local_aws.output import Output


@pytest.fixture
def pipe() -> Iterator[tuple[int, Output]]:
    """The writing end of a pipe, and the log of its output."""
    reads, writes = os.pipe()
    output = Output(os.fdopen(reads, "rb", buffering=0))
    yield writes, output
    os.close(writes)


def test_earlier_output_comes_first(pipe: tuple[int, Output]) -> None:
    writes, output = pipe
    for number in range(1000):
        os.write(writes, b"written %d" % number + b"\n" * (number % 2))

        output.say("END")

        assert [text for _, text in output.take()] == [f"written {number}", "END"]


def test_lines_and_characters_may_arrive_in_parts(pipe: tuple[int, Output]) -> None:
    writes, output = pipe
    text = "grüße, 名前 " * 20_000
    rest = f"{text}\n{text}\n".encode()
    while rest:
        rest = rest[os.write(writes, rest[:4097]) :]

    assert [line for _, line in output.take()] == [text, text]


def test_nothing_is_lost_when_the_writer_ends() -> None:
    for _ in range(200):
        reads, writes = os.pipe()
        pipe = os.fdopen(reads, "rb", buffering=0)
        output = Output(pipe)
        os.write(writes, b"one\n\nlast words")
        os.close(writes)

        assert [text for _, text in output.take()] == ["one", "", "last words"]
        deadline = time.monotonic() + 10
        while not pipe.closed:
            assert time.monotonic() < deadline, "the pipe is still open"
