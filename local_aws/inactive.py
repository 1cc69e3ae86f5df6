"""Lets a function go as Lambda does after weeks without an invocation, for tests.

`POST /_local_aws/inactive/REGION/NAME?seconds=2` makes it Inactive. Its next invocation fails and
makes it Pending for so many seconds. The request is not signed, so one that a web page may have
sent is refused: browsers add an `Origin` to each POST, and name the page's host.
https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIEnvironment

from werkzeug.wrappers import Response

from local_aws.control_plane import ControlPlane
from local_aws.errors import UnknownFunction

PATH = "/_local_aws/inactive"
PENDING_S = 2.0


class LetGo:
    """Serves the requests when mounted at PATH."""

    def __init__(self, plane: ControlPlane, host: str) -> None:
        """Let go functions of `plane`. `host` is the server's own `Host` header."""
        self._plane, self._host = plane, host

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        if environ["REQUEST_METHOD"] != "POST":
            return Response("only POST lets a function go\n", 405)(environ, start)
        if environ.get("HTTP_HOST") != self._host or "HTTP_ORIGIN" in environ:
            text = f"only for requests to {self._host} that come from no web page\n"
            return Response(text, 403)(environ, start)
        try:
            _, region, name = environ["PATH_INFO"].split("/", 2)
            given = parse_qs(environ.get("QUERY_STRING", "")).get("seconds", [str(PENDING_S)])[0]
            self._plane.let_go(name, region, float(given))
        except ValueError:
            return Response(f"use POST {PATH}/REGION/NAME?seconds=2\n", 400)(environ, start)
        except UnknownFunction as error:
            return Response(f"{error}\n", 404)(environ, start)
        return Response(status=204)(environ, start)
