"""The log of one execution environment: what its process writes and what the platform says."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
import threading
import time
from typing import IO

CHUNK_BYTES = 65_536  # all that a pipe holds


class Output:
    """Log lines in the order of their writing.

    A thread reads the pipe, lest the process waits for room in it. What the thread has not come to
    yet is read before anything is said or taken: an answer may be here before the thread wakes, and
    what the process wrote before it answered belongs before the END line.
    """

    def __init__(self, pipe: IO[bytes]) -> None:
        """Read `pipe`, which has no buffer, until nobody has its other end any more."""
        os.set_blocking(pipe.fileno(), False)
        self._pipe = pipe
        self._part = b""  # of a line
        self._lines: list[tuple[int, str]] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._read_all, daemon=True).start()

    def say(self, text: str) -> None:
        """Add a line, as the platform does, after all that was written up to now."""
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
        """Read what waits in the pipe; a line that has not ended ends here."""
        if not self._pipe.closed:
            self._read(self._waiting())  # and not what comes meanwhile: that may never stop
        if self._part:
            self._add(self._part.decode(errors="replace"))
            self._part = b""

    def _waiting(self) -> int:
        """Bytes in the pipe."""
        answer = fcntl.ioctl(self._pipe, termios.FIONREAD, struct.pack("i", 0))
        return int(struct.unpack("i", answer)[0])

    def _read(self, count: int) -> bool:
        """Read up to `count` bytes, if there are any; False at the end of the pipe."""
        data = self._pipe.read(count)
        *lines, self._part = (self._part + (data or b"")).split(b"\n")
        for line in lines:
            self._add(line.decode(errors="replace"))
        return data != b""

    def _add(self, text: str) -> None:
        self._lines.append((int(time.time() * 1000), text))
