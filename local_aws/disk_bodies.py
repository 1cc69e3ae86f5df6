"""Repairs of moto's S3: the bodies of objects are files, open only during a read or a write.

moto keeps bodies in memory or in files that stay open, and releases neither. It also computes ETags
from a shared file position, so reading an object during a write can return a wrong ETag.
"""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from moto.s3.models import FakeKey, FakeMultipart
from moto.s3.responses import S3Response

from local_aws.moto_patch import Method, wrap_method

BLOCK = 1 << 20


class Body:
    """The bytes of an object, in a file that exists as long as someone holds this.

    A reader can finish even if the object is overwritten or deleted meanwhile. Copies of an object
    share one file.
    """

    def __init__(self, folder: Path, data: bytes) -> None:
        """Write a new file. It stays on disk if the server ends."""
        self.path = folder / uuid4().hex
        self.path.write_bytes(data)
        self.size = len(data)
        weakref.finalize(self, self.path.unlink, missing_ok=True).atexit = False
        self.md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()

    def read(self) -> bytes:
        """All the bytes."""
        return self.path.read_bytes()


class Answer:
    """A body as the response to a GET. It reads only what is requested: a range, or blocks."""

    def __init__(self, body: Body) -> None:
        """Hold the body, and so its file, until the response has been sent."""
        self._body = body

    def __len__(self) -> int:
        """The number of bytes."""
        return self._body.size

    def __getitem__(self, part: slice) -> bytes:
        """The bytes of a range (the slice's step is ignored)."""
        begin, end, _ = part.indices(len(self))
        with self._body.path.open("rb") as file:
            file.seek(begin)
            return file.read(end - begin)

    def __iter__(self) -> Iterator[bytes]:
        """All the bytes, block by block."""
        with self._body.path.open("rb") as file:
            while block := file.read(BLOCK):
                yield block


def keep_bodies_on_disk(folder: Path) -> None:
    """Keep the bodies of all objects written from now on below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    answering = threading.local()

    @wrap_method(S3Response, "get_object")
    def get_object(get: Method, response: Any) -> Any:
        """moto takes the whole body here and cuts a range out of it later."""
        answering.is_get = True
        try:
            return get(response)
        finally:
            answering.is_get = False

    @wrap_method(FakeKey, "dispose")
    def dispose(dispose: Method, key: Any, garbage: bool = False) -> None:
        dispose(key)  # never as garbage: moto would warn about a buffer that is not in use

    def read(key: Any) -> bytes | Answer:
        body: Body = key._body
        return Answer(body) if getattr(answering, "is_get", False) else body.read()

    def write(key: Any, value: bytes | str) -> None:
        data = value.encode() if isinstance(value, str) else value
        key._body = Body(folder, data)
        key.contentsize = len(data)

    def etag(key: Any) -> str:
        return f'"{key._etag or key._body.md5}"'

    FakeKey.value = property(read, write)
    FakeKey.etag = property(etag)


def forget_objects() -> None:
    """moto keeps a list of every object ever written, and so their bodies, until a reset."""
    FakeKey.instances_tracked = FakeMultipart.instances_tracked = deque(maxlen=0)
