"""The log of one execution environment: its process's output and the platform's lines."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
import threading
import time
from typing import IO

CHUNK_BYTES = 65_536  # the capacity of a pipe


class Output:
    """Log lines in the order in which they were written.

    A thread reads the pipe so that the process never blocks on a full one. `say` and `take` first
    read what the thread has not reached yet: a response may arrive before the thread wakes up, and
    everything the process wrote before it belongs before the END line.
    """

    def __init__(self, pipe: IO[bytes]) -> None:
        """Read the unbuffered `pipe` until all its writers have closed it."""
        os.set_blocking(pipe.fileno(), False)
        self._pipe = pipe
        self._part = b""  # of a line
        self._lines: list[tuple[int, str]] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._read_all, daemon=True).start()

    def say(self, text: str) -> None:
        """Add a line of the platform after everything written so far."""
        with self._lock:
            self._catch_up()
            self._add(text)

    def take(self) -> list[tuple[int, str]]:
        """The lines (epoch ms, text) since the last call."""
        with self._lock:
            self._catch_up()
            lines, self._lines = self._lines, []
        return lines

    def _read_all(self) -> None:
        ready = select.poll()
        ready.register(self._pipe, select.POLLIN)
        while not self._pipe.closed:
            ready.poll()
            with self._lock:
                if self._read(CHUNK_BYTES):
                    continue
                self._catch_up()
                self._pipe.close()

    def _catch_up(self) -> None:
        """Read what is in the pipe. An unfinished line becomes a line."""
        if not self._pipe.closed:
            self._read(self._waiting())  # no more: a busy writer might never stop
        if self._part:
            self._add(self._part.decode(errors="replace"))
            self._part = b""

    def _waiting(self) -> int:
        """Bytes in the pipe."""
        answer = fcntl.ioctl(self._pipe, termios.FIONREAD, struct.pack("i", 0))
        return int(struct.unpack("i", answer)[0])

    def _read(self, count: int) -> bool:
        """Read up to `count` bytes without waiting; return False at the end of the pipe."""
        data = self._pipe.read(count)
        *lines, self._part = (self._part + (data or b"")).split(b"\n")
        for line in lines:
            self._add(line.decode(errors="replace"))
        return data != b""

    def _add(self, text: str) -> None:
        self._lines.append((int(time.time() * 1000), text))
