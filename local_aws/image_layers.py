"""An image that was pushed, unpacked: its layers laid one over the other, and its configuration.

https://github.com/opencontainers/image-spec/blob/main/layer.md
"""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from local_aws.function import CannotStart

# A file of this name removes one of a lower layer; of the second, all that its folder had there.
WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
MAX_LINKS = 40  # symbolic links to follow in one path, as Linux does


@dataclass(frozen=True)
class StoredImage:
    """One image's manifest, by its digest; `blob` gives the file that holds a digest's bytes."""

    digest: str
    blob: Callable[[str], Path]

    @property
    def manifest_bytes(self) -> bytes:
        """The manifest as it was pushed."""
        return self.blob(self.digest).read_bytes()

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest's content."""
        content: dict[str, Any] = json.loads(self.manifest_bytes)
        return content

    def unpack(self, folder: Path) -> None:
        """Make `folder` with rootfs/ and config.json; raises CannotStart where that cannot be."""
        manifest = self.manifest
        if "layers" not in manifest:
            raise CannotStart(
                f"{self.digest} is an index of images, which Lambda refuses: build without "
                "attestations (--provenance=false --sbom=false)"
            )
        root = folder / "rootfs"
        root.mkdir(parents=True)
        for layer in manifest["layers"]:
            try:
                with tarfile.open(self.blob(layer["digest"])) as archive:
                    _lay(archive, root)
            except (tarfile.TarError, EOFError, OSError) as error:
                raise CannotStart(
                    f"the layer {layer['digest']} cannot be unpacked: {error}"
                ) from error
        shutil.copyfile(self.blob(manifest["config"]["digest"]), folder / "config.json")


def _lay(archive: tarfile.TarFile, root: Path) -> None:
    """Extract one layer over those that lie in `root`; nothing is written outside of it."""
    laid: set[Path] = set()  # by this very layer: a whiteout is about lower ones
    for member in archive:
        parts = PurePosixPath("/", member.name).parts[1:]
        if not parts or ".." in parts or member.isdev():
            continue  # the root itself, and what only root could make or nobody means
        parent, name = inside(root, parts[:-1]), parts[-1]
        if name == OPAQUE:
            _remove(parent.iterdir() if parent.is_dir() else [], laid)
        elif name.startswith(WHITEOUT):
            _remove([parent / name.removeprefix(WHITEOUT)], laid)
        else:
            target = parent / name
            if not member.isdir() or target.is_symlink() or not target.is_dir():
                _remove([target], set())
            _extract(archive, member, root, target)
            laid.update((target, *target.parents))


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, root: Path, target: Path) -> None:
    """Extract `member` as `target`, whose folder lies in `root`, with links led there, too."""
    name = str(target.relative_to(root))
    settings: dict[str, Any] = {"name": name, "deep": False}
    if member.islnk():
        parts = PurePosixPath("/", member.linkname).parts[1:]
        if not parts or ".." in parts:
            raise OSError(f"{member.name} is a hard link to {member.linkname!r}")
        settings["linkname"] = str((inside(root, parts[:-1]) / parts[-1]).relative_to(root))
    # Owners are those of whoever unpacks, who must be able to go on; nothing is set-user-ID.
    mode = (member.mode or 0) & 0o777 | (0o700 if member.isdir() else 0o400)
    placed = member.replace(**settings, mode=mode)
    target.parent.mkdir(parents=True, exist_ok=True)
    archive.extract(placed, root, set_attrs=not member.issym(), filter=_as_it_is)


def _as_it_is(member: tarfile.TarInfo, _path: str) -> tarfile.TarInfo:
    return member.replace(uid=None, gid=None, uname=None, gname=None, deep=False)  # type: ignore[arg-type]


def inside(root: Path, parts: tuple[str, ...]) -> Path:
    """The folder `parts` below `root`, its symbolic links followed as if `root` were /.

    Raises OSError for links that go round in circles.
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
    for path in list(paths):
        if path in kept:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
