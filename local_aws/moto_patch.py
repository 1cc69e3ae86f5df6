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


def refuse(owner: Any, *names: str) -> None:
    """Have these methods of moto's answer as those that it does not have.

    NotImplementedError is moto's own way to say so; `moto_errors` answers it with 501.
    """
    for name in names:

        @wrap_method(owner, name)
        def refused(_: Method, *__: Any) -> Any:
            raise NotImplementedError
