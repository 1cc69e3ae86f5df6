"""The threshold that fits a gallery: its size, and how near its people are to each other.

The more rows a gallery has, the nearer the nearest stranger is to one of them. If a stranger is
within distance T of one row with probability FMR(T), the false match rate, then they are taken for
somebody among n independent rows with probability

    FPIR = 1 - (1 - FMR(T))^n

(Daugman, "Biometric decision landscapes", University of Cambridge TR-482, 2000; FPIR, the false
positive identification rate, is what NIST's FRVT part 2, NISTIR 8271, 2019, reports for searches
in a gallery). The threshold is the T at which FPIR is TARGET_FPIR, but never laxer than the model's
own threshold, which is made for comparing two photos.

FMR(T) comes from the distances between different people. They are taken as normally distributed
(in 1 - cosine) around their median, with the median absolute deviation as spread, so that a
few wrong ones do not count (Rousseeuw and Croux, "Alternatives to the median absolute deviation",
JASA 88, 1993). A small gallery says little about strangers: PRIORS, measured once for each model,
count as much as PRIOR_PEOPLE people.

The photos of one person resemble each other, so a stranger who is not near one is hardly near the
others. They count as (sum of sqrt(l))^2 / (sum of l), with l the eigenvalues of the matrix of their
cosines: n different photos as n, n copies as 1, and anything between (Galwey, "A new measure of the
effective number of tests", Genetic Epidemiology 33, 2009). People whose photos are
nearer than half the model's threshold are taken to be one person under several names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import gallery
import numpy as np
from gallery import THRESHOLDS, Array

TARGET_FPIR = 0.02
PRIOR_PEOPLE = 20
MAD_TO_SIGMA = 1.4826  # of a normal distribution
# Median and spread of 1 - cosine between photos of different people.
# sface: the median of the nine people in the sample photos, and the spread that makes 0.637 accept
# 0.2 % of strangers for each row. 99 strangers gave 2 % with 20 rows, 7.5 % with 40, 17 % with 86.
# facenet-vggface2: the median of 28 pairs of people in a gallery of 79 photos. Their spread
# is 0.2, most of it from pairs of one sex and age; 0.15 lies between that and the spread of
# about 0.12 that the model's ROC on LFW implies, where pairs are drawn from everybody.
PRIORS = {"sface": (0.86, 0.0775), "facenet-vggface2": (0.82, 0.15)}


@dataclass(frozen=True)
class Suggestion:
    """A threshold, and the numbers it follows from.

    `people` and `photos` are counted without duplicates; `photos` is a fraction (see above).
    `fpir` is the share of strangers taken for somebody at `threshold`, `fpir_of_model` at the
    model's own.
    """

    threshold: float
    people: int
    photos: float
    fpir: float
    fpir_of_model: float

    def line(self, model: str) -> str:
        """The threshold and its reason in a sentence."""
        own = THRESHOLDS[model]
        photos = f"{self.photos:.0f}"
        size = (
            f"{self.people} {'person' if self.people == 1 else 'people'} and {photos} independent "
            f"photo{'' if photos == '1' else 's'}"
        )
        chance = f"about {_percent(self.fpir)} of strangers are taken for somebody"
        if self.threshold == own:
            return f"threshold: {own:.3f}, the model's own: with {size}, {chance}"
        return (
            f"threshold: {self.threshold:.3f}, stricter than the model's {own:.3f}: with {size}, "
            f"{chance}, but {_percent(self.fpir_of_model)} at the model's"
        )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def suggest(model: str, embeddings: Array, names: Sequence[str]) -> Suggestion:
    """The threshold for a gallery of N x D unit vectors and their N names.

    The model is one of THRESHOLDS.
    """
    cosines = np.clip(embeddings @ embeddings.T, -1, 1).astype(np.float64)
    people = _people(model, cosines, names)
    strangers = _strangers(model, 1 - cosines, people)
    photos = sum(_independent(cosines[np.ix_(rows, rows)]) for rows in people)
    # 1 - (1 - fmr)^photos = target, solved for fmr
    wanted = strangers.inv_cdf(1 - (1 - TARGET_FPIR) ** (1 / photos))
    at_target = float(gallery.distance(model, np.array(1 - max(wanted, 0), np.float32)))
    threshold = min(THRESHOLDS[model], at_target)

    def fpir(limit: float) -> float:
        return float(1 - (1 - strangers.cdf(_one_minus_cosine(model, limit))) ** photos)

    # Rounded down, so that the number shown is the number used.
    shown = threshold if threshold == THRESHOLDS[model] else np.floor(threshold * 1000) / 1000
    return Suggestion(float(shown), len(people), photos, fpir(shown), fpir(THRESHOLDS[model]))


def _one_minus_cosine(model: str, distance: float) -> float:
    """The inverse of gallery.distance."""
    return distance if model == "sface" else distance**2 / 2


def _people(model: str, cosines: Array, names: Sequence[str]) -> list[list[int]]:
    """The rows of each person; names with a pair of almost equal photos are one person."""
    limit = THRESHOLDS[model] / 2
    labels = np.unique(np.asarray(names), return_inverse=True)[1].reshape(-1)
    near = gallery.distance(model, cosines) < limit
    for i, j in zip(*np.nonzero(np.triu(near, 1)), strict=True):
        if labels[i] != labels[j]:
            labels[labels == labels[j]] = labels[i]
    return [np.nonzero(labels == label)[0].tolist() for label in np.unique(labels)]


def _independent(cosines: Array) -> float:
    """How many independent photos the photos of one person are worth, at least 1."""
    roots = np.sqrt(np.clip(np.linalg.eigvalsh(cosines), 0, None))
    return max(1.0, float(roots.sum() ** 2 / (roots**2).sum()))


def _strangers(model: str, apart: Array, people: Sequence[Sequence[int]]) -> NormalDist:
    """The distribution of 1 - cosine between a stranger and a row of the gallery.

    Each pair of people counts once, however many photos they have, with the median of theirs for
    the center and all of them for the spread.
    """
    center, spread = PRIORS[model]
    if len(people) < 3:  # one pair of people has no spread
        return NormalDist(center, spread)
    blocks = [apart[np.ix_(a, b)].ravel() for i, a in enumerate(people) for b in people[:i]]
    weights = np.concatenate([np.full(len(block), 1 / len(block)) for block in blocks])
    values = np.concatenate(blocks)
    median = _median(values, weights)
    sigma = MAD_TO_SIGMA * _median(np.abs(values - median), weights)
    own = len(people) / (len(people) + PRIOR_PEOPLE)
    pooled = own * sigma**2 + (1 - own) * spread**2
    return NormalDist(own * median + (1 - own) * center, float(np.sqrt(pooled)))


def _median(values: Array, weights: Array) -> float:
    """The weighted median."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    half = reached[-1] / 2 * (1 - 1e-9)  # a sum of thirds is not exactly one
    return float(values[order][np.searchsorted(reached, half)])
