"""JSON as nobody should send it: any at all, or a good one in which a single value is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from hypothesis import strategies as st

HALF_PAIR = "\ud800"  # of a surrogate, which JSON can escape and UTF-8 cannot encode
LEFT_OUT = object()
WRONG: tuple[Any, ...] = (
    LEFT_OUT,
    None,
    True,
    7,
    2.5,
    "",
    "x",
    HALF_PAIR,
    [],
    [None],
    ["x"],
    {},
    {"x": 1},
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.just(HALF_PAIR),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def each_with_one_wrong(whole: Any, values: Iterable[Any]) -> Iterator[Any]:
    """`whole` with each of its values, at any depth, replaced by each of `values` in turn."""
    wrong = list(values)
    for place in _places(whole):
        for new in wrong:
            yield _replaced(whole, place, new)


def with_one_wrong(whole: Any, wrong: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """`whole` with any one value, at any depth, replaced by what `wrong` draws."""
    return st.builds(
        lambda place, new: _replaced(whole, place, new), st.sampled_from(_places(whole)), wrong
    )


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path to each value in `value`, its own first."""
    inner: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    return [path, *(place for name, one in inner for place in _places(one, (*path, name)))]


def _replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """`value` with what is at `path` replaced by `new`; a whole that is left out is None."""
    if not path:
        return None if new is LEFT_OUT else new
    copy = value.copy()
    if new is LEFT_OUT and len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = _replaced(copy[path[0]], path[1:], new)
    return copy
