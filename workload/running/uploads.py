"""Uploads videos in parallel at a given pace; memory use does not grow with their number."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import botocore.exceptions
from boto3.s3.transfer import TransferConfig

from pipeline.aws import AwsError, explain
from workload.running.videos import Upload

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# One connection per upload, so that --concurrency sets how many there are.
TRANSFER = TransferConfig(use_threads=False)

REFUSALS = (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError, OSError)


class _Stopped(Exception):
    """The run was stopped during this upload."""


@dataclass
class Sent:
    """An upload and its times on this machine's clock; `stored` is None until S3 has the video."""

    upload: Upload
    started: float
    stored: float | None = None


class Uploader:
    """Uploads in background threads until everything is uploaded, an upload fails, or `stop`."""

    def __init__(
        self,
        s3: S3Client,
        bucket: str,
        uploads: Sequence[Upload],
        concurrency: int,
        interval: float,
    ) -> None:
        """`interval`: seconds between the starts of two uploads."""
        self._s3 = s3
        self._bucket = bucket
        self._uploads = uploads
        self._interval = interval
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._next = 0
        self.sent: dict[str, Sent] = {}  # by key, in order of start
        self.error: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._work, daemon=True)
            for _ in range(min(concurrency, len(uploads)))
        ]

    def start(self) -> None:
        """Start uploading and return immediately."""
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float = 5) -> None:
        """Start no more uploads, abort the running ones, and wait up to `seconds` for them."""
        self._stop.set()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    @property
    def is_done(self) -> bool:
        """Whether all uploads have ended. Raises the error of an upload that failed."""
        if any(thread.is_alive() for thread in self._threads):
            return False
        if self.error is not None:
            raise self.error
        return True

    def stored(self) -> dict[str, Sent]:
        """The uploads that S3 has, by key."""
        with self._lock:
            return {key: sent for key, sent in self.sent.items() if sent.stored is not None}

    def _work(self) -> None:
        try:
            while True:
                with self._lock:
                    index, self._next = self._next, self._next + 1
                if index >= len(self._uploads):
                    return
                due = self._began + index * self._interval
                if self._stop.wait(max(0.0, due - time.monotonic())):
                    return
                self._send(self._uploads[index])
        except BaseException as error:  # noqa: BLE001 - raised again by `is_done`
            # After `stop`, an upload ends with _Stopped, possibly wrapped in a botocore error.
            if not self._stop.is_set():
                self.error = error
                self._stop.set()

    def _send(self, upload: Upload) -> None:
        with self._lock:
            sent = self.sent[upload.key] = Sent(upload, time.time())
        what = f"upload {upload.path} to s3://{self._bucket}/{upload.key}"
        # Opened here, because boto3 leaves the file of an upload that is stopped open.
        with explained(what), upload.path.open("rb") as file:
            self._s3.upload_fileobj(
                file,
                self._bucket,
                upload.key,
                Config=TRANSFER,
                Callback=self._abort_if_stopped,
            )
        sent.stored = time.time()

    def _abort_if_stopped(self, _bytes: int) -> None:
        """boto3 calls this after each part of an upload."""
        if self._stop.is_set():
            raise _Stopped


class explained:
    """Turns errors of an upload into an AwsError that says what cannot be done and why."""

    def __init__(self, what: str) -> None:
        """`what` follows "Cannot" in the message, such as "upload a.mp4"."""
        self._what = what

    def __enter__(self) -> None:
        """Do nothing; the work is in __exit__."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise AwsError for an error of boto3, S3, the network or the disk."""
        if isinstance(error, REFUSALS):
            raise AwsError(f"Cannot {self._what}: {explain(error)}") from error
