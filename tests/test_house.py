"""The layout rules: who may import whom, no import cycles, no ambiguous module names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.house import House

TASK_ROOTS = ("video-splitting", "face-recognition")
DEPLOY = ("deploy", "deploy.parts")
WORKLOAD = (
    "workload",
    "workload.running",
    "workload.reporting",
    "workload.grading",
    "workload.tuning",
)
# A separate area, because it is all that the local AWS may import from the pipeline.
PIPELINE = ("pipeline", "pipeline.settings")
SCRIPTS = (*PIPELINE, "createS3", *DEPLOY, *WORKLOAD)
ALL_BUT_TESTS = (*TASK_ROOTS, *SCRIPTS, "local_aws", "samples", "bench")

MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "video-splitting": ("video-splitting",),
    "face-recognition": ("face-recognition",),
    "pipeline": PIPELINE,
    "createS3": PIPELINE,
    "deploy": (*DEPLOY, *PIPELINE, "createS3"),
    "deploy.parts": ("deploy.parts", *PIPELINE),
    "workload": (*WORKLOAD, *PIPELINE),
    "workload.running": ("workload.running", *PIPELINE),
    "workload.reporting": ("workload.reporting", "workload.running", *PIPELINE),
    "workload.grading": (
        "workload.grading",
        "workload.reporting",
        "workload.running",
        *PIPELINE,
    ),
    "workload.tuning": (
        "workload.tuning",
        "workload.reporting",
        "workload.running",
        *PIPELINE,
    ),
    "local_aws": ("local_aws", "pipeline.settings"),
    "samples": ALL_BUT_TESTS,
    "bench": ALL_BUT_TESTS,
    "tests": (*ALL_BUT_TESTS, "tests"),
}

# Names that several modules share, and why.
SAME_NAME = {
    "__init__": "Python's name for a package",
    "conftest": "pytest's name for a folder's fixtures",
    "keys": "clients compute the keys that the splitter writes; a test compares them",
    "handler": "the entry point of each Lambda function",
    "checks": "deploy.parts checks a deployment, workload.grading a run",
    "recognition": "the bench measures what face-recognition's module does",
    "results": "the bench keeps what it has measured, workload lists answers",
    "uploads": "the bench measures what workload.running's module does",
}


@pytest.fixture(scope="module")
def house(root: Path) -> House:
    """The modules of this checkout."""
    return House(root)


def test_modules_import_only_what_they_may(house: House) -> None:
    found = house.forbidden(MAY_IMPORT)

    assert not found, "\n".join(found)


def test_every_module_has_a_rule(house: House) -> None:
    without = [name for name in house.modules if name.partition(".")[0] not in MAY_IMPORT]

    assert without == []


def test_there_are_no_import_cycles(house: House) -> None:
    cycle = house.cycle()

    assert not cycle, " -> ".join(cycle)


def test_no_two_modules_share_a_name_without_a_reason(house: House) -> None:
    shared = house.shared_names()

    ambiguous = {name: paths for name, paths in shared.items() if name not in SAME_NAME}

    assert not ambiguous, ambiguous
    assert set(SAME_NAME) - set(shared) == set(), "no longer shared"


@pytest.mark.parametrize("folder", ["deploy", "workload"])
def test_a_command_folder_holds_only_commands_and_folders(root: Path, folder: str) -> None:
    shown = [path for path in (root / folder).iterdir() if path.name[:2] not in ("__", "._")]
    commands = sorted(path for path in shown if path.is_file())

    assert [path.name for path in commands if not os.access(path, os.X_OK)] == []
    assert [path.name for path in commands if not path.read_text().startswith("#!")] == []
    with ThreadPoolExecutor(max_workers=2) as pool:
        helps = dict(zip(commands, pool.map(read_help, commands), strict=True))
    assert [path.name for path, text in helps.items() if f"Usage: {path.name}" not in text] == []


def read_help(command: Path) -> str:
    """What a command prints for --help."""
    argv = [sys.executable, str(command), "--help"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.parametrize(
    ("path", "source", "imported"),
    [
        ("video-splitting/frames.py", "import pipeline.keys", "pipeline.keys"),
        ("video-splitting/frames.py", "import embed", "face-recognition.embed"),
        ("pipeline/keys.py", "def f():\n    from deploy import roles", "deploy.roles"),
        (
            "pipeline/aws.py",
            "if TYPE_CHECKING:\n    from samples.stack import Stack",
            "samples.stack",
        ),
        ("createS3.py", "from deploy.parts.states import wait", "deploy.parts.states"),
        ("deploy/parts/states.py", "from .. import roles", "deploy.roles"),
        ("deploy/roles.py", "import workload.grade", "workload.grade"),
        ("workload/running/run.py", "from ..reporting import page", "workload.reporting.page"),
        ("workload/reporting/page.py", "from workload.grading import judge", "workload.grading"),
        ("workload/grading/judge.py", "from workload.grade import main", "workload.grade"),
        ("local_aws/server.py", "from pipeline.keys import output_key", "pipeline.keys"),
        ("local_aws/server.py", "import embed", "face-recognition.embed"),
        ("samples/stack.py", "from tests.house import House", "tests.house"),
        ("deploy/roles.py", "import samples.stack", "samples.stack"),
        ("bench/uploads.py", "import tests.conftest", "tests.conftest"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, path: str, source: str, imported: str) -> None:
    lay_out(tmp_path, {path: source})

    (found,) = House(tmp_path).forbidden(MAY_IMPORT)

    assert found.startswith(f"{path}:")
    assert found.split()[-1].startswith(imported)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("video-splitting/frames.py", "import handler, json, boto3"),
        ("face-recognition/embed.py", "from handler import lambda_handler"),
        ("local_aws/server.py", "from pipeline import settings"),
        ("deploy/roles.py", "from deploy import image\nfrom deploy.parts import states"),
        ("workload/grading/judge.py", "from workload.reporting.page import render"),
        ("tests/house.py", "import embed\nfrom tests import conftest"),
    ],
)
def test_an_allowed_import_is_not_reported(tmp_path: Path, path: str, source: str) -> None:
    lay_out(tmp_path, {path: source})

    assert House(tmp_path).forbidden(MAY_IMPORT) == []


def test_a_cycle_is_found_through_a_late_import(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        {
            "deploy/roles.py": "import deploy.image",
            "deploy/image.py": "def f():\n    from deploy.parts.states import wait",
            "deploy/parts/states.py": "from deploy import roles",
        },
    )

    assert set(House(tmp_path).cycle()) == {"deploy.roles", "deploy.image", "deploy.parts.states"}


def test_a_shared_name_is_found(tmp_path: Path) -> None:
    lay_out(tmp_path, {"local_aws/image.py": ""})

    assert House(tmp_path).shared_names()["image"] == ["deploy/image.py", "local_aws/image.py"]


def lay_out(root: Path, sources: dict[str, str]) -> None:
    """Make a small tree: an empty module or two in each area, then `sources`."""
    modules = (
        *("createS3.py", "deploy/image.py", "deploy/roles.py", "deploy/parts/states.py"),
        *("pipeline/aws.py", "pipeline/keys.py", "pipeline/settings.py", "local_aws/server.py"),
        *("workload/grade.py", "workload/running/run.py", "workload/reporting/page.py"),
        *("workload/grading/judge.py", "samples/stack.py", "bench/uploads.py"),
        *("video-splitting/handler.py", "video-splitting/frames.py"),
        *("face-recognition/handler.py", "face-recognition/embed.py"),
        *("tests/conftest.py", "tests/house.py"),
    )
    for path, source in {**dict.fromkeys(modules, ""), **sources}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(source)


def test_torch_and_opencv_are_imported_only_where_networks_are_made_or_compared(root: Path) -> None:
    heavy = re.compile(r"^\s*(import|from) (torch|facenet_pytorch|cv2)\b", re.MULTILINE)

    importing = {
        path.name
        for path in (root / "face-recognition").glob("*.py")
        if heavy.search(path.read_text())
    }

    assert importing == {"engine_torch.py", "export.py", "torchvision_substitute.py"}
