"""Deployed code on disk: zip files and images, each unpacked once."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
import os
import shutil
import threading
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from local_aws.errors import CannotStart
from local_aws.image_layers import StoredImage
from local_aws.image_sandbox import read_image

log = logging.getLogger(__name__)

PROCESSORS = {"amd64": "x86_64", "arm64": "arm64"}  # an image's word and Lambda's
FindImage = Callable[[str, str], StoredImage | None]


class ImageFacts(NamedTuple):
    """An image's processor, in Lambda's words, if it needs one, and its digest if it was pushed."""

    processor: str | None
    digest: str | None


def _processor(config: dict[str, Any]) -> str | None:
    return PROCESSORS.get(config.get("architecture", ""))


class CodeStore:
    """Maps each deployed zip, layer and image to the folder it runs from."""

    def __init__(self, folder: Path, images: dict[str, Path], find_pushed: FindImage) -> None:
        """Unpack code below `folder`.

        `find_pushed` looks up a pushed image by repository and tag or digest. If it finds none,
        `images` maps the repository's name to a folder.
        """
        self._folder = folder
        self._images = images
        self._find_pushed = find_pushed
        self._lock = threading.Lock()
        self._announced: set[str] = set()

    def unpack(self, data: bytes, sha256: str) -> Path:
        """Unpack a zip, with its permissions, and return the folder; raise CannotStart if invalid.

        `sha256` is the hash that Lambda stores with the code, in base64. It is not recomputed:
        hashing a 68 MB layer cost more than the rest of an invocation.
        """
        return self._filled(base64.b64decode(sha256).hex()[:32], partial(_unzip, data))

    def merged(self, layers: list[Path]) -> Path | None:
        """The folder of the layers together, as /opt; None if there are none.

        Of several files with the same path, the last layer's counts.
        """
        if len(layers) < 2:
            return layers[0] if layers else None
        name = hashlib.sha256("/".join(layer.name for layer in layers).encode()).hexdigest()[:32]
        return self._filled(f"opt-{name}", partial(_merge, layers))

    def image_folder(self, uri: str) -> Path:
        """Return the folder that the image runs from; raise CannotStart if there is none."""
        found = self._find(uri)
        if isinstance(found, StoredImage):
            folder = self._filled(f"image-{found.digest.partition(':')[2][:32]}", found.unpack)
        else:
            folder = found
        if uri not in self._announced:
            self._announced.add(uri)
            if read_image(folder) is None:
                log.warning(
                    "%s runs from the folder %s with this Python, not as an image", uri, folder
                )
            else:
                log.info("%s runs from the image unpacked in %s", uri, folder)
        return folder

    def describe(self, uri: str) -> ImageFacts:
        """What is known of an image; raise CannotStart if Lambda would not accept it."""
        found = self._find(uri)
        if isinstance(found, StoredImage):
            return ImageFacts(_processor(found.config), found.digest)
        config = found / "config.json"
        is_image = read_image(found) is not None  # else it is a folder with Python code
        return ImageFacts(_processor(json.loads(config.read_text())) if is_image else None, None)

    def _find(self, uri: str) -> StoredImage | Path:
        """The pushed image, or else the folder given for it; raise CannotStart."""
        place = uri.partition("/")[2]
        repository, _, reference = place.partition("@")
        repository, _, tag = repository.partition(":")
        pushed = self._find_pushed(repository, reference or tag or "latest")
        if pushed is not None:
            return pushed
        if repository in self._images and self._images[repository].is_dir():
            return self._images[repository]
        raise CannotStart(
            f"the image {uri} has not been pushed to the local AWS. Push it with "
            "deploy/image.py, or run it from a folder: start the local AWS with "
            f"--image {repository}=FOLDER"
        )

    def _filled(self, name: str, fill: Callable[[Path], None]) -> Path:
        """The folder of this name. The first call fills it; it never appears half full."""
        target = self._folder / name
        with self._lock:
            if not target.exists():
                partial_folder = target.with_suffix(".partial")
                shutil.rmtree(partial_folder, ignore_errors=True)
                partial_folder.mkdir(parents=True)
                fill(partial_folder)
                partial_folder.rename(target)
        return target


def _merge(layers: list[Path], folder: Path) -> None:
    """Link the layers' files into one folder."""
    for layer in layers:
        for path in sorted(layer.rglob("*")):  # folders before what they contain
            target = folder / path.relative_to(layer)
            if path.is_dir():
                target.mkdir(exist_ok=True)
            else:
                target.unlink(missing_ok=True)
                os.link(path, target)


def _unzip(data: bytes, folder: Path) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist():
                path = Path(archive.extract(entry, folder))  # never outside the folder
                mode = (entry.external_attr >> 16) & 0o777
                if mode and not entry.is_dir():
                    path.chmod(mode | 0o400)  # the owner must be able to read it
    except zipfile.BadZipFile as error:
        raise CannotStart(f"the deployed code is not a zip file: {error}") from error
