"""The threshold that fits a gallery."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gallery
import numpy as np
import numpy.typing as npt
import pytest
from gallery import THRESHOLDS
from thresholds import TARGET_FPIR, suggest

Array = npt.NDArray[np.float32]


def unit(rows: Any) -> Array:
    matrix = np.asarray(rows, np.float64)
    return np.asarray(matrix / np.linalg.norm(matrix, axis=1, keepdims=True), np.float32)


def strangers(people: int, alike: float = 0.14, seed: int = 0) -> Array:
    """One row per person; `alike` is the mean cosine between two of them (0.14 as in sface)."""
    own = unit(np.random.default_rng(seed).normal(size=(people, 128)))
    common = np.eye(1, 128)
    return unit(np.sqrt(1 - alike) * own + np.sqrt(alike) * common)


def names(people: int) -> list[str]:
    return [f"person {i}" for i in range(people)]


def photos_of(rows: Array, each: int, spread: float) -> tuple[Array, list[str]]:
    """`each` photos of every person, at a distance that grows with `spread`."""
    noise = np.random.default_rng(1).normal(size=(len(rows) * each, 128)) / 128**0.5
    return unit(np.repeat(rows, each, axis=0) + spread * noise), list(
        np.repeat(names(len(rows)), each)
    )


def test_a_larger_gallery_has_a_stricter_threshold() -> None:
    sizes = (1, 2, 3, 8, 20, 40, 86, 500)

    found = [suggest("sface", strangers(size), names(size)).threshold for size in sizes]

    assert found == sorted(found, reverse=True)
    assert found[0] == found[1] == found[2] == THRESHOLDS["sface"]
    assert found[4] > found[5] > found[6] > found[7] > 0.45


def test_it_never_is_laxer_than_the_models_own() -> None:
    far = strangers(10, alike=0.0)

    assert suggest("sface", far, names(10)).threshold == THRESHOLDS["sface"]


@pytest.mark.parametrize(("rows", "measured"), [(8, 0.0), (20, 0.02), (40, 0.075), (86, 0.17)])
def test_the_prior_agrees_with_what_strangers_measured_at_the_models_threshold(
    rows: int, measured: float
) -> None:
    # One person, so that the distances come from the prior alone; the photos are independent.
    photos = suggest("sface", np.eye(rows, 128, dtype=np.float32), ["Ann"] * rows)

    assert photos.photos == pytest.approx(rows, rel=1e-3)
    assert photos.fpir_of_model == pytest.approx(measured, abs=0.025)


@pytest.mark.parametrize(("rows", "threshold"), [(20, 0.62), (86, 0.59)])
def test_the_documented_thresholds_are_the_priors(rows: int, threshold: float) -> None:
    found = suggest("sface", np.eye(rows, 128, dtype=np.float32), ["Ann"] * rows)

    assert found.threshold == pytest.approx(threshold, abs=0.005)
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
    assert f"{threshold} for {rows}" in page.replace(" independent photos", "")


@pytest.mark.parametrize("people", [20, 86])
def test_new_people_are_taken_for_somebody_about_as_often_as_promised(people: int) -> None:
    everybody = strangers(people + 4000)
    found = suggest("sface", everybody[:people], names(people))

    distances = 1 - everybody[people:] @ everybody[:people].T

    share = float((distances.min(axis=1) <= found.threshold).mean())
    assert found.threshold < THRESHOLDS["sface"]
    assert found.fpir == pytest.approx(TARGET_FPIR, rel=0.1)
    assert found.fpir <= TARGET_FPIR
    assert TARGET_FPIR / 3 < share < TARGET_FPIR * 2


def test_copies_of_a_photo_change_nothing() -> None:
    rows, who = strangers(40), names(40)
    once = suggest("sface", rows, who)

    copied = suggest("sface", np.concatenate([rows, rows[:1], rows[:1]]), [*who, who[0], who[0]])
    renamed = suggest("sface", np.concatenate([rows, rows[:1]]), [*who, "somebody else"])

    for other in (copied, renamed):
        assert other.people == 40
        assert other.photos == pytest.approx(once.photos, abs=1e-3)
        assert other.threshold == pytest.approx(once.threshold, abs=1e-9)


def test_one_photo_in_three_qualities_under_two_names_counts_about_once() -> None:
    rows, who = strangers(40), names(40)
    near = unit(rows[:1] + np.random.default_rng(2).normal(size=(2, 128)) / 128**0.5 * 0.1)
    once = suggest("sface", rows, who)

    found = suggest("sface", np.concatenate([rows, near]), [*who, who[0], "somebody else"])

    assert float(1 - near[0] @ rows[0]) == pytest.approx(0.005, abs=0.005)
    assert found.people == 40
    assert found.photos < once.photos + 0.5
    assert found.threshold == pytest.approx(once.threshold, abs=3e-3)


def test_two_names_with_one_picture_leave_the_models_threshold() -> None:
    row = strangers(1)

    found = suggest("sface", np.concatenate([row, row]), ["Ann", "Bob"])

    assert (found.threshold, found.people) == (THRESHOLDS["sface"], 1)
    assert found.photos == pytest.approx(1)


def test_photos_of_one_person_count_less_the_more_they_resemble_each_other() -> None:
    rows = strangers(30)

    counts = [suggest("sface", *photos_of(rows, 5, spread)).photos for spread in (0.1, 0.5, 1, 9)]

    assert counts == sorted(counts)
    assert 30 < counts[0] < 60
    assert counts[-1] == pytest.approx(150, rel=0.05)


def test_people_who_resemble_each_other_make_it_stricter() -> None:
    unrelated = suggest("sface", strangers(30), names(30)).threshold
    family = suggest("sface", strangers(30, alike=0.4), names(30)).threshold

    assert family < unrelated - 0.1


def test_one_pair_of_lookalikes_hardly_matters() -> None:
    rows = strangers(30)
    near = rows.copy()
    near[1] = unit(near[:1] + 0.9 * near[1:2])[0]

    two = (suggest("sface", each, names(30)).threshold for each in (rows, near))

    assert next(two) == pytest.approx(next(two), abs=5e-3)


def test_a_real_gallery_of_facenet(shared_media: Path) -> None:
    model = "facenet-vggface2"
    people = gallery.load(shared_media / "gallery-facenet-vggface2-240.pt", model)
    who = np.array(people.names)
    accepted = {"own": 0, "fitting": 0}
    for name in sorted(set(people.names)):  # each person in turn is the stranger
        known = who != name
        found = suggest(model, people.embeddings[known], list(who[known]))
        cosines = people.embeddings[~known] @ people.embeddings[known].T
        nearest = gallery.distance(model, cosines).min(axis=1)
        accepted["own"] += int((nearest <= THRESHOLDS[model]).sum())
        accepted["fitting"] += int((nearest <= found.threshold).sum())

    # 21 and 7 of 79; the 7 are two people of one age and look
    assert accepted["fitting"] * 2 < accepted["own"]
    whole = suggest(model, people.embeddings, people.names)
    assert whole.people == 8
    assert 0.7 < whole.threshold < 0.85


def test_the_line_gives_the_threshold_and_its_reason() -> None:
    small = suggest("sface", strangers(1), ["Ann"])
    large = suggest("sface", strangers(86), names(86))

    assert small.line("sface") == (
        "threshold: 0.637, the model's own: with 1 person and 1 independent photo, about 0.2 % of "
        "strangers are taken for somebody"
    )
    assert f"threshold: {large.threshold:.3f}, stricter than the model's 0.637: " in large.line(
        "sface"
    )
    assert "with 86 people and 86 independent photos, about 2.0 % " in large.line("sface")
