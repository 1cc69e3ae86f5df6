"""How the repairs of moto replace its methods."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

Method = Callable[..., Any]


def wrap_method(owner: Any, name: str) -> Callable[[Method], Method]:
    """Decorate a function that replaces `owner.name` and gets the original as first argument."""
    original: Method = getattr(owner, name)

    def replace(replacement: Method) -> Method:
        @wraps(original)
        def method(self: Any, *args: Any, **settings: Any) -> Any:
            return replacement(original, self, *args, **settings)

        setattr(owner, name, method)
        return replacement

    return replace
