"""Keeps the bodies of S3 objects in files, one an object, opened only while read or written.

moto keeps them in memory or in files that stay open, and gives neither back; its ETag is computed
from a shared file position, so reading an object while it is written can give a wrong one.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Any
from uuid import uuid4

from moto.s3.models import FakeKey


def install(folder: Path) -> None:
    """Keep the bodies of all objects written from now on below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    dispose = FakeKey.dispose

    def read(key: Any) -> bytes:
        path: Path = key._body
        return path.read_bytes()

    def write(key: Any, value: bytes | str) -> None:
        data = value.encode() if isinstance(value, str) else value
        _discard(key)
        # A name of its own at each write: whoever reads the former body reads all of it.
        path = folder / uuid4().hex
        path.write_bytes(data)
        key._body, key._body_owner = path, id(key)
        key._body_md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        key.contentsize = len(data)

    def etag(key: Any) -> str:
        return f'"{key._etag or key._body_md5}"'

    def dispose_with_body(key: Any, garbage: bool = False) -> None:
        _discard(key)
        dispose(key)  # never as "garbage": the warning is about buffers that are not used here

    FakeKey.value = property(read, write)
    FakeKey.etag = property(etag)
    FakeKey.dispose = dispose_with_body


def _discard(key: Any) -> None:
    """Remove the file, unless the key is a copy that still shares another's."""
    if getattr(key, "_body_owner", None) == id(key):
        with contextlib.suppress(FileNotFoundError):
            key._body.unlink()
