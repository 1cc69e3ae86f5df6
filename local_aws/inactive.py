"""Lets a function go as Lambda does after weeks without an invocation, for tests.

`POST /_local_aws/inactive/REGION/NAME?seconds=2` makes it Inactive. Its next invocation fails and
makes it Pending for so many seconds.
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

    def __init__(self, plane: ControlPlane) -> None:
        """Let go functions of `plane`."""
        self._plane = plane

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        _, region, name = environ["PATH_INFO"].split("/", 2)
        values = parse_qs(environ.get("QUERY_STRING", "")).get("seconds", [])
        try:
            self._plane.let_go(name, region, float(values[0]) if values else PENDING_S)
        except UnknownFunction as error:
            return Response(f"{error}\n", 404)(environ, start)
        return Response(status=204)(environ, start)
