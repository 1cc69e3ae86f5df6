"""Deployed code on disk: zips unpacked once, images mapped to folders."""

from __future__ import annotations

import base64
import io
import logging
import os
import shutil
import threading
import zipfile
from pathlib import Path

from local_aws.function import CannotStart
from local_aws.image import read_image

log = logging.getLogger(__name__)


class CodeStore:
    """Gives each deployed zip, layer and image a folder to run from."""

    def __init__(self, folder: Path, images: dict[str, Path]) -> None:
        """Unpack below `folder`; `images` maps repository names to task-root folders."""
        self._folder = folder
        self._images = images
        self._lock = threading.Lock()
        self._announced: set[str] = set()

    def unpack(self, data: bytes, sha256: str) -> Path:
        """The folder that holds what is in the zip, with the zip's permissions.

        `sha256` is the zip's own in base64, as Lambda names code by: to take that of a 68 MB layer
        anew at each invocation cost more than all else. Raises CannotStart when it is no zip.
        """
        target = self._folder / base64.b64decode(sha256).hex()[:32]
        with self._lock:
            if not target.exists():
                partial = target.with_suffix(".partial")
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
                try:
                    _extract(data, partial)
                except zipfile.BadZipFile as error:
                    raise CannotStart(f"the deployed code is no zip: {error}") from error
                partial.rename(target)
        return target

    def image_folder(self, uri: str) -> Path:
        """The folder an image's repository is mapped to; raises CannotStart when there is none."""
        repository = uri.split("/", 1)[-1].split("@")[0].split(":")[0]
        folder = self._images.get(repository)
        if folder is None or not folder.is_dir():
            raise CannotStart(
                f"no folder stands for the image {uri}: start the local AWS with "
                f"--image {repository}=FOLDER"
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


def _extract(data: bytes, folder: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for entry in archive.infolist():
            path = Path(archive.extract(entry, folder))  # keeps inside the folder
            mode = (entry.external_attr >> 16) & 0o777
            if mode and not entry.is_dir():
                os.chmod(path, mode | 0o400)  # noqa: PTH101 - readable by its owner at least
