"""What an execution environment runs in: its root file system, command and variables."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

ENTRY = Path(__file__).with_name("sandbox_entry.py")
# Processes of ours that come before the function's own: see sandbox_entry.
PROCESSES = 2
# What the host knows about names of other hosts. An image has its own version of everything else.
NAMES = ("/etc/resolv.conf", "/etc/hosts")


@dataclass(frozen=True)
class Sandbox:
    """A command and what it sees. `binds` are (path here, path inside), all read-only."""

    root: Path
    binds: tuple[tuple[Path, str], ...]
    folder: str
    command: tuple[str, ...]
    environment: dict[str, str]

    def argv(self, alive: int, environ: int, tmp_mb: int) -> list[str]:
        """The command line that enters it.

        `alive` is the descriptor of a pipe that ends with the server, `environ` one of a file with
        the command's variables.
        """
        words = [sys.executable, "-I", "-S", ENTRY, alive, environ, self.root, tmp_mb, self.folder]
        words.append(len(self.binds))
        for source, target in self.binds:
            words += [source, target]
        return [*map(str, words), *self.command]


def packed(environ: dict[str, str]) -> bytes:
    """Variables as the file for sandbox_entry."""
    return b"\0".join(f"{name}={value}".encode() for name, value in environ.items())
