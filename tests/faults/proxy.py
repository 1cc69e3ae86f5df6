"""An HTTP proxy that breaks chosen requests. It forwards the rest unchanged, so signatures hold."""

from __future__ import annotations

import http.client
import http.server
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

# Says how to break a request, if at all: called with each before it is sent on. A number is an HTTP
# status, answered without asking the server. `reset` closes the connection instead; `lost` does so
# once the server has answered, and `half` after a part of its answer. `hang` is silence.
Choose = Callable[["Request"], "str | None"]
# Called with each request and its answer before that is passed on as a whole.
Heed = Callable[["Request", bytes], None]

LAMBDA_ERRORS = {
    "403": "AccessDeniedException",
    "429": "TooManyRequestsException",
    "500": "ServiceException",
    "503": "ServiceUnavailableException",
}
S3_ERRORS = {"403": "AccessDenied", "429": "SlowDown", "500": "InternalError", "503": "SlowDown"}
SLOW_S = 0.1  # before each quarter of a slow answer
# Headers that concern one connection, not the request.
OF_THE_CONNECTION = ("connection", "expect", "keep-alive", "transfer-encoding")


class Request(http.server.BaseHTTPRequestHandler):
    """One request on its way: `command`, `path`, `headers` and `body`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Proxy
    body: bytes

    def _forward(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.choose(self)
        if fault is None:
            answer = self._answer()
            self.server.heed(self, answer)
            self.wfile.write(answer)
        elif fault.isdecimal():
            self.wfile.write(self._refusal(fault))
        elif fault == "hang":
            while not self.server.ended.is_set() and not self._has_left():
                pass
            self.close_connection = True
        else:
            self._break(fault, b"" if fault == "reset" else self._answer())

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _forward

    def _break(self, fault: str, answer: bytes) -> None:
        if fault == "slow":
            self.server.heed(self, answer)
            size = len(answer) // 4 + 1
            for start in range(0, len(answer), size):
                time.sleep(SLOW_S)
                self.wfile.write(answer[start : start + size])
            return
        if fault == "half":
            head, gap, body = answer.partition(b"\r\n\r\n")
            self.wfile.write(head + gap + body[: len(body) // 2] if body else head[:9])
            time.sleep(0.05)  # a reset would take back what has not been read yet
        reset = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        self.close_connection = True

    def _has_left(self) -> bool:
        """Whether the client has closed the connection within a tenth of a second."""
        readable, _, _ = select.select([self.connection], [], [], 0.1)
        return bool(readable)

    def _answer(self) -> bytes:
        """The server's answer as bytes, with its length instead of chunks."""
        upstream = http.client.HTTPConnection(*self.server.target, timeout=120)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in OF_THE_CONNECTION:
                upstream.putheader(name, value)
        upstream.endheaders(self.body)
        answer = upstream.getresponse()
        body = answer.read()
        upstream.close()
        lines = [f"HTTP/1.1 {answer.status} {answer.reason}"]
        lines += [
            f"{name}: {value}"
            for name, value in answer.getheaders()
            if name.lower() not in (*OF_THE_CONNECTION, "content-length")
        ]
        length = answer.headers.get("Content-Length") if self.command == "HEAD" else len(body)
        return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode("latin-1") + body

    def _refusal(self, status: str) -> bytes:
        """An error as S3 or Lambda words it."""
        if "/functions/" in self.path:
            header = f"x-amzn-ErrorType: {LAMBDA_ERRORS[status]}\r\n"
            body = '{"message": "made by a test"}'
        else:
            header = "Content-Type: application/xml\r\n"
            code = S3_ERRORS[status]
            body = f"<Error><Code>{code}</Code><Message>made by a test</Message></Error>"
        head = f"HTTP/1.1 {status} Made\r\n{header}Content-Length: {len(body)}\r\n\r\n"
        return (head + body * (self.command != "HEAD")).encode()

    def log_message(self, *args: object) -> None:
        """Do not log requests."""


class Proxy(http.server.ThreadingHTTPServer):
    """Forwards every request to `endpoint`, except those that `choose` breaks."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, endpoint: str, choose: Choose, heed: Heed) -> None:
        """Listen on a free port of 127.0.0.1."""
        super().__init__(("127.0.0.1", 0), Request)
        parts = urlsplit(endpoint)
        self.target = (str(parts.hostname), parts.port)
        self.choose, self.heed = choose, heed
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        """The endpoint for clients."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that have left."""


@contextmanager
def breaking(
    endpoint: str, choose: Choose, heed: Heed = lambda _request, _answer: None
) -> Iterator[Proxy]:
    """A proxy before `endpoint` that serves as long as the context."""
    proxy = Proxy(endpoint, choose, heed)
    threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.ended.set()
        proxy.shutdown()
        proxy.server_close()
