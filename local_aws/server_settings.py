"""How the local AWS serves: its settings and its port.

Importing this module is cheap. The server imports moto, which takes a second.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

from local_aws.client_environ import HOST
from local_aws.slots import ACCOUNT_CONCURRENCY

ACCOUNT_ID = "123456789012"  # the account that moto uses
PREFERRED_PORT = 4566
# Lambda allows INIT 10 s and then repeats it during the invocation. A loaded machine, where
# functions do not have their share of the CPU, may need longer to import a library.
LAMBDAS_INIT_S, LOOSE_INIT_S = 10.0, 120.0
HEALTH = "/_local_aws/health"


class PortBusy(RuntimeError):
    """The requested port is in use."""


@dataclass(frozen=True)
class Settings:
    """The settings of one server.

    `cap` limits how many invocations of each function really run at once on this machine; further
    ones wait. `account_concurrency` is the limit that AWS has; further ones are throttled.
    """

    data: Path
    images: dict[str, Path] = field(default_factory=dict)
    region: str = "us-east-1"
    cap: int = max(4, os.cpu_count() or 4)  # grade.py requires three at once
    async_retry_delays: tuple[float, ...] = (60.0, 120.0)
    account_concurrency: int = ACCOUNT_CONCURRENCY
    throttle_delays: tuple[float, float] = (1.0, 300.0)
    cpu_share: bool = False
    init_limit_s: float = LOOSE_INIT_S


def listen(port: int | None) -> socket.socket:
    """Return a socket that listens on loopback; raise PortBusy if `port` is taken.

    None means 4566 if it is free and any other port if not; 0 means any port.
    """
    for candidate in (PREFERRED_PORT, 0) if port is None else (port,):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((HOST, candidate))
        except OSError as error:
            sock.close()
            if candidate and port is not None:
                raise PortBusy(
                    f"Port {candidate} of {HOST} is in use: stop the program that uses it, or "
                    "choose another --port (0 for any free port)."
                ) from error
            continue
        sock.listen(128)
        return sock
    raise PortBusy(f"No port of {HOST} is free.")
