"""Shares out the files that this process may have open: connections, bodies, environments."""

from __future__ import annotations

import errno
import resource

ENOUGH = 65_536
# An environment has a pipe, the Runtime API's sockets, and connections to the server. There are
# several functions, and each may run as many environments.
PER_ENVIRONMENT, FOR_THE_REST = 32, 64
SHORTAGE = (errno.EMFILE, errno.ENFILE)


def raise_limit() -> None:
    """Raise the limit as far as this user may, or to ENOUGH."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def limit() -> int:
    """How many files may be open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def most_environments() -> int:
    """How many environments of each function may run at once."""
    return max(1, (limit() - FOR_THE_REST) // PER_ENVIRONMENT)


def most_connections() -> int:
    """How many connections to serve at once. Each may have the file of a body."""
    return max(8, limit() // 3)
