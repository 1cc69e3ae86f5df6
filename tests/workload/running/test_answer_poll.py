"""How answers are found in the output bucket."""

from __future__ import annotations

from workload.running.answer_poll import common_prefix


def test_the_listing_prefix_is_what_all_keys_share() -> None:
    assert common_prefix(["test_00.txt", "test_01.txt", "test_10.txt"]) == "test_"
    assert common_prefix(["a.txt"]) == "a.txt"
    assert common_prefix(["a", "b"]) == ""
