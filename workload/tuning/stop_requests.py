"""Requests to stop, which interrupt what may be interrupted and wait for the rest."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequests:
    """A context in which Ctrl-C, `kill` and a closed terminal stop only `interruptible()` ones.

    The first request raises KeyboardInterrupt there, at once or when the next one begins. An
    impatient user's further ones do nothing, so that the function gets its memory back.
    """

    def __init__(self) -> None:
        """Start with no request."""
        self._is_asked = False
        self._is_interruptible = False

    def __enter__(self) -> StopRequests:
        self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        is_first, self._is_asked = not self._is_asked, True
        if is_first and self._is_interruptible:
            raise KeyboardInterrupt

    def check(self) -> None:
        """Raise KeyboardInterrupt if there was a request."""
        if self._is_asked:
            raise KeyboardInterrupt

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let a request, also an earlier one, end the context with KeyboardInterrupt."""
        self._is_interruptible = True
        try:
            self.check()
            yield
        finally:
            self._is_interruptible = False
