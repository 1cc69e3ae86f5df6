"""Links to deployed zips, as GetFunction and GetLayerVersion give them.

Whoever has such a link may read the zip for ten minutes, without a signature.
https://docs.aws.amazon.com/lambda/latest/api/API_LayerVersionContentOutput.html
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any

from werkzeug.wrappers import Response

PATH = "/_local_aws/code"
LIFETIME_S = 600


class CodeLinks:
    """Makes links, and serves what they lead to when it is mounted at PATH."""

    def __init__(self, endpoint: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Links start with `endpoint`."""
        self._endpoint, self._clock = endpoint, clock
        self._links: dict[str, tuple[float, bytes]] = {}  # token: when it ends, and the zip

    def link(self, data: bytes) -> str:
        """A new link to `data`."""
        now = self._clock()
        self._links = {t: (ends, zip_) for t, (ends, zip_) in self._links.items() if ends > now}
        token = secrets.token_urlsafe(24)
        self._links[token] = now + LIFETIME_S, data
        return f"{self._endpoint}{PATH}/{token}"

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Serve one request: the zip, or 404 for a link that there is not, or no longer."""
        ends, data = self._links.get(environ["PATH_INFO"].removeprefix("/"), (0.0, b""))
        is_there = ends > self._clock()
        response = Response(data if is_there else b"", 200 if is_there else 404)
        response.content_type = "application/zip"
        return response(environ, start)
