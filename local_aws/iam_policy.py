"""Evaluates identity policies: may this be done to that?

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any


@dataclass(frozen=True)
class Request:
    """One thing that somebody wants to do. `context` has condition keys in lower case."""

    action: str
    resource: str
    context: dict[str, str] = field(default_factory=dict)


def is_allowed(policies: list[dict[str, Any]], request: Request) -> bool:
    """An explicit Deny wins; without an Allow nothing is allowed."""
    allowed = False
    for policy in policies:
        statements = policy.get("Statement", [])
        for statement in statements if isinstance(statements, list) else [statements]:
            if _applies(statement, request):
                if statement.get("Effect") == "Deny":
                    return False
                allowed = allowed or statement.get("Effect") == "Allow"
    return allowed


def _applies(statement: dict[str, Any], request: Request) -> bool:
    return (
        _matches(statement, "Action", request.action.lower(), str.lower)
        and _matches(statement, "Resource", request.resource, str)
        and all(
            _holds(operator, keys, request.context, statement.get("Effect") == "Deny")
            for operator, keys in (statement.get("Condition") or {}).items()
        )
    )


def _matches(statement: dict[str, Any], name: str, value: str, fold: Callable[[str], str]) -> bool:
    """Whether `Action` or `Resource`, or their Not- forms, cover the value."""
    if name in statement:
        return any(like(value, fold(pattern)) for pattern in _list(statement[name]))
    if f"Not{name}" in statement:
        return not any(like(value, fold(pattern)) for pattern in _list(statement[f"Not{name}"]))
    return False


def like(value: str, pattern: str) -> bool:
    """Whether the whole value fits a pattern in which * and ? stand for anything."""
    return _compiled(pattern).fullmatch(value) is not None


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(c, re.escape(c)) for c in pattern), re.DOTALL)


OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda value, wanted: value == wanted,
    "StringEqualsIgnoreCase": lambda value, wanted: value.lower() == wanted.lower(),
    "StringLike": like,
    "ArnEquals": like,
    "ArnLike": like,
    "Bool": lambda value, wanted: value.lower() == wanted.lower(),
}


def _holds(operator: str, keys: dict[str, Any], context: dict[str, str], denies: bool) -> bool:
    """Whether a condition holds. An operator not known here fails closed: no Allow, but a Deny."""
    name = operator.removesuffix("IfExists")
    negated = name.startswith(("StringNot", "ArnNot"))
    compare = OPERATORS.get(name.replace("Not", "", 1) if negated else name)
    if compare is None:
        return denies
    for key, wanted in keys.items():
        value = context.get(key.lower())
        if value is None:
            if operator.endswith("IfExists") or negated:
                continue
            return False
        if any(compare(value, str(one)) for one in _list(wanted)) == negated:
            return False
    return True


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
