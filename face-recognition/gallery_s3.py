"""A gallery in S3, read at start and again whenever its ETag changes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError
from gallery import Gallery, GalleryError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectRequestTypeDef

NOT_MODIFIED = "304"


class S3Gallery:
    """The gallery at `s3://BUCKET/KEY`, at most `refresh_s` seconds out of date."""

    def __init__(
        self,
        s3: S3Client,
        uri: str,
        parse: Callable[[bytes, str], Gallery],
        refresh_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Read the gallery with `s3` and parse it with `parse(data, uri)`; raises GalleryError."""
        match = re.fullmatch(r"s3://([^/]+)/(.+)", uri)
        if match is None:
            raise GalleryError(f"GALLERY_URI is {uri!r}: use s3://BUCKET/KEY.")
        self._bucket, self._key = match[1], match[2]
        self._s3, self._uri, self._parse = s3, uri, parse
        self._refresh_s, self._clock = refresh_s, clock
        self._etag = ""
        self._gallery = self._read()

    def current(self) -> Gallery:
        """The gallery, checked for changes after `refresh_s` seconds; raises GalleryError.

        An unusable new gallery is an error. Falling back to the old one would hide it from the
        person who uploaded it and expects somebody to be recognized.
        """
        if self._clock() - self._checked_at >= self._refresh_s:
            self._gallery = self._read()
        return self._gallery

    def _read(self) -> Gallery:
        request: GetObjectRequestTypeDef = {"Bucket": self._bucket, "Key": self._key}
        if self._etag:
            request["IfNoneMatch"] = self._etag
        try:
            answer = self._s3.get_object(**request)
            data = answer["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] == NOT_MODIFIED:
                self._checked_at = self._clock()
                return self._gallery
            raise GalleryError(
                f"Cannot read the gallery {self._uri}: {error}. The function's role needs "
                "permission: run deploy/roles.py with the same GALLERY_URI."
            ) from error
        except BotoCoreError as error:
            raise GalleryError(f"Cannot read the gallery {self._uri}: {error}") from error
        gallery = self._parse(data, self._uri)
        self._etag, self._checked_at = answer["ETag"], self._clock()
        return gallery
