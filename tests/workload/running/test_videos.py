"""The planned uploads and their expected names."""

from __future__ import annotations

from pathlib import Path

import pytest

from workload.running.videos import expected_of, plan


@pytest.mark.parametrize(
    ("repeat", "first", "last"),
    [
        (1, "test_00.mp4", "test_00.mp4"),
        (100, "test_00.mp4", "test_99.mov"),
        (101, "test_000.mp4", "test_100.mp4"),
        (1000, "test_000.mp4", "test_999.mov"),
    ],
)
def test_copies_cycle_through_the_videos(folder: Path, repeat: int, first: str, last: str) -> None:
    uploads = plan([folder / "a.mp4", folder / "b.mov"], repeat, {"a.mp4": "Ann"})

    assert (uploads[0].key, uploads[-1].key, len(uploads)) == (first, last, repeat)
    assert [u.path.name for u in uploads[:3]] == ["a.mp4", "b.mov", "a.mp4"][:repeat]
    names = expected_of(uploads)
    assert set(names.values()) == {"Ann"}
    assert len(names) == (repeat + 1) // 2
