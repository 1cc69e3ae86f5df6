"""The Lambda Runtime API of one execution environment, served on loopback.

Any program on the machine can reach loopback, and so can a web page in its browser. So each
connection must come from a process of the environment. A secret in the address would not do: most
runtime clients, awslambdaric's among them, read AWS_LAMBDA_RUNTIME_API as host:port and nothing
more.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# Takes the two ends of a connection, the client's first; says whether the client may use the API.
IsOwn = Callable[[tuple[str, int], tuple[str, int]], bool]

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


class WrongState(Exception):
    """The client may not send this now: it has answered, or has not been asked."""


class RuntimeApi:
    """The server that the runtime client polls; `messages` holds what the client sends."""

    def __init__(self) -> None:
        """Listen on a free port of 127.0.0.1. Connections wait until `start`."""
        self.messages: queue.Queue[Message] = queue.Queue()
        self._next: queue.Queue[Invocation | None] = queue.Queue()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._server.daemon_threads = True
        self._is_closed = False
        self._is_initialized = False
        self._running: str | None = None  # the ID of the invocation that the client has
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self, is_own: IsOwn) -> None:
        """Serve the connections that `is_own` allows."""
        self.is_own = is_own
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
        """The next invocation; None if the environment is being stopped.

        Raise WrongState if the client has not answered the last one.
        """
        with self._lock:
            if self._running is not None:
                raise WrongState
            self._is_initialized = True
        self.messages.put(Message("ready"))
        invocation = self._next.get()
        with self._lock:
            self._running = None if invocation is None else invocation.request_id
        return invocation

    def answer(self, request_id: str, message: Message) -> bool:
        """Take the answer to an invocation; return False if it is not the one that runs."""
        with self._lock:
            if request_id != self._running:
                return False
            self._running = None
        self.messages.put(message)
        return True

    def fail_init(self, body: bytes) -> None:
        """Take the error that INIT ended with; raise WrongState if it has ended well."""
        if self._is_initialized:
            raise WrongState
        self.messages.put(Message("init-error", body))

    def _serve(self) -> None:
        # serve_forever() would wake up many times a second, in every environment.
        while not self._is_closed:
            self._server.handle_request()

    def close(self) -> None:
        """Stop serving, and release a client that waits in `next`."""
        self._next.put(None)
        self._is_closed = True
        if self._thread is not None:
            # Ends the wait for a connection. It needs no descriptor, of which there may be none.
            with contextlib.suppress(OSError):
                self._server.socket.shutdown(socket.SHUT_RDWR)
            self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise each response waits 40 ms for an ACK

    def __init__(self, api: RuntimeApi, *args: Any) -> None:
        self._api = api  # first: BaseHTTPRequestHandler serves the request in its constructor
        super().__init__(*args)

    def setup(self) -> None:
        super().setup()
        self._is_own = self._api.is_own(self.client_address, self.connection.getsockname())

    def parse_request(self) -> bool:
        """Read the request line and the headers; refuse whoever is not the runtime client."""
        if not super().parse_request():
            return False
        if not self._is_own:
            self._refuse(
                HTTPStatus.FORBIDDEN, "AccessDenied", "This process is not of the environment"
            )
        elif self.headers.get("Host") != self._api.address or "Origin" in self.headers:
            self._refuse(HTTPStatus.FORBIDDEN, "AccessDenied", "Not a request of a runtime client")
        else:
            return True
        return False

    def do_GET(self) -> None:
        if self.path != f"{PREFIX}/invocation/next":
            self._refuse(HTTPStatus.NOT_FOUND, "NotFound", "There is no such path")
            return
        try:
            invocation = self._api.next()
        except WrongState:
            self._refuse_state()
            return
        if invocation is None:
            self.close_connection = True
            return
        self._answer(
            HTTPStatus.OK,
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
        match self.path.removeprefix(f"{PREFIX}/").split("/"):
            case ["init", "error"]:
                try:
                    self._api.fail_init(body)
                except WrongState:
                    self._refuse_state()
                    return
            case ["invocation", request_id, ("response" | "error") as end]:
                if not self._api.answer(request_id, Message(end, body)):
                    text = "Invalid request ID"
                    self._refuse(HTTPStatus.BAD_REQUEST, "InvalidRequestID", text)
                    return
            case _:
                self._refuse(HTTPStatus.NOT_FOUND, "NotFound", "There is no such path")
                return
        self._answer(HTTPStatus.ACCEPTED, b'{"status":"OK"}')

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

    def _refuse_state(self) -> None:
        self._refuse(HTTPStatus.FORBIDDEN, "InvalidStateTransition", "Not in this state")

    def _refuse(self, status: HTTPStatus, kind: str, message: str) -> None:
        """Answer with an error in the Runtime API's format, and end the connection.

        The unread rest of the request could otherwise pass for another one.
        """
        body = json.dumps({"errorMessage": message, "errorType": kind}).encode()
        self._answer(status, body, {"Connection": "close"})

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
