"""Every difference of the local AWS names a test that exists, or says why it has none."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT, page


def test_each_difference_has_a_test_or_a_reason() -> None:
    section = page("docs/local-aws.md").section("Differences from AWS")
    rows = re.findall(r"^\| (?!difference|---)(.+) \|$", section, re.MULTILINE)
    cells = [re.split(r" \| ", row) for row in rows]
    sources = "\n".join(path.read_text() for path in (ROOT / "tests" / "local_aws").glob("*.py"))

    assert len(rows) > 20
    assert [row for row in cells if len(row) != 3] == []
    named = [(row, re.fullmatch(r"`(test_\w+)`", row[2])) for row in cells]
    assert [row[2] for row, name in named if name and f"def {name[1]}(" not in sources] == []
    assert [row[2] for row, name in named if not name and not row[2].startswith("none: ")] == []
