"""Filter patterns of CloudWatch Logs: terms, regular expressions, and JSON.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

Test = Callable[[str], bool]
JsonTest = Callable[[Any], bool]
TERM = re.compile(r'\s*([?-]?)(?:"((?:[^"\\]|\\.)*)"|%((?:[^%\\]|\\.)+)%|([^\s"%?-]\S*))(?=\s|$)')
TOKEN = re.compile(
    r"""\s*(?: (?P<string>"(?:[^"\\]|\\.)*") | %(?P<regex>(?:[^%\\]|\\.)+)%
    | (?P<operator>&&|\|\||!=|<=|>=|=|<|>|\(|\))
    | (?P<selector>\$(?:\.[\w*-]+|\[(?:\d+|\*|"[^"]*"|'[^']*')\])+)
    | (?P<word>[^\s()&|=!<>]+) )""",
    re.VERBOSE,
)
STEP = re.compile(r"\.([\w*-]+)|\[(\d+|\*)\]|\[[\"']([^\"']*)[\"']\]")
MISSING = object()
COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class InvalidPattern(Exception):
    """The filter pattern cannot be read."""


@lru_cache(maxsize=64)
def parse(pattern: str) -> Test:
    """A test for messages; raise InvalidPattern. An empty pattern fits all of them."""
    pattern = pattern.strip()
    if pattern.startswith("{"):
        if not pattern.endswith("}"):
            raise InvalidPattern(f"There is no }} at the end of: {pattern}")
        return _json_test(_Parser(pattern[1:-1]).parse())
    if pattern.startswith("["):
        raise InvalidPattern("Patterns for columns ([a, b]) are not in the local AWS.")
    return _terms(pattern)


def _terms(pattern: str) -> Test:
    """A message has all terms and none with a minus, or if some have a ?, at least one of them."""
    found: dict[str, list[re.Pattern[str]]] = {"": [], "-": [], "?": []}
    at = 0
    while at < len(pattern):
        match = TERM.match(pattern, at)
        if match is None:
            raise InvalidPattern(f"Cannot read the filter pattern at: {pattern[at:]}")
        sign, quoted, regex, word = match.groups()
        text = regex or re.escape(re.sub(r"\\(.)", r"\1", quoted or "") if word is None else word)
        found[sign].append(_regex(text))
        at = match.end()

    def test(message: str) -> bool:
        if any(one.search(message) for one in found["-"]):
            return False
        some = not found["?"] or any(one.search(message) for one in found["?"])
        return some and all(one.search(message) for one in found[""])

    return test


def _regex(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise InvalidPattern(f"Invalid regular expression {text}: {error}") from error


def _json_test(test: JsonTest) -> Test:
    def of_message(message: str) -> bool:
        try:
            document = json.loads(message)
        except ValueError:
            return False
        return isinstance(document, (dict, list)) and test(document)

    return of_message


class _Parser:
    """A JSON pattern: comparisons, joined by && before ||, with parentheses."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        at, end = 0, len(text.rstrip())
        while at < end:
            match = TOKEN.match(text, at)
            if match is None:
                raise InvalidPattern(f"Cannot read the filter pattern at: {text[at:]}")
            self._tokens.append((str(match.lastgroup), match[str(match.lastgroup)]))
            at = match.end()

    def parse(self) -> JsonTest:
        test = self._any()
        if self._tokens:
            raise InvalidPattern(f"Unexpected {self._tokens[0][1]} in the filter pattern.")
        return test

    def _take(self, kind: str, *texts: str) -> str | None:
        """The next token if it is of this kind, and one of `texts` if there are any."""
        found, text = self._tokens[0] if self._tokens else ("", "")
        if found == kind and (not texts or text.upper() in texts):
            return self._tokens.pop(0)[1]
        return None

    def _any(self) -> JsonTest:
        tests = [self._all()]
        while self._take("operator", "||"):
            tests.append(self._all())
        return lambda document: any(test(document) for test in tests)

    def _all(self) -> JsonTest:
        tests = [self._one()]
        while self._take("operator", "&&"):
            tests.append(self._one())
        return lambda document: all(test(document) for test in tests)

    def _one(self) -> JsonTest:
        if self._take("operator", "("):
            test = self._any()
            if not self._take("operator", ")"):
                raise InvalidPattern("A parenthesis is not closed in the filter pattern.")
            return test
        selector = self._take("selector")
        if selector is None:
            shown = self._tokens[0][1] if self._tokens else "its end"
            raise InvalidPattern(f"The filter pattern has no selector ($.name) at {shown}.")
        steps = [next(filter(None, step.groups())) for step in STEP.finditer(selector)]
        holds = self._comparison()
        return lambda document: any(map(holds, _select(document, steps)))

    def _comparison(self) -> JsonTest:
        if self._take("word", "IS"):
            word = (self._take("word", "TRUE", "FALSE", "NULL") or "").upper()
            if not word:
                raise InvalidPattern("IS is followed by TRUE, FALSE or NULL.")
            wanted = {"TRUE": True, "FALSE": False, "NULL": None}[word]
            return lambda value: value is wanted
        if self._take("word", "NOT"):
            if not self._take("word", "EXISTS"):
                raise InvalidPattern("NOT is followed by EXISTS.")
            return lambda value: value is MISSING
        sign = self._take("operator", *COMPARISONS)
        if sign is None or not self._tokens:
            raise InvalidPattern("A selector is followed by an operator and a value.")
        kind, text = self._tokens.pop(0)
        if kind == "regex":
            return _equality(sign, _regex(text).search)
        number = _number(text) if kind == "word" else None
        if number is None:
            wanted_text = json.loads(text) if kind == "string" else text
            return _equality(sign, lambda value: fnmatchcase(value, _globbed(wanted_text)))
        compare = COMPARISONS[sign]
        return lambda value: (
            isinstance(value, (int, float))
            and not isinstance(value, bool)
            and compare(value, number)
        )


def _equality(sign: str, matches: Callable[[str], Any]) -> JsonTest:
    """A test for text, or for a number's text."""
    if sign not in ("=", "!="):
        raise InvalidPattern(f"{sign} needs a number.")

    def test(value: Any) -> bool:
        if value is MISSING or isinstance(value, (dict, list)):
            return False
        text = value if isinstance(value, str) else json.dumps(value)
        return bool(matches(text)) == (sign == "=")

    return test


def _globbed(text: str) -> str:
    """The text as a pattern in which only * is special."""
    return text.replace("[", "[[]").replace("?", "[?]")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _select(document: Any, steps: list[str]) -> list[Any]:
    """The values that a selector names; MISSING if there are none."""
    values = [document]
    for step in steps:
        values = [child for value in values for child in _children(value, step)]
    return values or [MISSING]


def _children(value: Any, step: str) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values()) if step == "*" else [value[step]] if step in value else []
    if isinstance(value, list):
        if step == "*":
            return value
        return [value[int(step)]] if step.isdecimal() and int(step) < len(value) else []
    return []
