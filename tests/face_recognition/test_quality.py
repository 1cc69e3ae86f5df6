"""What is said about a poor face."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from detect import Detector, Face
from engine import Load
from images import read_rgb
from PIL import Image, ImageFilter
from quality import MAX_NOSE_OFFSET, MIN_SIDE_PX, complaints, nose_offset, sharpness

GOOD = ("astronaut.png", "biden.jpg", "obama.jpg", "obama2.jpg", "obama3.jpg")


@pytest.fixture(scope="module")
def faces(sample_photos: Path, load_network: Load) -> dict[str, tuple[Image.Image, Face]]:
    """The sample portraits with their face."""
    detector = Detector(load_network)
    images = {name: read_rgb((sample_photos / name).read_bytes()) for name in GOOD}
    return {
        name: (Image.fromarray(image), detector.largest(image)[0]) for name, image in images.items()
    }


@pytest.mark.parametrize("name", GOOD)
def test_a_good_photo_is_not_complained_about(
    faces: dict[str, tuple[Image.Image, Face]], name: str
) -> None:
    image, face = faces[name]

    assert complaints(np.asarray(image), face) == []


@pytest.mark.parametrize("name", GOOD)
def test_blur_and_darkness_are_said_with_their_numbers(
    faces: dict[str, tuple[Image.Image, Face]], name: str
) -> None:
    image, face = faces[name]
    width = face.box[2] - face.box[0]
    blurred = image.filter(ImageFilter.GaussianBlur(width * 0.02))
    dark = image.point(lambda value: value * 0.3)

    (about_blur,) = complaints(np.asarray(blurred), face)
    (about_light,) = [c for c in complaints(np.asarray(dark), face) if "dark" in c]

    assert about_blur.startswith("blurred: sharpness ")
    assert about_light.startswith("dark: brightness ")


def test_a_small_face_is_said_up_to_the_last_pixel() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (300, 300, 3), dtype=np.uint8)
    points = np.array([[30, 40], [60, 40], [45, 60], [35, 80], [55, 80]], np.float32)

    def said(side: int) -> list[str]:
        return complaints(image, Face((10, 10, 10 + side, 200), 1.0, points))

    assert said(MIN_SIDE_PX) == []
    assert said(MIN_SIDE_PX - 1) == ["small: 79 px, better 80 or more"]


def test_only_the_visible_part_of_a_face_counts() -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    points = np.array([[30, 40], [60, 40], [45, 60], [35, 80], [55, 80]], np.float32)

    assert complaints(image, Face((-60, 10, 40, 110), 1.0, points)) == [
        "small: 40 px, better 80 or more"
    ]
    for box in ((-50.0, -50.0, -10.0, -10.0), (400.0, 400.0, 500.0, 500.0), (5.0, 5.0, 5.0, 5.0)):
        assert "small: 1 px" in complaints(image, Face(box, 1.0, points))[0]


def test_a_turned_head_is_measured_along_the_line_of_the_eyes() -> None:
    eyes = np.array([[0, 0], [10, 0], [5, 6], [2, 9], [8, 9]], np.float64)
    assert nose_offset(eyes) == pytest.approx(0)
    turned = eyes.copy()
    turned[2, 0] = 9
    assert nose_offset(turned) == pytest.approx(0.4)
    left = eyes.copy()
    left[2, 0] = 1
    assert nose_offset(left) == pytest.approx(0.4)
    angle = np.deg2rad(30)
    tilt = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert nose_offset(turned @ tilt) == pytest.approx(0.4)
    assert nose_offset(np.zeros((5, 2))) == 0


def test_turned_away_is_said_beyond_the_limit(faces: dict[str, tuple[Image.Image, Face]]) -> None:
    image, face = faces["obama.jpg"]
    points = face.landmarks.astype(np.float64)
    middle, between = (points[0] + points[1]) / 2, points[1] - points[0]

    def said(offset: float) -> list[str]:
        moved = points.copy()
        moved[2] = middle + offset * between
        return complaints(np.asarray(image), replace(face, landmarks=moved))

    assert said(MAX_NOSE_OFFSET - 0.001) == []
    (about,) = said(MAX_NOSE_OFFSET + 0.1)
    assert about == "turned away: the nose is 0.50 eye distances off center, better 0.4 or less"


def test_sharpness_does_not_depend_on_the_cameras_resolution(
    faces: dict[str, tuple[Image.Image, Face]],
) -> None:
    gray = faces["obama.jpg"][0].convert("L").crop((367, 79, 616, 428))
    large = gray.resize((gray.width * 3, gray.height * 3), Image.Resampling.BICUBIC)

    one, three = (sharpness(np.asarray(crop, np.float32)) for crop in (gray, large))

    assert three == pytest.approx(one, rel=0.2)
    assert sharpness(np.full((50, 50), 9, np.float32)) == 0
    assert sharpness(np.full((2, 50), 9, np.float32)) == 0
