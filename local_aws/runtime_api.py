"""The Lambda Runtime API of one execution environment, served on loopback.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PREFIX = "/2018-06-01/runtime"


@dataclass(frozen=True)
class Invocation:
    """What the runtime client gets from `next`. `deadline_ms`: epoch milliseconds."""

    request_id: str
    payload: bytes
    deadline_ms: int
    arn: str


@dataclass(frozen=True)
class Message:
    """What the runtime client said: "ready", "response", "error", "init-error" or "exit"."""

    kind: str
    body: bytes = b""


class RuntimeApi:
    """A server the environment's runtime client polls; messages from it come out of `messages`."""

    def __init__(self) -> None:
        """Bind a free port of 127.0.0.1 and start serving."""
        self.messages: queue.Queue[Message] = queue.Queue()
        self._next: queue.Queue[Invocation | None] = queue.Queue()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()

    @property
    def address(self) -> str:
        """`host:port`, the form AWS_LAMBDA_RUNTIME_API has."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def send(self, invocation: Invocation) -> None:
        """Hand an invocation to the client, which is waiting in `next`."""
        self._next.put(invocation)

    def next(self) -> Invocation | None:
        """The next invocation; None when the environment is being stopped."""
        self.messages.put(Message("ready"))
        return self._next.get()

    def close(self) -> None:
        """Stop serving; a client waiting in `next` is let go."""
        self._next.put(None)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(api: RuntimeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else each answer waits 40 ms for the client's ACK

        def do_GET(self) -> None:
            if self.path != f"{PREFIX}/invocation/next":
                self._answer(404)
                return
            invocation = api.next()
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
                api.messages.put(Message("init-error", body))
            elif self.path.startswith(f"{PREFIX}/invocation/") and end in ("response", "error"):
                api.messages.put(Message(end, body))
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
            """Say nothing: the function's own log has what matters."""

    return Handler
