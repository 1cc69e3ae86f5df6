"""The Lambda Runtime API of one execution environment, served on loopback.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PREFIX = "/2018-06-01/runtime"


@dataclass(frozen=True)
class Invocation:
    """What the runtime client gets from `next`. `deadline_ms` is in epoch milliseconds."""

    request_id: str
    payload: bytes
    deadline_ms: int
    arn: str


@dataclass(frozen=True)
class Message:
    """A message of the runtime client.

    `kind` is "ready", "response", "error" or "init-error". The environment adds "exit" and
    "timeout".
    """

    kind: str
    body: bytes = b""


class RuntimeApi:
    """The server that the runtime client polls; `messages` holds what the client sends."""

    def __init__(self) -> None:
        """Start serving on a free port of 127.0.0.1."""
        self.messages: queue.Queue[Message] = queue.Queue()
        self._next: queue.Queue[Invocation | None] = queue.Queue()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._server.daemon_threads = True
        self._is_closed = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """`host:port`, the format of AWS_LAMBDA_RUNTIME_API."""
        return f"127.0.0.1:{self._server.server_port}"

    def send(self, invocation: Invocation) -> None:
        """Give an invocation to the client, which waits in `next`."""
        self._next.put(invocation)

    def next(self) -> Invocation | None:
        """The next invocation; None if the environment is being stopped."""
        self.messages.put(Message("ready"))
        return self._next.get()

    def _serve(self) -> None:
        # serve_forever() would wake up many times a second, in every environment.
        while not self._is_closed:
            self._server.handle_request()

    def close(self) -> None:
        """Stop serving, and release a client that waits in `next`."""
        self._next.put(None)
        self._is_closed = True
        with contextlib.suppress(OSError):  # a connection ends the wait for one
            socket.create_connection(("127.0.0.1", self._server.server_port), timeout=1).close()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise each response waits 40 ms for an ACK

    def __init__(self, api: RuntimeApi, *args: Any) -> None:
        self._api = api  # first: BaseHTTPRequestHandler serves the request in its constructor
        super().__init__(*args)

    def do_GET(self) -> None:
        if self.path != f"{PREFIX}/invocation/next":
            self._answer(404)
            return
        invocation = self._api.next()
        if invocation is None:
            self.close_connection = True
            return
        self._answer(
            200,
            invocation.payload,
            {
                "Content-Type": "application/json",
                "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
                "Lambda-Runtime-Deadline-Ms": str(invocation.deadline_ms),
                "Lambda-Runtime-Invoked-Function-Arn": invocation.arn,
                "Lambda-Runtime-Trace-Id": "Root=1-00000000-000000000000000000000000",
            },
        )

    def do_POST(self) -> None:
        body = self._body()
        end = self.path.rsplit("/", 1)[-1]
        if self.path == f"{PREFIX}/init/error":
            self._api.messages.put(Message("init-error", body))
        elif self.path.startswith(f"{PREFIX}/invocation/") and end in ("response", "error"):
            self._api.messages.put(Message(end, body))
        else:
            self._answer(404)
            return
        self._answer(202, b'{"status":"OK"}')

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers
        return b"".join(chunks)

    def _answer(
        self, status: int, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Log nothing: the function's own log has what matters."""
