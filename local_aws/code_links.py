"""Download links to deployed zip files, as GetFunction and GetLayerVersion return them.

Anyone with such a link can download the zip for ten minutes without signing the request.
https://docs.aws.amazon.com/lambda/latest/api/API_LayerVersionContentOutput.html
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

from werkzeug.wrappers import Response

PATH = "/_local_aws/code"
LIFETIME_S = 600


class CodeLinks:
    """Creates links, and serves them when mounted at PATH."""

    def __init__(self, endpoint: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Create links below `endpoint`."""
        self._endpoint, self._clock = endpoint, clock
        self._links: dict[str, tuple[float, bytes]] = {}  # token -> expiry and zip

    def link(self, data: bytes) -> str:
        """Return a new link to `data`."""
        now = self._clock()
        self._links = {t: (ends, zip_) for t, (ends, zip_) in self._links.items() if ends > now}
        token = secrets.token_urlsafe(24)
        self._links[token] = now + LIFETIME_S, data
        return f"{self._endpoint}{PATH}/{token}"

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """Serve the zip, or 404 if the link is unknown or has expired."""
        ends, data = self._links.get(environ["PATH_INFO"].removeprefix("/"), (0.0, b""))
        is_valid = ends > self._clock()
        response = Response(data if is_valid else b"", 200 if is_valid else 404)
        response.content_type = "application/zip"
        return response(environ, start)
