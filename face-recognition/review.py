"""Look for mistakes among enrolled photos: people too near each other, photos of somebody else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import gallery
import numpy as np
from gallery import THRESHOLDS, Array

# The distance of embeddings that come from the same picture. Rounding makes it up to 0.0005.
SAME_PICTURE = 1e-3


@dataclass(frozen=True)
class Row:
    """One enrolled photo: the person, what to call the photo, and its unit vector of length D."""

    name: str
    photo: str
    embedding: Array


@dataclass(frozen=True)
class Review:
    """What a user should know about a gallery: facts, and warnings to look into."""

    lines: list[str]
    warnings: list[str]


def review(model: str, rows: Sequence[Row], threshold: float) -> Review:
    """Judge the gallery's rows (at least one) with the threshold that will be used."""
    matrix = np.stack([row.embedding for row in rows])
    # Rounding makes the distance of copies -1e-7, which would be printed as -0.000.
    apart = np.maximum(gallery.distance(model, matrix @ matrix.T), 0)
    names = np.array([row.name for row in rows])
    done = Review([], [])
    _closest_and_furthest(rows, apart, names, done)
    done.warnings.extend(_near_pairs(rows, apart, names, threshold))
    for name in dict.fromkeys(row.name for row in rows):
        own = [i for i in range(len(rows)) if rows[i].name == name]
        done.warnings.extend(_strange_photos(rows, apart, own, THRESHOLDS[model]))
    _leave_one_out(rows, apart, names, threshold, done)
    return done


def _closest_and_furthest(rows: Sequence[Row], apart: Array, names: Array, done: Review) -> None:
    same = names[:, None] == names[None, :]
    once = np.triu(np.ones_like(same), 1).astype(bool)
    for what, pairs, pick in (
        ("closest photos of two people", once & ~same, np.argmin),
        ("furthest photos of one person", once & same, np.argmax),
    ):
        found = np.argwhere(pairs)
        if len(found):
            i, j = found[int(pick(apart[pairs]))]
            done.lines.append(f"{what}: {apart[i, j]:.3f} ({_pair(rows[i], rows[j])})")


def _pair(a: Row, b: Row) -> str:
    if a.name == b.name:
        return f"{a.name}: {a.photo} and {b.photo}"
    return f"{a.name}: {a.photo} and {b.name}: {b.photo}"


def _near_pairs(rows: Sequence[Row], apart: Array, names: Array, threshold: float) -> list[str]:
    """One line for each pair of people nearer than the threshold, the nearest pair first."""
    pairs = np.argwhere(np.triu(apart <= threshold, 1) & (names[:, None] != names[None, :]))
    nearest: dict[frozenset[str], tuple[float, int, int]] = {}
    for i, j in sorted(pairs.tolist(), key=lambda pair: float(apart[pair[0], pair[1]])):
        key = frozenset((rows[i].name, rows[j].name))
        nearest.setdefault(key, (float(apart[i, j]), i, j))
    return [
        f"{rows[i].name} and {rows[j].name} are {between:.3f} apart, within the threshold "
        f"{threshold:.3f}: {_advice(between, rows[i], rows[j])}"
        for between, i, j in nearest.values()
    ]


def _advice(between: float, a: Row, b: Row) -> str:
    photos = f"{_pair(a, b)}"
    if between <= SAME_PICTURE:
        return f"it is the same picture under two names ({photos})"
    return f"either may be taken for the other, or it is one person ({photos})"


def _strange_photos(
    rows: Sequence[Row], apart: Array, own: Sequence[int], limit: float
) -> list[str]:
    """The photos of one person that do not look like the rest, or like each other."""
    groups = _groups(apart, own, limit)
    if len(groups) == 1:
        return []
    name = rows[own[0]].name
    if 2 * len(groups[0]) <= len(own):
        which = "; ".join(", ".join(rows[i].photo for i in group) for group in groups)
        between = min(
            float(apart[i, j]) for a in groups for b in groups if a is not b for i in a for j in b
        )
        return [
            f"{name}: the {len(own)} photos look like {len(groups)} different people, at least "
            f"{between:.3f} apart: {which}"
        ]
    return [
        f"{name}: {rows[i].photo} looks like somebody else: its distance to {name}'s other photos "
        f"is {_range(apart[i, [j for j in own if j != i]])}{_nearest_other(rows, apart, i, limit)}"
        for group in groups[1:]
        for i in group
    ]


def _range(distances: Array) -> str:
    low, high = float(distances.min()), float(distances.max())
    return f"{low:.3f}" if f"{low:.3f}" == f"{high:.3f}" else f"{low:.3f} to {high:.3f}"


def _nearest_other(rows: Sequence[Row], apart: Array, i: int, limit: float) -> str:
    """The person that a strange photo looks like, if there is one among the rows."""
    others = [j for j in range(len(rows)) if rows[j].name != rows[i].name]
    nearest = min(others, key=lambda j: float(apart[i, j]), default=None)
    if nearest is None or apart[i, nearest] > limit:
        return ""
    return f", to {rows[nearest].name}'s {rows[nearest].photo} {apart[i, nearest]:.3f}"


def _groups(apart: Array, own: Sequence[int], limit: float) -> list[list[int]]:
    """The photos joined to others within `limit` (single linkage), the largest group first."""
    left, groups = list(own), []
    while left:
        group, waiting = [], [left.pop(0)]
        while waiting:
            i = waiting.pop()
            group.append(i)
            near = [j for j in left if apart[i, j] <= limit]
            left = [j for j in left if j not in near]
            waiting += near
        groups.append(sorted(group))
    return sorted(groups, key=lambda group: -len(group))


def _leave_one_out(
    rows: Sequence[Row], apart: Array, names: Array, threshold: float, done: Review
) -> None:
    """Name every photo by all the others, as if it were a video's frame."""
    tried = right = 0
    for i, row in enumerate(rows):
        others = np.arange(len(rows)) != i
        others &= (apart[i] > SAME_PICTURE) | (names != row.name)
        own = others & (names == row.name)
        if not own.any():
            continue
        tried += 1
        nearest = int(np.argmin(np.where(others, apart[i], np.inf)))
        own_distance = float(apart[i][own].min())
        where = f"{row.name}: without {row.photo} in the gallery, it would be"
        if apart[i, nearest] > threshold:
            done.warnings.append(
                f"{where} Unknown: {own_distance:.3f} from {row.name}'s nearest other photo, over "
                f"the threshold {threshold:.3f}"
            )
        elif rows[nearest].name != row.name:
            done.warnings.append(
                f"{where} taken for {rows[nearest].name}: {apart[i, nearest]:.3f} from "
                f"{rows[nearest].photo}, {own_distance:.3f} from {row.name}'s nearest other photo"
            )
        else:
            right += 1
    if tried:
        done.lines.append(
            f"leave-one-out: {right} of {tried} photos get the right name from the other photos"
        )
