"""A gallery in S3, read at start and again whenever its ETag changes."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from gallery import Gallery, GalleryError
from s3_objects import read_object

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NOT_MODIFIED = "304"
# The metric that counts checks after which the gallery in memory stayed in use.
NAMESPACE, GALLERY_KEPT = "video-face-recognition", "GalleryKept"
LATER = "S3 did not answer as it should. It will be read again."


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
        self._fault: GalleryError | None = None
        self._gallery = self._read(None)
        self._checked_at = clock()

    def current(self) -> Gallery:
        """The gallery, checked for changes after `refresh_s` seconds.

        A good gallery stays in use while the one in S3 cannot be read or used. A log line and the
        metric GALLERY_KEPT say so at each check, because somebody uploaded the new one and expects
        it to count.
        """
        if self._clock() - self._checked_at >= self._refresh_s:
            try:
                self._gallery = self._read(self._gallery)
            except GalleryError as error:
                _warn(self._uri, error, self._gallery, int(self._clock() * 1000))
            self._checked_at = self._clock()
        return self._gallery

    def _read(self, kept: Gallery | None) -> Gallery:
        """The gallery in S3: `kept` if it has not changed; raises GalleryError.

        One that is broken is not read again until it changes.
        """
        request: dict[str, Any] = {"Bucket": self._bucket, "Key": self._key}
        if self._etag:
            request["IfNoneMatch"] = self._etag
        try:
            answer, data = read_object(self._s3, **request)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == NOT_MODIFIED and kept is not None:
                if self._fault is not None:
                    raise self._fault from error
                return kept
            raise GalleryError(
                f"Cannot read the gallery {self._uri}: {error}. {_advice(code)}"
            ) from error
        except BotoCoreError as error:
            raise GalleryError(f"Cannot read the gallery {self._uri}: {error}. {LATER}") from error
        self._etag, self._fault = answer["ETag"], None
        try:
            return self._parse(data, self._uri)
        except GalleryError as error:
            self._fault = error
            raise


def _advice(code: str) -> str:
    """What to do about S3's error `code` for the gallery."""
    if code in ("NoSuchKey", "404"):
        return "Upload it there, or deploy with the GALLERY_URI of one that exists."
    if code == "NoSuchBucket":
        return "Deploy with the GALLERY_URI of a bucket that exists."
    if code in ("AccessDenied", "403"):
        # without s3:ListBucket, S3 says the same of an object that is missing
        return (
            "Check that it exists and that its bucket and key admit the function's role: "
            "deploy/roles.py with the same GALLERY_URI gives it s3:GetObject."
        )
    if code == "InvalidObjectState":
        return "It is archived: restore it, or upload it again."
    if code.startswith("KMS"):
        return "Give the function's role kms:Decrypt for the key that encrypts it."
    return LATER


def _warn(uri: str, error: GalleryError, kept: Gallery, now_ms: int) -> None:
    """Print the log line that says that `kept` stays in use, from which CloudWatch counts.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    metric = {
        "Namespace": NAMESPACE,
        "Dimensions": [["FunctionName"]],
        "Metrics": [{"Name": GALLERY_KEPT, "Unit": "Count"}],
    }
    line = {
        "_aws": {"Timestamp": now_ms, "CloudWatchMetrics": [metric]},
        "step": "gallery",
        "warning": f"{error} Until then, the gallery that was read before stays in use.",
        "uri": uri,
        "gallery": kept.digest,
        "FunctionName": os.environ.get("AWS_LAMBDA_FUNCTION_NAME", ""),
        GALLERY_KEPT: 1,
    }
    print(json.dumps(line), flush=True)
