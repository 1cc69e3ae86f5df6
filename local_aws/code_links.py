"""Links to deployed zips, as GetFunction and GetLayerVersion give them.

Whoever has such a link may read the zip for ten minutes, without a signature.
https://docs.aws.amazon.com/lambda/latest/api/API_LayerVersionContentOutput.html
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

PATH = "/_local_aws/code/"
LIFETIME_S = 600


class CodeLinks:
    """Makes links, and finds what they lead to."""

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
        return f"{self._endpoint}{PATH}{token}"

    def find(self, path: str) -> bytes | None:
        """The zip that a link with this path leads to; None if there is none, or no longer."""
        ends, data = self._links.get(path.removeprefix(PATH), (0.0, b""))
        return data if ends > self._clock() else None
