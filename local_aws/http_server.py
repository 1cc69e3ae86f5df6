"""The HTTP server: a thread per connection, and no more connections than files may be open."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from wsgiref.types import WSGIApplication

from werkzeug.serving import ThreadedWSGIServer

from local_aws.http_handler import Handler

WAIT_S = 0.1


class HttpServer(ThreadedWSGIServer):
    """Further connections wait in the listening socket's queue until there is room.

    Then connections without a request are closed, the one that has waited longest first. Clients
    connect again.
    """

    def __init__(self, app: WSGIApplication, listening: socket.socket, most: int) -> None:
        """Serve `app` on the socket, `most` connections at once."""
        host, port = listening.getsockname()
        super().__init__(host, port, app, Handler, fd=listening.fileno())
        self._room = threading.Semaphore(most)
        self._idle: dict[socket.socket, float] = {}  # since when, in this order
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def waiting(self, connection: socket.socket) -> Iterator[None]:
        """While a connection waits for a request."""
        with self._lock:
            self._idle[connection] = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                del self._idle[connection]

    def get_request(self) -> Any:
        """Accept a connection; raise OSError, which means later, if there is no room."""
        if not self._room.acquire(blocking=False):
            self._close_idle()
            if not self._room.acquire(timeout=WAIT_S):
                raise OSError(errno.EMFILE, "no room for another connection")
        try:
            return super().get_request()
        except OSError:
            self._room.release()
            time.sleep(WAIT_S)  # no descriptor is free: the caller would try again at once
            raise

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        try:
            super().shutdown_request(request)
        finally:
            self._room.release()

    def _close_idle(self) -> None:
        """Close a connection that has waited for a while: a request may be under way on others."""
        with self._lock:
            longest = next(iter(self._idle.items()), None)
            if longest is not None and time.monotonic() - longest[1] > WAIT_S:
                with contextlib.suppress(OSError):
                    longest[0].shutdown(socket.SHUT_RD)
