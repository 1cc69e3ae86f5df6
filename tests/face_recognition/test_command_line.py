"""The commands without click end like those with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import models
import pytest

FOLDER = Path(models.__file__).parent
FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(
    "words",
    [("models.py", "list"), ("models.py", "-h"), ("enroll.py", "--version"), ("export.py", "-h")],
    ids=" ".join,
)
def test_output_that_nobody_takes_leaves_no_traceback(
    words: tuple[str, ...], unbuffered: str
) -> None:
    command = [sys.executable, str(FOLDER / words[0]), *words[1:]]
    environ = {**os.environ, "PYTHONUNBUFFERED": unbuffered}

    def said(stdout: int) -> str:
        done = subprocess.run(command, env=environ, stdout=stdout, stderr=subprocess.PIPE)
        assert done.returncode == 1
        return done.stderr.decode()

    # GIVEN a full disk, and a pipe that nobody reads
    with FULL.open("w") as full:
        assert said(full.fileno()) == "Error: Cannot go on: No space left on device\n"
    reader, writer = os.pipe()
    os.close(reader)
    assert said(writer) == ""
    os.close(writer)


def test_ctrl_c_is_one_line() -> None:
    code = "import os, signal, command_line\n"
    # Background jobs of a shell ignore SIGINT.
    code += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "command_line.run(lambda: os.kill(os.getpid(), signal.SIGINT))"

    done = subprocess.run([sys.executable, "-c", code], cwd=FOLDER, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (1, "\nAborted!\n")
