"""Evaluates identity policies.

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
    """An action on a resource. `context` holds the condition keys, in lower case."""

    action: str
    resource: str
    context: dict[str, str] = field(default_factory=dict)


def is_allowed(policies: list[dict[str, Any]], request: Request) -> bool:
    """Whether the policies allow the request. A Deny overrides any Allow; the default is no."""
    allowed = False
    for policy in policies:
        for statement in as_list(policy.get("Statement", [])):
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
    """Whether `name` (Action or Resource) or its Not form covers the value."""
    if name in statement:
        return any(like(value, fold(pattern)) for pattern in as_list(statement[name]))
    if f"Not{name}" in statement:
        return not any(like(value, fold(pattern)) for pattern in as_list(statement[f"Not{name}"]))
    return False


def like(value: str, pattern: str) -> bool:
    """Whether the whole value matches a pattern with the wildcards * and ?."""
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
    """Whether a condition holds. An unknown operator fails closed: it disables Allow, not Deny."""
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
        if any(compare(value, str(one)) for one in as_list(wanted)) == negated:
            return False
    return True


def as_list(value: Any) -> list[Any]:
    """The value as a list: policies may give a single value without one."""
    return value if isinstance(value, list) else [value]
