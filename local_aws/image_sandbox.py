"""An unpacked container image, and the sandbox that it runs in as on Lambda, without a daemon."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_aws.errors import CannotStart
from local_aws.sandbox import NAMES, Sandbox


@dataclass(frozen=True)
class Image:
    """An unpacked image: its root file system and its configuration."""

    root: Path
    environment: dict[str, str]
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    folder: str

    def sandbox(self, overrides: dict[str, Any]) -> Sandbox:
        """What it runs in. `overrides` is the function's ImageConfig."""
        entrypoint = tuple(overrides.get("EntryPoint") or self.entrypoint)
        command = tuple(overrides.get("Command") or self.command)
        folder = overrides.get("WorkingDirectory") or self.folder
        names = [name for name in NAMES if Path(name).exists() and self._has_file(name)]
        binds = tuple((Path(name).resolve(), name) for name in names)
        for name in ("dev", "proc", "tmp"):
            (self.root / name).mkdir(exist_ok=True)
        return Sandbox(self.root, binds, folder, (*entrypoint, *command), self.environment)

    def _has_file(self, name: str) -> bool:
        """Whether the image has this file itself, rather than a link to elsewhere."""
        path = self.root / name[1:]
        return path.is_file() and path.resolve() == path


def read_image(folder: Path) -> Image | None:
    """Read the image unpacked in `folder` (rootfs/ and config.json); None if there is none.

    Raise CannotStart if config.json names nothing to run. Its format:
    https://github.com/opencontainers/image-spec/blob/main/config.md
    """
    if not (folder / "rootfs").is_dir() or not (folder / "config.json").is_file():
        return None
    config = json.loads((folder / "config.json").read_text())["config"]
    entrypoint, command = config.get("Entrypoint") or (), config.get("Cmd") or ()
    if not (*entrypoint, *command):
        raise CannotStart(f"the image in {folder} has neither an entry point nor a command")
    return Image(
        root=(folder / "rootfs").resolve(),
        environment=dict(line.split("=", 1) for line in config.get("Env") or ()),
        entrypoint=tuple(entrypoint),
        command=tuple(command),
        folder=config.get("WorkingDir") or "/",
    )
