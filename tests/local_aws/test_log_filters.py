"""Filter patterns of CloudWatch Logs, as its user guide describes them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_aws.log_filters import InvalidPattern, parse

QUICK = settings(max_examples=30, deadline=None, derandomize=True)

EVENT = {
    "step": "split",
    "video": {"key": "a.mp4", "sizes": [3, 5], "0": "x"},
    "seconds": 1.5,
    "ok": True,
    "error": None,
    "code": 404,
    "text": 'with "quotes" [1]',
}


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ('{ $.step = "split" }', True),
        ("{$.step=split}", True),
        ('{ $.step != "split" }', False),
        ('{ $.step = "sp*" }', True),
        ('{ $.step = "sp?it" }', False),
        ('{ $.text = "*[1]" }', True),
        ('{ $.text = "with \\"quotes\\"*" }', True),
        ("{ $.step = %^spl% }", True),
        ("{ $.step = %^lit% }", False),
        ("{ $.seconds > 1 }", True),
        ("{ $.seconds > 1.5 }", False),
        ("{ $.seconds < 1.5 }", False),
        ("{ $.seconds <= 1.5 }", True),
        ("{ $.seconds >= 1.5 && $.seconds < 2e0 }", True),
        ("{ $.code = 404 }", True),
        ("{ $.code = 4* }", True),
        ("{ $.code != 404 }", False),
        ("{ $.step > 1 }", False),
        ("{ $.ok > 0 }", False),
        (" { $.ok IS TRUE } ", True),
        ("{ $.ok = true }", True),
        ("{ $.ok is false }", False),
        ("{ $.error IS NULL }", True),
        ("{ $.step IS NULL }", False),
        ("{ $.nosuch NOT EXISTS }", True),
        ("{ $.step NOT EXISTS }", False),
        ("{ $.nosuch = 1 }", False),
        ("{ $.nosuch != 1 }", False),
        ("{ $.nosuch != word }", False),
        ("{ $.video = * }", False),
        ("{ $.video.sizes != word }", False),
        ("{ $.video.sizes.key = 3 }", False),
        ('{ $.video.key = "a.mp4" }', True),
        ('{ $["video"]["key"] = "a.mp4" }', True),
        ("{ $.video.sizes[1] = 5 }", True),
        ("{ $.video.sizes[2] = 5 }", False),
        ("{ $.video.sizes[*] = 3 }", True),
        ('{ $.video.* = "x" }', True),
        ("{ $.code = 1 || $.code = 404 && $.ok IS TRUE }", True),
        ("{ $.code = 1 || $.code = 404 && $.ok IS FALSE }", False),
        ("{ $.code = 404 || $.code = 1 && $.ok IS FALSE }", True),
        ("{ ($.code = 404 || $.code = 1) && $.ok IS FALSE }", False),
        ("split", True),
        ("split nosuch", False),
        ("pli", True),
        ("spl.t", False),
        ('"spl.t"', False),
        ("?split ?nosuch", True),
        ("?nosuch ?either", False),
        ("split -a.mp4", False),
        ('"\\"split\\", "', True),
        ("%spl.t%", True),
        ("%[0-9]{4}%", False),
        ("", True),
    ],
)
def test_a_pattern_fits_the_events_it_should(pattern: str, fits: bool) -> None:
    assert parse(pattern)(json.dumps(EVENT)) is fits


@pytest.mark.parametrize("message", ["not JSON", '"a text"', "3", "", '{"step":'])
def test_a_json_pattern_fits_only_json(message: str) -> None:
    assert not parse("{ $.step NOT EXISTS }")(message)


@pytest.mark.parametrize(
    "pattern",
    [
        "[a, b]",
        "{ }",
        "{ $.a = 1",
        "{ $.a }",
        "{ $.a = }",
        "{ $.a < word }",
        "{ a = 1 }",
        "{ ($.a = 1 }",
        "{ $.a = 1 $.b = 2 }",
        "{ $.a IS MAYBE }",
        "{ $.a = %[% }",
        "%[%",
        'an "open quote',
        "?",
    ],
)
def test_what_cannot_be_read_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidPattern):
        parse(pattern)


@QUICK
@given(st.text(max_size=30), st.text(max_size=30))
def test_no_pattern_and_no_message_fails_otherwise(pattern: str, message: str) -> None:
    for whole in (pattern, "{" + pattern + "}", "{ $.a " + pattern + "}"):
        try:
            test = parse(whole)
        except InvalidPattern:
            continue
        test(message)
        test(json.dumps({"a": message}))
