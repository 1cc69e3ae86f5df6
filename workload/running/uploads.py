"""Uploads videos at a pace, some side by side, in memory that does not grow with their number."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import boto3.exceptions
import botocore.exceptions
from boto3.s3.transfer import TransferConfig

from pipeline.aws import AwsError, explain
from workload.running.videos import Upload

# One connection an upload: --concurrency alone says how many there are.
TRANSFER = TransferConfig(use_threads=False)


REFUSALS = (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError, OSError)


class _Stopped(Exception):
    """The upload under way is no longer wanted."""


@dataclass
class Sent:
    """What became of one upload, on this machine's clock; `stored` None: it is not finished."""

    upload: Upload
    started: float
    stored: float | None = None


class Uploader:
    """Uploads from threads of its own, from `start` until all are done, one fails, or `stop`."""

    def __init__(
        self, s3: Any, bucket: str, uploads: Sequence[Upload], concurrency: int, interval: float
    ) -> None:
        """`interval`: seconds from the start of one upload to that of the next."""
        self._s3 = s3
        self._bucket = bucket
        self._uploads = uploads
        self._interval = interval
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._next = 0
        self.sent: dict[str, Sent] = {}  # by key, in the order of the uploads' start
        self.error: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._work, daemon=True)
            for _ in range(min(concurrency, len(uploads)))
        ]

    def start(self) -> None:
        """Begin; returns at once."""
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float = 5) -> None:
        """Begin no other upload, break off those under way, and wait up to `seconds` for that."""
        self._stop.set()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    @property
    def is_done(self) -> bool:
        """Whether nothing more will be uploaded; raises what an upload failed with."""
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
            # After `stop`, an upload ends with _Stopped, or with botocore's error around it.
            if not self._stop.is_set():
                self.error = error
                self._stop.set()

    def _send(self, upload: Upload) -> None:
        sent = Sent(upload, time.time())
        with self._lock:
            self.sent[upload.key] = sent
        with refusals_of(f"upload {upload.path} to s3://{self._bucket}/{upload.key}"):
            self._s3.upload_file(
                str(upload.path),
                self._bucket,
                upload.key,
                Config=TRANSFER,
                Callback=self._break_off(),
            )
        sent.stored = time.time()

    def _break_off(self) -> Callable[[int], None]:
        def after_each_part(_bytes: int) -> None:
            if self._stop.is_set():
                raise _Stopped

        return after_each_part


class refusals_of:
    """Turn what an upload can be refused with into an AwsError that says what cannot be done."""

    def __init__(self, what: str) -> None:
        """`what` cannot be done, in an infinitive and its object."""
        self._what = what

    def __enter__(self) -> None:
        """Do nothing; the work is in __exit__."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise AwsError for what boto3, S3, the network or the file's disk refused."""
        if isinstance(error, boto3.exceptions.S3UploadFailedError):
            cause = error.__context__  # boto3 wraps S3's answer into a text
            text = explain(cause) if isinstance(cause, Exception) else str(error)
        elif isinstance(error, REFUSALS):
            text = explain(error)
        else:
            return
        raise AwsError(f"Cannot {self._what}: {text}") from error
