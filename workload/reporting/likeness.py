"""Groups faces by likeness, without knowing who or how many there are. Pure functions.

The rule is average linkage at the gallery's threshold: the two groups whose faces are nearest on
average are merged, as long as that average is within the threshold at which a face has a name. Two
faces in one frame are two people, so their groups are never merged.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[Any]


def distances(rows: Rows, metric: str) -> Rows:
    """How far unit vectors are apart, from 0 to 2: `cosine`, else `euclidean`."""
    cosine = np.clip(rows @ rows.T, -1, 1)
    return np.asarray(1 - cosine if metric == "cosine" else np.sqrt(2 - 2 * cosine))


def groups(apart: Rows, frames: Sequence[Hashable], threshold: float) -> list[list[int]]:
    """The indexes of the faces in each group, in order; `apart` has their distances.

    `frames` says which frame each face is in. Takes time and memory in the square of the faces.
    """
    count = len(frames)
    work = np.array(apart, np.float64)
    in_frame: dict[Hashable, list[int]] = {}
    for index, frame in enumerate(frames):
        in_frame.setdefault(frame, []).append(index)
    for same in in_frame.values():
        work[np.ix_(same, same)] = np.inf
    members = [[index] for index in range(count)]
    is_open = np.ones(count, bool)
    chain: list[int] = []
    # Of two groups that are each other's nearest, no later merger brings one nearer to a third:
    # they can be merged at once, or neither will ever be.
    while is_open.any():
        if not chain:
            chain = [int(np.argmax(is_open))]
        last = chain[-1]
        row = np.where(is_open, work[last], np.inf)
        row[last] = np.inf
        nearest = int(np.argmin(row))
        if len(chain) > 1 and row[chain[-2]] <= row[nearest]:
            nearest = chain[-2]
        if row[nearest] > threshold:
            is_open[last] = False
            chain.pop()
        elif len(chain) > 1 and nearest == chain[-2]:
            chain = chain[:-2]
            sizes = len(members[last]), len(members[nearest])
            both = (sizes[0] * work[last] + sizes[1] * work[nearest]) / sum(sizes)
            work[nearest, :] = work[:, nearest] = both
            members[nearest] += members[last]
            members[last] = []
            is_open[last] = False
        else:
            chain.append(nearest)
    return sorted(sorted(group) for group in members if group)
