"""Our detector finds the same faces as facenet-pytorch's MTCNN."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import detect
import numpy as np
import pytest
import torch
from area import MAX_CELL_PIXELS, AreaAverages
from boxes import nms
from detect import BOXES_AT_ONCE, MIN_PROBABILITY, Detector, Memo, pyramid
from engine import Load
from facenet_pytorch import MTCNN
from images import read_rgb
from PIL import Image
from torch.nn.functional import interpolate
from torchvision_substitute import batched_nms

FOLDER = Path(detect.__file__).parent
PHOTOS = ["astronaut.png", "biden.jpg", "obama.jpg", "obama2.jpg", "t1.jpg", "coffee.png"]


@pytest.fixture(scope="module")
def detector(load_network: Load) -> Detector:
    return Detector(load_network)


@pytest.fixture(scope="module")
def plain(sample_photos: Path) -> dict[str, tuple[Any, Any, Any]]:
    """Boxes, probabilities and landmarks from facenet-pytorch's MTCNN, by photo."""
    mtcnn = MTCNN(keep_all=True, device="cpu")
    return {
        name: mtcnn.detect(read_rgb((sample_photos / name).read_bytes()), landmarks=True)
        for name in PHOTOS
    }


@pytest.mark.parametrize("name", PHOTOS)
def test_all_faces_match_mtcnn(
    detector: Detector, plain: dict[str, Any], sample_photos: Path, name: str
) -> None:
    boxes, probabilities, landmarks = plain[name]
    expected = sorted(
        (
            (b.astype(float), float(p), m.astype(float))
            for b, p, m in zip(boxes, probabilities, landmarks, strict=True)
            if p is not None and p >= MIN_PROBABILITY
        )
        if boxes is not None
        else (),
        key=lambda face: -(face[0][2] - face[0][0]) * (face[0][3] - face[0][1]),
    )

    found = detector.all(read_rgb((sample_photos / name).read_bytes()))

    assert len(found) == len(expected)
    for face, (box, probability, points) in zip(found, expected, strict=True):
        assert np.allclose(face.box, box, atol=0.05)
        assert face.probability == pytest.approx(probability, abs=1e-3)
        assert np.allclose(face.landmarks, points, atol=0.05)


@pytest.mark.parametrize("name", PHOTOS)
def test_coarse_to_fine_finds_the_same_largest_face(
    detector: Detector, sample_photos: Path, name: str
) -> None:
    image = read_rgb((sample_photos / name).read_bytes())

    largest, everything = detector.largest(image), detector.all(image)

    assert len(largest) == min(1, len(everything))
    for face, same in zip(largest, everything[:1], strict=True):
        assert np.allclose(face.box, same.box, atol=0.5)


@pytest.mark.parametrize(("name", "left"), [("obama2.jpg", 267), ("astronaut.png", 195)])
def test_the_largest_face_is_the_same_if_the_edge_cuts_it(
    detector: Detector, sample_photos: Path, name: str, left: int
) -> None:
    image = read_rgb((sample_photos / name).read_bytes())[:, left:]

    (largest,), everything = detector.largest(image), detector.all(image)

    assert largest.box[0] < 0
    assert np.allclose(largest.box, everything[0].box, atol=0.5)


@pytest.mark.parametrize("name", PHOTOS)
def test_going_on_from_the_largest_face_finds_all(
    detector: Detector, sample_photos: Path, name: str
) -> None:
    image = read_rgb((sample_photos / name).read_bytes())
    search, expected = detector.search(image), detector.all(image)

    largest, everything, again = search.largest(), search.all(), search.all()

    assert [face.box for face in largest] == [face.box for face in everything[:1]]
    assert [face.box for face in again] == [face.box for face in everything]
    assert len(everything) == len(expected)
    for face, same in zip(everything, expected, strict=True):
        assert np.allclose(face.box, same.box, atol=0.01)
        assert np.allclose(face.landmarks, same.landmarks, atol=0.01)
        assert face.probability == pytest.approx(same.probability, abs=1e-5)


@pytest.mark.parametrize("name", ["obama2.jpg", "t1.jpg", "coffee.png"])
def test_going_on_costs_only_what_was_not_done_yet(
    detector: Detector, sample_photos: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a count of integral images, levels, and crops that R-Net and O-Net look at
    done: list[Any] = []
    confirmed: list[int] = []
    propose, crops = Detector.propose, AreaAverages.crops
    confirm = detect._confirm

    def spy_integral(image: Any) -> AreaAverages:
        done.append("integral image")
        return AreaAverages(image)

    def spy_propose(detector: Detector, area: AreaAverages, scale: float) -> Any:
        done.append(scale)
        return propose(detector, area, scale)

    def spy_crops(area: AreaAverages, boxes: Any, side: int) -> Any:
        done.extend((side, row.tobytes()) for row in boxes[:, :4])
        return crops(area, boxes, side)

    def spy_confirm(r_net: Memo, o_net: Memo, candidates: Any) -> list[detect.Face]:
        confirmed.append(len(candidates))
        return confirm(r_net, o_net, candidates)

    monkeypatch.setattr(detect, "_confirm", spy_confirm)
    monkeypatch.setattr(detect, "AreaAverages", spy_integral)
    monkeypatch.setattr(Detector, "propose", spy_propose)
    monkeypatch.setattr(AreaAverages, "crops", spy_crops)
    image = read_rgb((sample_photos / name).read_bytes())
    search = detector.search(image)

    # WHEN the search goes on from the largest face, and is then asked again
    search.largest()
    first, first_confirmed = len(done), len(confirmed)
    search.all()
    second, second_confirmed = len(done), len(confirmed)
    search.all()
    assert len(confirmed) == second_confirmed
    search.largest()

    # THEN every level was searched and nothing was done twice
    scales = pyramid(*image.shape[:2])
    assert set(scales) < set(done)
    assert len(set(done)) == len(done)
    assert len(done) == second
    if name == "coffee.png":
        # without a face, the first search already went through every level
        assert (first, first_confirmed) == (second, second_confirmed)
    else:
        assert first < second


def test_six_people_are_found(detector: Detector, sample_photos: Path) -> None:
    faces = detector.all(read_rgb((sample_photos / "t1.jpg").read_bytes()))

    assert len(faces) == 6
    assert [f.area for f in faces] == sorted((f.area for f in faces), reverse=True)


@pytest.mark.parametrize("shape", [(1, 1), (11, 300), (19, 19), (20, 20), (37, 23), (300, 12)])
def test_an_image_of_any_size_is_searched(detector: Detector, shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 128, np.uint8)

    assert detector.largest(image) == []
    assert detector.all(image) == []


@pytest.mark.parametrize("size", [(7, 9), (40, 31), (53, 64), (70, 80)])
def test_area_averages_match_torch(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (53, 64, 3), np.uint8)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    expected = interpolate(tensor, size=size, mode="area")[0].permute(1, 2, 0).numpy()

    assert np.allclose(AreaAverages(image).whole(size), expected, atol=1e-4)


def test_crops_are_area_averages_of_the_part_inside_the_image() -> None:
    image = np.random.default_rng(1).integers(0, 256, (53, 64, 3), np.uint8)
    area = AreaAverages(image)
    # GIVEN boxes inside, over two edges, around the whole image, and two outside
    boxes = np.array(
        [[5, 7, 30, 40], [-9, -4, 20, 25], [50, 40, 90, 80], [-5, -5, 99, 99]]
        + [[70, 5, 90, 25], [-30, 5, -2, 25]],
        np.float32,
    )

    inside = area.within(boxes)
    crops = area.crops(inside, 24)

    assert np.array_equal(inside, boxes[:4])
    # facenet-pytorch counts a box's first pixel from 1 (its `pad`)
    for crop, (x1, y1, x2, y2) in zip(crops, inside.astype(int), strict=True):
        part = image[max(y1, 1) - 1 : min(y2, 53), max(x1, 1) - 1 : min(x2, 64)]
        tensor = torch.from_numpy(part.copy()).permute(2, 0, 1)[None].float()
        expected = interpolate(tensor, size=(24, 24), mode="area")[0].permute(1, 2, 0).numpy()
        assert np.allclose(crop, expected, atol=1e-4)


def test_a_network_runs_once_per_box() -> None:
    looked: list[int] = []

    def network(x: Any) -> Any:
        looked.append(len(x))
        return np.concatenate([x.mean((1, 2, 3))[:, None], x[:, :, 0, 0]], axis=1)

    image = np.random.default_rng(2).integers(0, 256, (50, 60, 3), np.uint8)
    boxes = np.array([[1, 1, 20, 20], [5, 5, 40, 40], [10, 3, 30, 23]], np.float32)
    memo = Memo(network, AreaAverages(image), 24)

    first, both = memo(boxes[:2]), memo(boxes[[2, 1, 0]])

    assert looked == [2, 1]
    assert first.shape == (2, 4)
    assert np.array_equal(both[[2, 1]], first)
    assert np.allclose(both, Memo(network, AreaAverages(image), 24)(boxes[[2, 1, 0]]))


@pytest.mark.slow
def test_sums_of_a_huge_image_do_not_overflow_32_bits() -> None:
    # GIVEN a white image whose sums wrap around, in cells smaller than the largest allowed
    side = int((2.5 * MAX_CELL_PIXELS) ** 0.5)

    averages = AreaAverages(np.full((side, side, 3), 255, np.uint8)).whole((2, 2))

    assert averages == pytest.approx(255)


def test_the_pyramid_starts_at_faces_of_20_px() -> None:
    scales = pyramid(480, 640)

    assert 12 / scales[0] == pytest.approx(20)
    assert scales == sorted(scales, reverse=True)
    assert pyramid(19, 1000) == []


def test_batched_nms_keeps_groups_apart() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]])
    scores = torch.tensor([0.5, 0.9, 0.7])

    assert batched_nms(boxes, scores, torch.tensor([0, 0, 0]), 0.5).tolist() == [1, 2]
    assert batched_nms(boxes, scores, torch.tensor([0, 1, 0]), 0.5).tolist() == [1, 2, 0]


def test_nms_can_measure_overlap_by_the_smaller_box() -> None:
    big, inside = [0, 0, 99, 99, 0.9], [10, 10, 29, 29, 0.8]
    boxes = np.array([big, inside], np.float32)

    assert nms(boxes, 0.7).tolist() == [0, 1]
    assert nms(boxes, 0.7, by_smaller=True).tolist() == [0]


def test_a_large_image_is_searched_in_a_copy_but_boxes_use_its_own_pixels(
    detector: Detector, sample_photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = read_rgb((sample_photos / "t1.jpg").read_bytes())
    expected = detector.all(image)
    searched = []

    def spy(pixels: Any) -> AreaAverages:
        searched.append(pixels.shape)
        return AreaAverages(pixels)

    monkeypatch.setattr(detect, "AreaAverages", spy)
    monkeypatch.setattr(detect, "MAX_SEARCHED_PIXELS", 600_000)

    found, largest = detector.all(image), detector.largest(image)

    assert image.shape == (886, 1280, 3)
    assert searched == [(644, 931, 3)] * 2
    assert len(found) == len(expected) == 6
    assert np.allclose(largest[0].box, found[0].box, atol=0.5)
    for face in found:
        nearest = min(expected, key=lambda e: abs(e.box[0] - face.box[0]))
        assert np.allclose(face.box, nearest.box, atol=12)
        assert np.allclose(face.landmarks, nearest.landmarks, atol=8)


# VmHWM, as ru_maxrss begins with that of the process that starts this one.
MEASURE = """
import sys
from pathlib import Path
from detect import Detector
from images import read_rgb
from recognition import networks
detector = Detector(networks(Path(sys.argv[1])))
found = detector.all(read_rgb(Path(sys.argv[2]).read_bytes()))
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
print(len(found), int(status["VmHWM"].split()[0]) // 1024)
"""


# CloudShell has 2 GB, the function 1,769 MB. The embedder needs up to 200 MB more.
@pytest.mark.parametrize(
    ("width", "limit_mb"), [(4000, 500), pytest.param(11_500, 850, marks=pytest.mark.slow)]
)
def test_a_photo_is_read_and_searched_in_little_memory(
    width: int, limit_mb: int, networks_dir: Path, sample_photos: Path, tmp_path: Path
) -> None:
    with Image.open(sample_photos / "t1.jpg") as image:
        size = (width, width * image.height // image.width)
        image.resize(size).save(tmp_path / "photo.jpg")
    command = [sys.executable, "-c", MEASURE, str(networks_dir), str(tmp_path / "photo.jpg")]

    run = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER, check=True)

    faces, megabytes = map(int, run.stdout.split())
    assert faces >= 6
    assert megabytes < limit_mb


def test_the_boxes_of_a_crowd_are_processed_in_batches() -> None:
    looked: list[int] = []

    def network(x: Any) -> Any:
        looked.append(len(x))
        return x.mean((1, 2, 3))[:, None]

    image = np.random.default_rng(2).integers(0, 256, (50, 60, 3), np.uint8)
    corner = np.arange(BOXES_AT_ONCE + 3) / 100
    boxes = np.stack([corner + 1, corner + 1, corner + 30, corner + 30], axis=1)
    answers = Memo(network, AreaAverages(image), 24)(boxes)

    assert looked == [BOXES_AT_ONCE, 3]
    assert np.allclose(answers[-1:], Memo(network, AreaAverages(image), 24)(boxes[-1:]))
