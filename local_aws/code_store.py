"""Deployed code on disk: zips unpacked once, images mapped to folders."""

from __future__ import annotations

import base64
import io
import logging
import os
import shutil
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

from local_aws.function import CannotStart
from local_aws.image_layers import StoredImage
from local_aws.image_sandbox import read_image

log = logging.getLogger(__name__)

FindImage = Callable[[str, str], StoredImage | None]


class CodeStore:
    """Gives each deployed zip, layer and image a folder to run from."""

    def __init__(self, folder: Path, images: dict[str, Path], find_pushed: FindImage) -> None:
        """Unpack below `folder`.

        `find_pushed` finds an image by repository and tag or digest; where it finds none, `images`
        maps the repository's name to a folder.
        """
        self._folder = folder
        self._images = images
        self._find_pushed = find_pushed
        self._lock = threading.Lock()
        self._announced: set[str] = set()

    def unpack(self, data: bytes, sha256: str) -> Path:
        """The folder that holds what is in the zip, with the zip's permissions.

        `sha256` is the zip's own in base64, as Lambda names code by: to take that of a 68 MB layer
        anew at each invocation cost more than all else. Raises CannotStart when it is no zip.
        """

        def fill(folder: Path) -> None:
            try:
                _extract(data, folder)
            except zipfile.BadZipFile as error:
                raise CannotStart(f"the deployed code is no zip: {error}") from error

        return self._made(base64.b64decode(sha256).hex()[:32], fill)

    def image_folder(self, uri: str) -> Path:
        """The folder an image is run from; raises CannotStart when there is none."""
        place = uri.partition("/")[2]
        repository, _, reference = place.partition("@")
        repository, _, tag = repository.partition(":")
        pushed = self._find_pushed(repository, reference or tag or "latest")
        if pushed is not None:
            folder = self._made(f"image-{pushed.digest.partition(':')[2][:32]}", pushed.unpack)
        elif repository in self._images and self._images[repository].is_dir():
            folder = self._images[repository]
        else:
            raise CannotStart(
                f"the image {uri} was not pushed here (deploy/image.py does that), and no folder "
                f"stands for it: start the local AWS with --image {repository}=FOLDER"
            )
        if uri not in self._announced:
            self._announced.add(uri)
            if read_image(folder) is None:
                log.warning(
                    "%s is not run as an image but from the folder %s, with this Python",
                    *(uri, folder),
                )
            else:
                log.info("%s is run from the image unpacked in %s", uri, folder)
        return folder

    def _made(self, name: str, fill: Callable[[Path], None]) -> Path:
        """The folder of this name, filled once and whole."""
        target = self._folder / name
        with self._lock:
            if not target.exists():
                partial = target.with_suffix(".partial")
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
                fill(partial)
                partial.rename(target)
        return target


def _extract(data: bytes, folder: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for entry in archive.infolist():
            path = Path(archive.extract(entry, folder))  # keeps inside the folder
            mode = (entry.external_attr >> 16) & 0o777
            if mode and not entry.is_dir():
                os.chmod(path, mode | 0o400)  # noqa: PTH101 - readable by its owner at least
