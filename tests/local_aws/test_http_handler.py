"""Persistent connections: one request ends exactly where the next one begins."""

from __future__ import annotations

import http.client
import os
import resource
import socket
import time
from collections.abc import Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from local_aws.http_server import WAIT_S, HttpServer

MOST = 4  # connections
PARTS = [b"one", b"", b"two"]


def application(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    """Answer as the path says."""
    path = environ["PATH_INFO"]
    if path == "/fails":
        raise ValueError("always")
    if path == "/echo":
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start("200 OK", [("Content-Length", str(len(body)))])
        return [body]
    if path == "/lines":
        lines = [environ["wsgi.input"].readline() for _ in range(3)]
        start("200 OK", [])
        return lines
    if path == "/short":
        start("200 OK", [("Content-Length", "10")])
        return [b"short"]
    start("204 No Content" if path == "/nothing" else "200 OK", [])
    return PARTS


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    """A server of the application."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
        server = HttpServer(application, listening, most=MOST)
    with server.serving():
        yield address


def test_a_server_that_waits_for_a_connection_ends_at_once() -> None:
    took = []
    for _ in range(3):  # another process may hold up one of them
        with socket.create_server(("127.0.0.1", 0)) as listening:
            server = HttpServer(application, listening, most=MOST)
            with server.serving():
                time.sleep(0.05)  # it waits
                started = time.monotonic()
        took.append(time.monotonic() - started)

    assert min(took) < 0.2


@pytest.fixture
def client(address: tuple[str, int]) -> Iterator[http.client.HTTPConnection]:
    """A client that does not connect again."""
    connection = http.client.HTTPConnection(*address, timeout=5)
    connection.auto_open = 0
    connection.connect()
    yield connection
    connection.close()


def ask(client: http.client.HTTPConnection, method: str, path: str, **options: Any) -> bytes:
    """The body of the response."""
    client.request(method, path, **options)
    return client.getresponse().read()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/echo", b"x" * 200_000),
        ("PUT", "/unread", b"GET /echo HTTP/1.1\r\n\r\n" * 20_000),
        ("POST", "/lines", b"one\ntwo\nthree"),
        ("PUT", "/unread", [b"chunk", b"ed"]),
        ("HEAD", "/parts", None),
        ("GET", "/nothing", None),
    ],
)
def test_a_connection_goes_on_after(
    client: http.client.HTTPConnection, method: str, path: str, body: Any
) -> None:
    answer = ask(client, method, path, body=body)

    expected = {"/echo": body, "/lines": body, "/unread": b"onetwo"}
    assert answer == expected.get(path, b"")
    assert ask(client, "GET", "/parts") == b"onetwo"


@pytest.mark.parametrize("path", ["/short", "/fails"])
def test_a_broken_response_ends_the_connection(
    address: tuple[str, int], path: str, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_connection(address, timeout=5) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        received = b"".join(iter(lambda: sock.recv(65_536), b""))

    assert (b" 500 " in received) == (path == "/fails")
    assert ("GET /fails failed" in caplog.text) == (path == "/fails")


@pytest.mark.parametrize("length", ["abc", "-5", "1e3"])
def test_a_length_that_is_no_number_is_refused(address: tuple[str, int], length: str) -> None:
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(f"PUT /echo HTTP/1.1\r\nContent-Length: {length}\r\n\r\nx".encode())
        answer = connection.makefile("rb").read()

    assert answer.startswith(b"HTTP/1.1 400 ")


def test_an_old_client_gets_all_parts_and_the_end(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=5) as sock:
        sock.sendall(b"GET /parts HTTP/1.0\r\n\r\n")
        received = b"".join(iter(lambda: sock.recv(65_536), b""))

    assert received.endswith(b"\r\n\r\nonetwo")


def test_a_client_that_waits_before_it_sends_a_body_is_told_to_go_on(
    address: tuple[str, int],
) -> None:
    with socket.create_connection(address, timeout=5) as sock:
        sock.sendall(b"PUT /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")

        assert sock.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"

        sock.sendall(b"body")
        assert sock.recv(65_536).endswith(b"\r\n\r\nbody")


def test_connections_beyond_the_limit_wait_and_idle_ones_make_room(
    address: tuple[str, int],
) -> None:
    # GIVEN as many connections as are served at once, all of them idle
    first = [http.client.HTTPConnection(*address, timeout=10) for _ in range(MOST)]
    for one in first:
        one.request("POST", "/echo", b"x")
        assert one.getresponse().read() == b"x"

    # WHEN others follow
    more = [http.client.HTTPConnection(*address, timeout=10) for _ in range(MOST)]
    for one in more:
        one.request("POST", "/echo", b"y")
        assert one.getresponse().read() == b"y"

    # THEN they were served instead of the first, whose clients connect again
    assert first[0].sock.recv(1) == b""
    for one in (*first, *more):
        one.close()


def test_a_client_that_is_slow_to_send_its_first_request_is_not_cut_off(
    address: tuple[str, int],
) -> None:
    # GIVEN as many connections as are served at once, without a request yet, and another client
    first = [http.client.HTTPConnection(*address, timeout=10) for _ in range(MOST)]
    for one in first:
        one.auto_open = 0
        one.connect()
    last = http.client.HTTPConnection(*address, timeout=10)
    last.request("GET", "/parts")

    time.sleep(4 * WAIT_S)

    for one in (*first, last):
        if one is not last:
            one.request("GET", "/parts")
        assert one.getresponse().read() == b"onetwo"
    for one in (*first, last):
        one.close()


def test_a_client_waits_until_files_may_be_opened_again(address: tuple[str, int]) -> None:
    # GIVEN a client, and a process that may open no more files
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as sock:
        sock.settimeout(10)
        lowest = os.dup(sock.fileno())
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            sock.connect(address)
            sock.sendall(b"GET /parts HTTP/1.0\r\n\r\n")
            before = time.process_time()

            # WHEN the server has tried more often than it has room for connections
            time.sleep(3 * MOST * WAIT_S)
            spent = time.process_time() - before
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        # THEN it has not been busy with that, and serves the client now
        assert spent < MOST * WAIT_S
        assert sock.recv(65_536).startswith(b"HTTP/1.1 200 OK")
