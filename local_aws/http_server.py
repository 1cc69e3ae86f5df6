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
FIRST_REQUEST_S = 10  # a busy client may take a while


class HttpServer(ThreadedWSGIServer):
    """Further connections wait in the listening socket's queue until there is room.

    Then connections that wait for another request are closed, and clients connect again.
    """

    def __init__(self, app: WSGIApplication, listening: socket.socket, most: int) -> None:
        """Serve `app` on the socket, `most` connections at once."""
        host, port = listening.getsockname()
        super().__init__(host, port, app, Handler, fd=listening.fileno())
        self._room = threading.Semaphore(most)
        self._idle: dict[socket.socket, float] = {}  # from when on they may be closed
        self._lock = threading.Lock()
        self._closed = threading.Event()

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Serve in a thread meanwhile."""
        thread = threading.Thread(target=self._serve, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._closed.set()
            # Ends the wait for a connection, also in the socket this one is a duplicate of.
            self.socket.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            self.server_close()

    def _serve(self) -> None:
        # serve_forever() would wake up twice a second, and end that much later.
        while not self._closed.is_set():
            self.handle_request()

    @contextlib.contextmanager
    def waiting(self, connection: socket.socket, *, is_new: bool) -> Iterator[None]:
        """While a connection waits for a request; if it `is_new`, for its first."""
        with self._lock:
            self._idle[connection] = time.monotonic() + (FIRST_REQUEST_S if is_new else WAIT_S)
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
            self._closed.wait(WAIT_S)  # no descriptor is free: the caller would try again at once
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
            oldest = min(self._idle, key=lambda one: self._idle[one], default=None)
            if oldest is not None and self._idle[oldest] < time.monotonic():
                with contextlib.suppress(OSError):
                    oldest.shutdown(socket.SHUT_RD)
