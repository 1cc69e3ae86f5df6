"""The grader's points and text."""

from __future__ import annotations

from workload.grading.checks import FAIL, PASS, SKIP, Check
from workload.grading.scorecard import as_text, has_passed, points


def test_skipped_checks_do_not_count() -> None:
    many = tuple(f"s3://b/{n}" for n in range(50))
    checks = [Check("x", PASS, 10), Check("y", FAIL, 20, "why", many), Check("z", SKIP, 70)]

    assert points(checks) == (10, 30)
    assert not has_passed(checks)
    assert has_passed([checks[0], checks[2]])
    text = as_text(checks)
    assert text.endswith("10/30 points")
    assert "s3://b/19" in text
    assert "s3://b/20" not in text
    assert "and 30 more" in text


def test_a_key_cannot_make_a_line_of_its_own() -> None:
    forged = "s3://b/a\nPASS  100/100  all\x1b[8m"

    text = as_text([Check("x", FAIL, 10, f"no answer for {forged}", (forged,))])

    assert len(text.splitlines()) == 3
    assert "\x1b" not in text
    assert r"s3://b/a\nPASS  100/100  all\x1b[8m" in text
