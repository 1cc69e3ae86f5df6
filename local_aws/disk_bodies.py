"""Keeps the bodies of S3 objects in files, one an object, opened only while read or written.

moto keeps them in memory or in files that stay open, and gives neither back; its ETag is computed
from a shared file position, so reading an object while it is written can give a wrong one.
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

BLOCK = 1 << 20


class Body:
    """The bytes of an object, in a file that lasts as long as anybody holds this.

    An object that is overwritten or deleted while it is read is read to its end, and copies share
    one file.
    """

    def __init__(self, folder: Path, data: bytes) -> None:
        """Write a new file; it stays where it is when the server ends."""
        self.path = folder / uuid4().hex
        self.path.write_bytes(data)
        self.size = len(data)
        weakref.finalize(self, self.path.unlink, missing_ok=True).atexit = False
        self.md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()

    def read(self) -> bytes:
        """All of it."""
        return self.path.read_bytes()


class Answer:
    """A body as the answer to a GET: only what is asked for is read, in blocks or as one range."""

    def __init__(self, body: Body) -> None:
        """Hold the body, and with it its file, until the answer has been sent."""
        self._body = body

    def __len__(self) -> int:
        """Its bytes."""
        return self._body.size

    def __getitem__(self, part: slice) -> bytes:
        """The bytes of a range, without a step."""
        begin, end, _ = part.indices(len(self))
        with self._body.path.open("rb") as file:
            file.seek(begin)
            return file.read(end - begin)

    def __iter__(self) -> Iterator[bytes]:
        """All of it, block by block."""
        with self._body.path.open("rb") as file:
            while block := file.read(BLOCK):
                yield block


def install(folder: Path) -> None:
    """Keep the bodies of all objects written from now on below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    dispose, get_object = FakeKey.dispose, S3Response.get_object
    answering = threading.local()

    def read(key: Any) -> bytes | Answer:
        body: Body = key._body
        return Answer(body) if getattr(answering, "a_get", False) else body.read()

    def answer(response: Any) -> Any:
        """moto takes the body here, and cuts a range out of it, whatever its size, later."""
        answering.a_get = True
        try:
            return get_object(response)
        finally:
            answering.a_get = False

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
    S3Response.get_object = answer
