"""Faces grouped by likeness."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from workload.reporting.likeness import distances, groups


def naive(apart: Any, frames: Sequence[int], threshold: float) -> list[list[int]]:
    """The stated rule, word by word: merge the two nearest groups until none is near enough."""
    made = [[index] for index in range(len(frames))]
    while True:
        near = [
            (float(np.mean(apart[np.ix_(one, two)])), one, two)
            for one, two in combinations(made, 2)
            if not {frames[index] for index in one} & {frames[index] for index in two}
        ]
        if not near or min(near)[0] > threshold:
            return sorted(sorted(group) for group in made)
        _, one, two = min(near)
        made = [group for group in made if group not in (one, two)] + [one + two]


@given(st.integers(1, 14), st.integers(0, 10_000), st.floats(0.1, 1.5))
@settings(max_examples=60, deadline=None)
def test_groups_follow_the_stated_rule(count: int, seed: int, threshold: float) -> None:
    rows = np.random.default_rng(seed).normal(size=(count, 4))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    frames = [index // 2 for index in range(count)]
    apart = distances(rows, "euclidean")

    assert groups(apart, frames, threshold) == naive(apart, frames, threshold)


def test_faces_of_two_people_in_one_frame_stay_apart_however_alike() -> None:
    apart = np.array([[0, 0.01, 0.02], [0.01, 0, 0.3], [0.02, 0.3, 0]])

    assert groups(apart, ["a", "a", "b"], 0.6) == [[0, 2], [1]]
    assert groups(apart, ["a", "b", "c"], 0.6) == [[0, 1, 2]]
    assert groups(apart, ["a", "b", "c"], 0.005) == [[0], [1], [2]]
    assert groups(np.zeros((0, 0)), [], 0.6) == []


def test_distances_are_those_of_the_model() -> None:
    rows = np.array([[1.0, 0.0], [0.0, 1.0]])

    assert distances(rows, "cosine")[0, 1] == 1
    assert distances(rows, "euclidean")[0, 1] == np.float64(2) ** 0.5
