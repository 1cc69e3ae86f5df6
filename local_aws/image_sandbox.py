"""Container images as functions: an unpacked image, run as Lambda runs it, without a daemon.

In user, mount and process namespaces of its own, so no root is needed where the kernel lets
everybody make these: the root file system is read-only, /tmp is a fresh tmpfs, and the user is one
that the image does not know, as in Lambda.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_aws.function import CannotStart

# Lambda's user in a sandbox has no entry in the image's /etc/passwd, and no home.
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
    """An unpacked image: where its files are, and what its configuration says."""

    root: Path
    environment: dict[str, str]
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    folder: str

    def argv(self, overrides: dict[str, Any], tmp_mb: int) -> list[str]:
        """The command that runs it; `overrides` is the function's ImageConfig."""
        entrypoint = tuple(overrides.get("EntryPoint") or self.entrypoint)
        command = tuple(overrides.get("Command") or self.command)
        folder = overrides.get("WorkingDirectory") or self.folder
        enter = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork"]
        enter += ["--kill-child", "--", "sh", "-c", ENTER, "enter"]
        return [*enter, str(self.root), str(tmp_mb), folder, *entrypoint, *command]


def read_image(folder: Path) -> Image | None:
    """The image unpacked in `folder` (rootfs/ and config.json), None where there is none.

    config.json is the image's own: https://github.com/opencontainers/image-spec/blob/main/config.md
    Raises CannotStart when it names nothing to run.
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
