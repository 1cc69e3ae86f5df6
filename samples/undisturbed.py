"""A process that runs a local AWS: led nowhere else by its shell, and stopped in order."""

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
    """No variable of the shell leads a client elsewhere, and signals leave every context in order.

    Ctrl-C, `kill` and a terminal that is closed all raise KeyboardInterrupt. The context is the
    environment as it was.
    """
    inherited = dict(os.environ)
    # A shell starts background jobs deaf to SIGINT, which is no wish; nohup's deafness is one.
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
    for number in SIGNALS:  # a closing terminal may send several, and stopping takes its time
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
