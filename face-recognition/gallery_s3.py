"""A gallery kept in S3: read at start, and again when its ETag has changed."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from gallery import Gallery, GalleryError

NOT_MODIFIED = "304"


class S3Gallery:
    """The gallery at `s3://BUCKET/KEY`, as new as `refresh_s` seconds ago."""

    def __init__(
        self,
        s3: Any,
        uri: str,
        parse: Callable[[bytes, str], Gallery],
        refresh_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Read it with `s3` and `parse` (bytes, name); raises GalleryError."""
        match = re.fullmatch(r"s3://([^/]+)/(.+)", uri)
        if match is None:
            raise GalleryError(f"GALLERY_URI is {uri!r}: use s3://BUCKET/KEY.")
        self._bucket, self._key = match[1], match[2]
        self._s3, self._uri, self._parse = s3, uri, parse
        self._refresh_s, self._clock = refresh_s, clock
        self._etag = ""
        self._gallery = self._read()

    def current(self) -> Gallery:
        """The gallery, asked for again when `refresh_s` seconds have passed; raises GalleryError.

        A new gallery that cannot be used is an error and not a reason to go on with the old one:
        whoever has put it there waits for somebody to be recognized.
        """
        if self._clock() - self._asked >= self._refresh_s:
            self._gallery = self._read()
        return self._gallery

    def _read(self) -> Gallery:
        condition = {"IfNoneMatch": self._etag} if self._etag else {}
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=self._key, **condition)
            data = answer["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] == NOT_MODIFIED:
                self._asked = self._clock()
                return self._gallery
            raise GalleryError(
                f"Cannot read the gallery {self._uri}: {error}. The function's role must be "
                "allowed to: run deploy/roles.py with the same GALLERY_URI."
            ) from error
        except BotoCoreError as error:
            raise GalleryError(f"Cannot read the gallery {self._uri}: {error}") from error
        gallery = self._parse(data, self._uri)
        self._etag, self._asked = answer["ETag"], self._clock()
        return gallery
