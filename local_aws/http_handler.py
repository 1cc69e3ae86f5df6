"""Serves WSGI requests over HTTP, several per connection.

werkzeug's own handler waits 10 ms and closes the connection after every response. Clients then
connect again for every request, which took most of the server's time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import IO, Any, cast
from wsgiref.types import WSGIEnvironment

from moto.moto_server.werkzeug_app import MotoRequestHandler

BLOCK = 1 << 16
NO_BODY = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)

log = logging.getLogger(__name__)


class RequestBody:
    """The body of one request: reading it ends where the next request begins."""

    def __init__(self, stream: IO[bytes], length: int) -> None:
        """Read `length` bytes from `stream`."""
        self._stream = stream
        self._left = length

    def read(self, size: int | None = -1) -> bytes:
        """Up to `size` bytes, or all that are left."""
        whole = size is None or size < 0 or size > self._left
        data = self._stream.read(self._left if whole else cast("int", size))
        self._left = self._left - len(data) if data else 0  # the client may be gone
        return data

    def readline(self, size: int | None = -1) -> bytes:
        """A line, or its first `size` bytes."""
        whole = size is None or size < 0 or size > self._left
        data = self._stream.readline(self._left if whole else cast("int", size))
        self._left = self._left - len(data) if data else 0
        return data

    def __iter__(self) -> Iterable[bytes]:
        """The lines."""
        while line := self.readline():
            yield line


class Response:
    """One response, sent as the application produces it."""

    def __init__(self, handler: Handler) -> None:
        """Answer the handler's current request."""
        self._handler = handler
        self._status = ""
        self._headers: list[tuple[str, str]] = []
        self._is_chunked = False
        self._left: int | None = None  # bytes that the Content-Length promises
        self.has_begun = False

    def begin(
        self, status: str, headers: list[tuple[str, str]], error: Any = None, /
    ) -> Callable[[bytes], object]:
        """WSGI's start_response."""
        self._status, self._headers = status, headers
        return self.write

    def write(self, data: bytes) -> None:
        """Send a part of the body, after the headers if it is the first."""
        if not self.has_begun:
            self._send_headers()
        if self._has_body and data:
            stream = self._handler.wfile
            stream.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)
            self._left = None if self._left is None else self._left - len(data)
        self._handler.wfile.flush()

    def end(self) -> None:
        """Send what is missing. A response of another length than it said ends the connection."""
        if not self.has_begun:
            self._send_headers()
        if self._is_chunked:
            self._handler.wfile.write(b"0\r\n\r\n")
        self._handler.wfile.flush()
        if self._left and self._has_body:
            self._handler.close_connection = True

    @property
    def _has_body(self) -> bool:
        code = int(self._status.split()[0])
        return self._handler.command != "HEAD" and code not in NO_BODY

    def _send_headers(self) -> None:
        self.has_begun = True
        code, _, reason = self._status.partition(" ")
        handler = self._handler
        handler.send_response(int(code), reason)
        for name, value in self._headers:
            handler.send_header(name, value)  # which obeys Connection: close
        lengths = [int(value) for name, value in self._headers if name.lower() == "content-length"]
        self._left = lengths[0] if lengths else None
        if self._left is None and self._has_body:
            if handler.request_version >= "HTTP/1.1":
                self._is_chunked = True
                handler.send_header("Transfer-Encoding", "chunked")
            else:
                handler.close_connection = True
        handler.end_headers()


class Handler(MotoRequestHandler):  # type: ignore[misc]
    """moto's request handler with persistent connections, and silent."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise small responses wait 40 ms for an ACK
    _is_new = True  # no request yet
    wbufsize = -1  # headers and a small body are sent together

    def handle_one_request(self) -> None:
        """Wait for a request and serve it."""
        try:
            with self.server.waiting(self.connection, is_new=self._is_new):
                self.rfile.peek(1)
        except OSError:
            self.close_connection = True
            return
        self._is_new = False
        super().handle_one_request()

    def handle_expect_100(self) -> bool:
        """Tell the client at once to send the body; otherwise it waits for a second."""
        go_on = bool(super().handle_expect_100())
        self.wfile.flush()
        return go_on

    def run_wsgi(self) -> None:
        """Serve one request."""
        environ: WSGIEnvironment = self.make_environ()
        if not environ.get("wsgi.input_terminated"):
            length = environ.get("CONTENT_LENGTH") or "0"
            if not length.isdecimal():  # where the next request begins, nobody knows
                self.send_error(HTTPStatus.BAD_REQUEST)
                return
            environ["wsgi.input"] = RequestBody(self.rfile, int(length))
        body = environ["wsgi.input"]  # the application may put another one there
        response = Response(self)
        try:
            self._run(environ, response)
            while body.read(BLOCK):
                pass  # the unread rest would be taken for the next request
        except (ConnectionError, TimeoutError) as error:
            self.close_connection = True
            self.connection_dropped(error, environ)
        except Exception:
            # A fault of ours, which ends this connection and no other: the client gets an answer.
            log.exception("%s %s failed", self.command, self.path)
            self.close_connection = True
            if not response.has_begun:
                response.begin("500 Internal Server Error", [("Content-Length", "0")])
                response.end()

    def _run(self, environ: WSGIEnvironment, response: Response) -> None:
        parts = self.server.app(environ, response.begin)
        try:
            for part in parts:
                response.write(part)
            response.end()
        finally:
            if hasattr(parts, "close"):
                parts.close()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Do not log requests: they would drown everything else."""
