"""README.md followed word by word on `make local`, in a shell that has nothing but the system."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from samples.stack import BUILD
from tests.conftest import ROOT
from tests.docs.pages import FENCED, page, project_files
from tests.e2e.conftest import eventually

SYSTEM = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8"}
# Needs docker and the real AWS's registry; README.md gives the command to use instead.
DOCKER = "docker "


def blocks(section: str) -> list[str]:
    """The code blocks below a heading of README.md, up to the next heading of that level."""
    text = page("README.md").text.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return [block.split("\n", 1)[1][:-3] for block in FENCED.findall(text)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, people: Path, videos: Path) -> Path:
    """A copy of this checkout in which `make demo` has run, with a user's photos and a video."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in project_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    (folder / "build").mkdir()
    shutil.copy2(BUILD / "ffmpeg.zip", folder / "build")
    shutil.copytree(BUILD / "samples", folder / "build" / "samples", copy_function=os.link)
    if (BUILD / "models").is_dir():
        shutil.copytree(BUILD / "models", folder / "build" / "models", copy_function=os.link)
    shutil.copytree(people, folder / "people")
    shutil.copy2(videos / "test_02.mp4", folder / "clip.mp4")
    shutil.copytree(videos, folder / "VIDEOS")
    return folder


@pytest.fixture(scope="module")
def lines(checkout: Path) -> Iterator[str]:
    """The lines that `make local` prints, while it runs in the checkout."""
    said = checkout / "build" / "local.log"
    log = said.open("w")
    with (
        log,
        subprocess.Popen(
            [checkout / ".venv" / "bin" / "python", "-m", "samples.local", "--prefix", "readme"],
            cwd=checkout,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as local,
    ):
        assert local.stdout is not None
        printed = ""
        while "\ncd " not in printed:
            line = local.stdout.readline()
            assert line, said.read_text()
            printed += line
        eventually(lambda: "Press Ctrl-C" in said.read_text())
        yield printed
        local.send_signal(signal.SIGINT)
        assert local.wait(60) == 0
    # Its file of settings is gone with it, and nothing was written where the user keeps files.
    assert not list((checkout / "build").glob("deployment-*"))
    assert not list(checkout.glob("*.ini"))


def shell(script: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    """Run a script in a shell that has only the system's programs and nobody's variables."""
    return subprocess.run(
        ["/bin/bash", "-eu", "-o", "pipefail", "-c", script],
        env=SYSTEM,
        cwd="/",
        input=typed,
        capture_output=True,
        text=True,
        timeout=170,
    )


@pytest.mark.slow
def test_the_lines_that_make_local_prints_are_enough_for_a_plain_shell(
    checkout: Path, lines: str
) -> None:
    # WHEN what it says to do is done, right after it has started
    log = (checkout / "build" / "local.log").read_text()
    commands = re.findall(r"^  (\w.*)$", log.split("\nReady. ")[1], re.MULTILINE)
    assert len(commands) == 3

    done = shell("\n".join([lines, *commands]))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Barack Obama" in done.stdout
    assert "Everything matches this checkout." in done.stdout
    assert "DRIFT" not in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_readmes_steps_on_aws_end_with_an_answer(checkout: Path, lines: str) -> None:
    first, *steps = blocks("On AWS")
    assert first.startswith("export PREFIX=")  # `make local` prints lines instead of these
    removal = steps.pop()
    walked = [step for step in steps if not step.startswith(DOCKER)]
    assert len(walked) == len(steps) - 1 >= 7

    done = shell("\n".join([lines, "set -x", *walked]))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Joe Biden" in done.stdout
    assert re.findall(r"^(\w+) +gallery:", done.stdout, re.MULTILINE) == ["WARN", "ok"]
    assert not re.search(r"^FAILED", done.stdout, re.MULTILINE), done.stdout

    # AND so do the load, the grades and the report
    (load,) = blocks("Load, grade and report")
    # Fewer videos, and limits that a slow machine meets.
    load = load.replace("--repeat 100", "--repeat 4")
    load = load.replace("grade.py", "grade.py --max-split 60 --max-recognition 60")
    graded = shell("\n".join([lines, load]))
    assert graded.returncode == 0, graded.stdout + graded.stderr
    assert (checkout / "report.html").is_file()

    # AND one documented setting does not reset the others
    changed = shell("\n".join([lines, "python3 deploy/deploy.py --set video-splitting.FRAMES=5"]))
    assert changed.returncode == 0, changed.stderr
    assert "FRAMES 'auto' -> '5'" in changed.stderr
    assert "Done, 1 change." in changed.stderr

    # AND the removal asks, and leaves nothing
    listed, removed = removal.strip().splitlines()
    refused = shell("\n".join([lines, listed]), "y\n")
    assert refused.returncode == 1
    assert "nothing was deleted" in refused.stderr
    gone = shell("\n".join([lines, removed]), "y\n")
    assert "a new listing confirms that nothing of 'readme' is left" in gone.stdout, gone.stderr
