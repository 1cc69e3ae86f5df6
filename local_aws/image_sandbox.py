"""Runs an unpacked container image as Lambda does, without a daemon.

The function gets its own user, mount and process namespaces, which need no root where the kernel
lets any user create them. As in Lambda, the root file system is read-only, /tmp is a new tmpfs, and
the user is unknown to the image.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_aws.errors import CannotStart

# Like Lambda's, this user has no entry in the image's /etc/passwd and no home directory.
USER, GROUP = 993, 990

# $1: the root file system, $2: the size of /tmp in MB, $3: the working directory; then the command.
ENTER = f"""
set -e
root=$1 size=$2 folder=$3
shift 3
mount --bind "$root" "$root"
mount -t tmpfs -o "size=${{size}}m,mode=1777" tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --bind /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
mount -o remount,bind,ro "$root"
exec unshare --user --map-user={USER} --map-group={GROUP} --root="$root" --wd="$folder" -- "$@"
"""


@dataclass(frozen=True)
class Image:
    """An unpacked image: its root file system and its configuration."""

    root: Path
    environment: dict[str, str]
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    folder: str

    def argv(self, overrides: dict[str, Any], tmp_mb: int) -> list[str]:
        """The command that runs the image. `overrides` is the function's ImageConfig."""
        entrypoint = tuple(overrides.get("EntryPoint") or self.entrypoint)
        command = tuple(overrides.get("Command") or self.command)
        folder = overrides.get("WorkingDirectory") or self.folder
        enter = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork"]
        enter += ["--kill-child", "--", "sh", "-c", ENTER, "enter"]
        return [*enter, str(self.root), str(tmp_mb), folder, *entrypoint, *command]


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
