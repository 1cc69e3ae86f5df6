"""Statistics and metric math of CloudWatch.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
"""

from __future__ import annotations

import ast
import math
import operator
import re
import statistics
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

Series = dict[float, float]  # time in seconds since the epoch -> value
PERCENTILE = re.compile(r"(p|tm|tc|ts)(\d{1,2}(?:\.\d{1,10})?|100)")
RANGE = re.compile(r"(TM|TC|TS)\((\d+(?:\.\d+)?)?%:(\d+(?:\.\d+)?)?%\)")
SIMPLE: dict[str, Callable[[Sequence[float]], float]] = {
    "Average": statistics.fmean,
    "Maximum": max,
    "Minimum": min,
    "SampleCount": lambda values: float(len(values)),
    "Sum": math.fsum,
}
TRIMMED = {"tm": "Average", "tc": "SampleCount", "ts": "Sum"}


class InvalidMath(Exception):
    """A statistic or an expression is not one of CloudWatch's, or not in the local AWS."""


def statistic(name: str, values: Sequence[float]) -> float:
    """A statistic of at least one value; raise InvalidMath if there is none of this name.

    A percentile is the smallest value that so many percent of the values do not exceed.
    """
    if name in SIMPLE:
        return SIMPLE[name](values)
    if name == "IQM":
        name = "TM(25%:75%)"
    ordered = sorted(values)
    if match := PERCENTILE.fullmatch(name):
        kind, most = match[1], float(match[2])
        kept = ordered[: _rank(most, ordered)]
        return kept[-1] if kind == "p" else SIMPLE[TRIMMED[kind]](kept)
    if match := RANGE.fullmatch(name):
        least, most = float(match[2] or 0), float(match[3] or 100)
        first = math.ceil(len(ordered) * least / 100)
        kept = ordered[first : _rank(most, ordered)]
        return SIMPLE[TRIMMED[match[1].lower()]](kept or ordered[-1:])
    raise InvalidMath(f"The statistic {name} is not in the local AWS.")


def _rank(percent: float, ordered: Sequence[float]) -> int:
    return max(1, math.ceil(len(ordered) * percent / 100))


def evaluate(expression: str, series: dict[str, Series], period_s: int) -> Series:
    """The series that an expression makes of others; raise InvalidMath.

    A moment without a value in one of the series, or with a division by zero, has none.
    """
    text = expression.replace("^", "**").replace("&&", " and ").replace("||", " or ")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise InvalidMath(f"The expression cannot be read: {expression}") from error
    result = _Evaluator(series, period_s).value(tree.body)
    if not isinstance(result, dict):
        raise InvalidMath(f"The expression {expression} does not make a time series.")
    return result


ARITHMETIC: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,
}
COMPARISONS: dict[type, Callable[[float, float], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
OF_SERIES: dict[str, Callable[[Sequence[float]], float]] = {
    "AVG": statistics.fmean,
    "MAX": max,
    "MIN": min,
    "STDDEV": statistics.pstdev,
    "SUM": math.fsum,
}
OF_VALUES: dict[str, Callable[[float], float]] = {
    "ABS": abs,
    "CEIL": math.ceil,
    "FLOOR": math.floor,
}


class _Evaluator:
    """Evaluates an expression's tree: numbers, series, and lists of series."""

    def __init__(self, series: dict[str, Series], period_s: int) -> None:
        self._series, self._period_s = series, period_s

    def value(self, node: ast.AST) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float, str)):
            return node.value
        if isinstance(node, ast.Name):
            if node.id == "REPEAT":
                return node.id
            if node.id not in self._series:
                raise InvalidMath(f"The expression names {node.id}, which no query has as its Id.")
            return self._series[node.id]
        if isinstance(node, ast.List):
            return [self.value(one) for one in node.elts]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return _combined(operator.sub, 0.0, self.value(node.operand))
        if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
            left, right = self.value(node.left), self.value(node.right)
            return _combined(ARITHMETIC[type(node.op)], left, right)
        if (
            isinstance(node, ast.Compare)
            and len(node.ops) == 1
            and type(node.ops[0]) in COMPARISONS
        ):
            compare = COMPARISONS[type(node.ops[0])]
            left, right = self.value(node.left), self.value(node.comparators[0])
            return _combined(lambda a, b: float(compare(a, b)), left, right)
        if isinstance(node, ast.BoolOp):
            decide = all if isinstance(node.op, ast.And) else any
            result = self.value(node.values[0])
            for one in node.values[1:]:
                result = _combined(lambda a, b: float(decide((a, b))), result, self.value(one))
            return result
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return self._call(node.func.id, [self.value(one) for one in node.args])
        raise InvalidMath(f"{ast.unparse(node)} is not in the local AWS's metric math.")

    def _call(self, name: str, given: list[Any]) -> Any:
        if name == "METRICS" and len(given) < 2:
            wanted = str(given[0]) if given else ""
            return [series for key, series in self._series.items() if wanted in key]
        if name == "IF" and len(given) in (2, 3):
            return _chosen(given)
        if name in OF_SERIES and len(given) == 1:
            return _reduced(OF_SERIES[name], given[0])
        if len(given) == 2 and name == "FILL" and isinstance(given[0], dict):
            return self._filled(given[0], given[1])
        if len(given) == 1 and isinstance(given[0], dict):
            series, times = given[0], sorted(given[0])
            if name in OF_VALUES:
                return {time: float(OF_VALUES[name](value)) for time, value in series.items()}
            if name == "PERIOD":
                return self._period_s
            if name == "RUNNING_SUM":
                return {t: math.fsum(series[one] for one in times if one <= t) for t in times}
            if name in ("DIFF", "RATE"):
                changes = {b: (series[b] - series[a], b - a) for a, b in pairwise(times)}
                return {
                    time: change / span if name == "RATE" else change
                    for time, (change, span) in changes.items()
                }
        raise InvalidMath(f"{name} with {len(given)} values is not in the local AWS's metric math.")

    def _filled(self, series: Series, filler: Any) -> Series:
        """The series with a value for every moment that any series has."""
        filled, last = {}, None
        for time in sorted({time for one in self._series.values() for time in one}):
            last = series.get(time, last if filler == "REPEAT" else filler)
            if last is not None:
                filled[time] = float(last)
        return filled


def _combined(combine: Callable[[Any, Any], float], left: Any, right: Any) -> Any:
    """An operation on numbers, on a series and a number, or on the moments two series share."""
    if isinstance(left, list) or isinstance(right, list):
        if isinstance(left, list) and isinstance(right, list):
            raise InvalidMath("Two lists of series cannot be combined.")
        if isinstance(left, list):
            return [_combined(combine, one, right) for one in left]
        return [_combined(combine, left, one) for one in right]
    if not isinstance(left, dict) and not isinstance(right, dict):
        try:
            return combine(left, right)
        except (ArithmeticError, TypeError, ValueError) as error:
            raise InvalidMath(f"The expression cannot be computed: {error}") from error
    times = [set(one) for one in (left, right) if isinstance(one, dict)]
    result = {}
    for time in sorted(set.intersection(*times)):
        a, b = (one[time] if isinstance(one, dict) else one for one in (left, right))
        try:
            result[time] = float(combine(a, b))
        except (ArithmeticError, ValueError):
            continue
    return result


def _reduced(reduce: Callable[[Sequence[float]], float], given: Any) -> Any:
    """Of a series, one number; of a list of series, a series."""
    if isinstance(given, dict):
        return reduce(list(given.values())) if given else 0.0
    if isinstance(given, list):
        times = sorted({time for one in given for time in one})
        return {time: reduce([one[time] for one in given if time in one]) for time in times}
    raise InvalidMath("A number has no sum, average, minimum or maximum.")


def _chosen(given: list[Any]) -> Any:
    """IF(condition, then, else): each moment's value, where the chosen one has any."""
    condition = given[0]
    if not isinstance(condition, dict):
        return given[1] if condition else given[2] if len(given) == 3 else {}
    result = {}
    for time, holds in condition.items():
        chosen = given[1] if holds else given[2] if len(given) == 3 else {}
        value = chosen.get(time) if isinstance(chosen, dict) else chosen
        if value is not None:
            result[time] = float(value)
    return result
