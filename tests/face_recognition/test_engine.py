"""The networks behind their door: ncnn gives what torch gives, and refuses what it cannot take."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import engine
import export
import numpy as np
import pytest

FOLDER = Path(engine.__file__).parent
RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def made(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MTCNN's networks and SFace for ncnn."""
    folder = tmp_path_factory.mktemp("engine") / "made"
    export.export("sface", models_dir, folder, export.read_pictures(Path("missing")))
    return folder


def noise(*shape: int) -> Any:
    return RNG.uniform(-1, 1, shape).astype(np.float32)


@pytest.mark.parametrize(
    "size", [(12, 12), (13, 14), (12, 400), (170, 171), (171, 172), (340, 333), (505, 47)]
)
def test_p_net_takes_any_size(size: tuple[int, int], made: Path, models_dir: Path) -> None:
    x = noise(1, 3, *size)

    ours = engine.choose("ncnn", made, 1)("p-net")(x)
    theirs = engine.choose("torch", models_dir, 1)("p-net")(x)

    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


@pytest.mark.parametrize("number", [1, 5, 8])
@pytest.mark.parametrize(("name", "side"), [("r-net", 24), ("o-net", 48)])
def test_crops_come_in_batches(
    name: str, side: int, number: int, made: Path, models_dir: Path
) -> None:
    x = noise(number, 3, side, side)

    ours = engine.choose("ncnn", made, 1)(name)(x)
    theirs = engine.choose("torch", models_dir, 1)(name)(x)

    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_allclose(ours[:, -2:].sum(axis=1), 1, atol=1e-5)  # probabilities


@pytest.mark.parametrize("name", ["p-net", "r-net", "sface"])
def test_the_input_is_left_as_it_was(name: str, made: Path) -> None:
    # SFace begins with a layer that works in place
    side = max(24, engine.SHAPES[name].side)
    x = noise(2, 3, side, side)
    before = x.copy()

    network = engine.choose("ncnn", made, 1)(name)
    first, again = network(x), network(x[:, :, :, :])

    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(first, again)


def test_what_lies_otherwise_in_memory_gives_the_same(made: Path) -> None:
    network = engine.choose("ncnn", made, 1)("r-net")
    x = noise(4, 24, 24, 3).transpose(0, 3, 1, 2)

    np.testing.assert_array_equal(network(x), network(np.ascontiguousarray(x)))


def test_an_answer_outlives_the_next_call(made: Path) -> None:
    network = engine.choose("ncnn", made, 1)("o-net")
    first = network(noise(1, 3, 48, 48))
    kept = first.copy()
    network(noise(1, 3, 48, 48))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("kind", engine.ENGINES)
@pytest.mark.parametrize(
    ("name", "x"),
    [
        ("r-net", np.zeros((1, 3, 23, 24), np.float32)),
        ("r-net", np.zeros((1, 24, 24, 3), np.float32)),
        ("r-net", np.zeros((3, 24, 24), np.float32)),
        ("r-net", np.zeros((1, 3, 24, 24), np.float64)),
        ("p-net", np.zeros((1, 3, 11, 300), np.float32)),
        ("sface", np.zeros((1, 1, 112, 112), np.float32)),
    ],
)
def test_another_shape_is_refused(
    kind: str, name: str, x: Any, made: Path, models_dir: Path
) -> None:
    folder = made if kind == "ncnn" else models_dir
    with pytest.raises(engine.EngineError, match=f"{name} cannot take"):
        engine.choose(kind, folder, 1)(name)(x)


def test_nothing_gives_nothing(made: Path) -> None:
    assert engine.choose("ncnn", made, 1)("o-net")(noise(0, 3, 48, 48)).shape == (0, 16)


def test_a_missing_network_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(engine.EngineError, match=r"network sface is missing .*export\.py"):
        engine.choose("ncnn", tmp_path, 1)("sface")


@pytest.mark.parametrize("change", ["shorter", "longer", "another", "damaged"])
def test_damaged_files_are_refused(change: str, made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(made, folder)
    weights = folder / "r-net.bin"
    if change == "shorter":
        weights.write_bytes(weights.read_bytes()[:-4])
    elif change == "longer":
        weights.write_bytes(weights.read_bytes() + b"\0\0\0\0")
    elif change == "another":
        shutil.copy(folder / "o-net.bin", weights)
    else:  # the sizes are right, what is in the file is not
        param = folder / "r-net.param"
        param.write_text(param.read_text().replace("7767517", "7767518"))

    with pytest.raises(engine.EngineError, match="r-net"):
        engine.choose("ncnn", folder, 1)("r-net")


def test_the_files_of_another_network_are_refused(made: Path, tmp_path: Path) -> None:
    # GIVEN SFace's files under the name of the network that takes any size
    folder = tmp_path / "copy"
    shutil.copytree(made, folder)
    for kind in ("param", "bin"):
        shutil.copy(folder / f"sface.{kind}", folder / f"p-net.{kind}")
    sizes = json.loads((folder / "networks.json").read_text())
    (folder / "networks.json").write_text(json.dumps({**sizes, "p-net": sizes["sface"]}))

    with pytest.raises(engine.EngineError, match="p-net gave"):
        engine.choose("ncnn", folder, 1)("p-net")(noise(1, 3, 112, 112))


@pytest.mark.parametrize("answer", [np.zeros((1, 5), np.float32), np.zeros((1, 6))])
def test_another_answer_is_refused(answer: Any) -> None:
    with pytest.raises(engine.EngineError, match=r"r-net gave float.* of shape \(1, "):
        engine.Checked("r-net", lambda _: answer)(noise(1, 3, 24, 24))


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(engine.EngineError, match="no engine 'onnx': use one of ncnn, torch"):
        engine.choose("onnx", tmp_path, 1)
    with pytest.raises(engine.EngineError, match="no network 'x-net'"):
        engine.choose("ncnn", tmp_path, 1)("x-net")


def test_ncnn_needs_neither_torch_nor_opencv(made: Path) -> None:
    code = (
        "import sys; from pathlib import Path; import align, engine, gallery_format, numpy as np\n"
        "load = engine.choose('ncnn', Path(sys.argv[1]), 1)\n"
        "load('sface')(np.zeros((1, 3, 112, 112), np.float32))\n"
        "print({'torch', 'cv2', 'facenet_pytorch', 'requests'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(made)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER, check=True)
    assert run.stdout.strip() == "set()"
