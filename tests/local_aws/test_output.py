"""The log of an execution environment."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from local_aws.output import Output


@pytest.fixture
def pipe() -> Iterator[tuple[int, Output]]:
    """What writes, and the log of what it writes."""
    reads, writes = os.pipe()
    output = Output(os.fdopen(reads, "rb", buffering=0))
    yield writes, output
    os.close(writes)


def test_what_was_written_before_comes_before(pipe: tuple[int, Output]) -> None:
    writes, output = pipe
    for number in range(1000):
        os.write(writes, b"written %d" % number + b"\n" * (number % 2))

        output.say("END")

        assert [text for _, text in output.take()] == [f"written {number}", "END"]


def test_a_line_may_come_in_parts_and_a_character_too(pipe: tuple[int, Output]) -> None:
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
            assert time.monotonic() < deadline, "it is still read"
