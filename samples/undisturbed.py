"""Shield a process that runs a local AWS from its shell's variables and from signals."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from local_aws.client_environ import isolate

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def undisturbed() -> Iterator[dict[str, str]]:
    """Hide the shell's AWS and proxy variables, and turn signals into KeyboardInterrupt.

    Ctrl-C, `kill` and closing the terminal then all unwind every context. Yields the original
    environment.
    """
    inherited = dict(os.environ)
    # A shell makes background jobs ignore SIGINT, which nobody asked for. nohup's is on purpose.
    numbers = [n for n in SIGNALS if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, _stop) for number in numbers}
    isolate()
    try:
        yield inherited
    finally:
        os.environ.clear()
        os.environ.update(inherited)
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(_signum: int, _frame: FrameType | None) -> None:
    for number in SIGNALS:  # a closing terminal may send several while we stop
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
