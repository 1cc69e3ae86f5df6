"""Keeps the bodies of S3 objects in files, one an object, opened only while read or written.

moto keeps them in memory or in files that stay open, and gives neither back; its ETag is computed
from a shared file position, so reading an object while it is written can give a wrong one.
"""

from __future__ import annotations

import hashlib
import weakref
from collections import deque
from pathlib import Path
from typing import Any
from uuid import uuid4

from moto.s3.models import FakeKey, FakeMultipart


class Body:
    """The bytes of an object, in a file that lasts as long as anybody holds this.

    An object that is overwritten or deleted while it is read is read to its end, and copies share
    one file.
    """

    def __init__(self, folder: Path, data: bytes) -> None:
        """Write a new file; it stays where it is when the server ends."""
        self._path = folder / uuid4().hex
        self._path.write_bytes(data)
        weakref.finalize(self, self._path.unlink, missing_ok=True).atexit = False
        self.md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()

    def read(self) -> bytes:
        """All of it."""
        return self._path.read_bytes()


def install(folder: Path) -> None:
    """Keep the bodies of all objects written from now on below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    dispose = FakeKey.dispose

    def read(key: Any) -> bytes:
        body: Body = key._body
        return body.read()

    def write(key: Any, value: bytes | str) -> None:
        data = value.encode() if isinstance(value, str) else value
        key._body = Body(folder, data)
        key.contentsize = len(data)

    def etag(key: Any) -> str:
        return f'"{key._etag or key._body.md5}"'

    def dispose_quietly(key: Any, garbage: bool = False) -> None:
        dispose(key)  # never as "garbage": the warning is about buffers that are not used here

    # moto keeps every object that there ever was in a list, and so its body, until a reset.
    FakeKey.instances_tracked = FakeMultipart.instances_tracked = deque(maxlen=0)
    FakeKey.value = property(read, write)
    FakeKey.etag = property(etag)
    FakeKey.dispose = dispose_quietly
