"""Unpacks a pushed image: applies its layers in order and copies its configuration.

https://github.com/opencontainers/image-spec/blob/main/layer.md
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from local_aws.errors import CannotStart

# A file with this prefix removes a file of a lower layer. The opaque whiteout removes everything
# that lower layers have in its folder.
WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
MAX_LINKS = 40  # symbolic links to follow in one path; Linux has the same limit


@dataclass(frozen=True)
class StoredImage:
    """A pushed image. `blob` returns the file that holds the bytes of a digest."""

    digest: str
    blob: Callable[[str], Path]

    @property
    def manifest_bytes(self) -> bytes:
        """The manifest exactly as pushed."""
        return self.blob(self.digest).read_bytes()

    @property
    def manifest(self) -> dict[str, Any]:
        """The parsed manifest."""
        content: dict[str, Any] = json.loads(self.manifest_bytes)
        return content

    @property
    def config(self) -> dict[str, Any]:
        """The parsed configuration; raise CannotStart if this is not a single image."""
        content: dict[str, Any] = json.loads(self.blob(self._config_digest()).read_bytes())
        return content

    def _config_digest(self) -> str:
        manifest = self.manifest
        if "layers" not in manifest:
            raise CannotStart(
                f"{self.digest} is an image index, which Lambda does not accept: build without "
                "attestations (--provenance=false --sbom=false)"
            )
        return str(manifest["config"]["digest"])

    def unpack(self, folder: Path) -> None:
        """Write rootfs/ and config.json below `folder`; raise CannotStart if that is impossible."""
        config = self._config_digest()
        manifest = self.manifest
        root = folder / "rootfs"
        root.mkdir(parents=True)
        for layer in manifest["layers"]:
            try:
                with tarfile.open(self.blob(layer["digest"])) as archive:
                    _apply(archive, root)
            except (tarfile.TarError, EOFError, OSError) as error:
                raise CannotStart(
                    f"the layer {layer['digest']} cannot be unpacked: {error}"
                ) from error
        shutil.copyfile(self.blob(config), folder / "config.json")


def _apply(archive: tarfile.TarFile, root: Path) -> None:
    """Apply one layer on top of those in `root`. Nothing outside `root` is written."""
    applied: set[Path] = set()  # by this layer: whiteouts only affect lower layers
    for member in archive:
        parts = PurePosixPath("/", member.name).parts[1:]
        if not parts or ".." in parts or member.isdev():
            continue  # the root itself, escapes, and devices, which only the superuser can create
        parent, name = inside(root, parts[:-1]), parts[-1]
        if name == OPAQUE:
            _remove(parent.iterdir() if parent.is_dir() else [], applied)
        elif name.startswith(WHITEOUT):
            _remove([parent / name.removeprefix(WHITEOUT)], applied)
        else:
            target = parent / name
            if not member.isdir() or target.is_symlink() or not target.is_dir():
                _remove([target], set())
            _extract(archive, member, root, target)
            applied.update((target, *target.parents))


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, root: Path, target: Path) -> None:
    """Extract `member` as `target` in `root`. Hard links are resolved in `root` as well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if member.islnk():
        parts = PurePosixPath("/", member.linkname).parts[1:]
        if not parts or ".." in parts:
            raise OSError(f"{member.name} is a hard link to {member.linkname!r}")
        source = inside(root, parts[:-1]) / parts[-1]
        os.link(source, target, follow_symlinks=False)  # a symbolic link may point outside
        return
    # The current user owns all files and must be able to go on. No file is set-user-ID.
    mode = (member.mode or 0) & 0o777 | (0o700 if member.isdir() else 0o400)
    placed = member.replace(name=str(target.relative_to(root)), mode=mode, deep=False)
    archive.extract(placed, root, set_attrs=not member.issym(), filter=_as_it_is)


def _as_it_is(member: tarfile.TarInfo, _path: str) -> tarfile.TarInfo:
    return member.replace(uid=None, gid=None, uname=None, gname=None, deep=False)  # type: ignore[arg-type]


def inside(root: Path, parts: tuple[str, ...]) -> Path:
    """The path `parts` below `root`, with symbolic links followed as if `root` were /.

    Raise OSError if the links form a loop.
    """
    path, left, links = root, list(parts), 0
    while left:
        part = left.pop(0)
        if part in ("/", "."):
            continue
        if part == "..":
            path = path if path == root else path.parent
            continue
        path = path / part
        if path.is_symlink():
            links += 1
            if links > MAX_LINKS:
                raise OSError(f"too many symbolic links in {'/'.join(parts)}")
            target = PurePosixPath(path.readlink())
            path = root if target.is_absolute() else path.parent
            left = [*target.parts, *left]
    return path


def _remove(paths: Iterable[Path], kept: set[Path]) -> None:
    """Remove the paths, and what they contain, except for the `kept` ones."""
    for path in list(paths):
        is_folder = path.is_dir() and not path.is_symlink()
        if path in kept:
            if is_folder:
                _remove(path.iterdir(), kept)
        elif is_folder:
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
