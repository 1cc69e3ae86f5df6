"""Finds uploads that have neither an answer nor a message in the failure queue. Only reads."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

from deploy.parts.failed_events import found, queue_url, received
from deploy.parts.queues import find_queue, messages_in
from deploy.parts.retries import under_way_s
from pipeline.bucket_admin import head
from pipeline.cli import Run, counted
from pipeline.keys import is_skipped, output_key
from pipeline.queue_reader import FailedEvent
from pipeline.since import utc

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ListObjectsV2OutputTypeDef, ObjectTypeDef
    from mypy_boto3_sqs.literals import QueueAttributeNameType

PAGE = 1000  # objects per listing; S3's maximum
HEADS = 32  # requests at the same time
NOTE_EVERY_S = 5


@dataclass(frozen=True)
class Upload:
    """The current version of an object in the input bucket that has no answer.

    `size` is in bytes. `earlier` is the ETag of the version that the text under its output key
    was made from; None if there is no text.
    """

    bucket: str
    key: str
    etag: str
    size: int
    uploaded: datetime
    earlier: str | None

    @property
    def uri(self) -> str:
        """The object as s3://BUCKET/KEY."""
        return f"s3://{self.bucket}/{self.key}"

    @property
    def when(self) -> str:
        """When it was uploaded, ISO 8601."""
        return utc(self.uploaded.timestamp())

    def line(self) -> str:
        """One line for people."""
        reason = "no answer" if self.earlier is None else "only an earlier version's answer"
        return f"{self.when}  {self.uri}  {self.size:,} bytes  {reason}"

    def as_json(self) -> dict[str, Any]:
        """The fields for --json."""
        return {
            "bucket": self.bucket,
            "key": self.key,
            "etag": self.etag,
            "size": self.size,
            "uploaded": self.when,
            "answer_etag": self.earlier,
        }

    def event(self, region: str) -> dict[str, Any]:
        """Return the event with which S3 announces it, without what only S3 knows."""
        return {
            "Records": [
                {
                    "eventVersion": "2.1",
                    "eventSource": "aws:s3",
                    "awsRegion": region,
                    "eventTime": self.when,
                    "eventName": "ObjectCreated:Put",
                    "s3": {
                        "s3SchemaVersion": "1.0",
                        "bucket": {"name": self.bucket},
                        "object": {
                            "key": quote_plus(self.key, safe="/"),
                            "size": self.size,
                            "eTag": self.etag,
                        },
                    },
                }
            ]
        }


class Reported:
    """The uploads that messages in the failure queue name."""

    def __init__(self, bucket: str) -> None:
        """Keep those of `bucket`."""
        self._bucket = bucket
        self._uploads: set[tuple[str, str]] = set()

    def add(self, events: list[FailedEvent]) -> None:
        """Add the videos of these messages."""
        for event in events:
            for video in event.videos:
                if video.bucket == self._bucket:
                    self._uploads.add((video.key, video.etag))

    def has(self, key: str, etag: str) -> bool:
        """Return whether a message names this version of the object."""
        return (key, etag) in self._uploads


class Search:
    """Goes through the input bucket once, a page at a time."""

    def __init__(self, run: Run, reported: Reported, older_than_s: float) -> None:
        """Call an upload missing once it is `older_than_s` old, by S3's clock."""
        self._run, self._reported, self._older_than_s = run, reported, older_than_s
        self.videos = 0  # looked at so far
        self.young = 0  # of them, those without answer or message that are too young

    def __iter__(self) -> Iterator[Upload]:
        """Yield what is missing as it is found, and report progress.

        Raises ClientError if a bucket cannot be read, and AwsError if an output cannot.
        """
        s3, next_note = self._run.aws.client("s3"), time.monotonic() + NOTE_EVERY_S
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._run.deployment.input_bucket, PaginationConfig={"PageSize": PAGE}
        )
        with ThreadPoolExecutor(HEADS) as pool:
            for page in pages:
                now = _time_of(page)
                videos = [item for item in page.get("Contents", []) if not is_skipped(item["Key"])]
                unknown = [item for item in videos if not self._is_reported(item)]
                self.videos += len(videos) - len(unknown)
                for upload in pool.map(self._unanswered, unknown):
                    self.videos += 1
                    if time.monotonic() >= next_note:
                        self._run.note(f"{counted(self.videos, 'video')} looked at")
                        next_note = time.monotonic() + NOTE_EVERY_S
                    if upload is None:
                        continue
                    age_s = (now - upload.uploaded).total_seconds()
                    if self._older_than_s and age_s < self._older_than_s:
                        self.young += 1
                    else:
                        yield upload

    def _is_reported(self, item: ObjectTypeDef) -> bool:
        return self._reported.has(item["Key"], _etag(item))

    def _unanswered(self, item: ObjectTypeDef) -> Upload | None:
        """The object, unless it has an answer."""
        key, deployment = item["Key"], self._run.deployment
        text = head(self._run.aws.client("s3"), deployment.output_bucket, output_key(key))
        earlier = None if text is None else text["Metadata"].get("source-etag", "")
        if earlier == _etag(item):
            return None
        return Upload(
            deployment.input_bucket,
            key,
            _etag(item),
            item["Size"],
            item["LastModified"],
            earlier,
        )


def missing_uploads(run: Run, older_than_s: float | None) -> Iterator[Upload]:
    """Yield the uploads that have neither an answer nor a message, as they are found.

    `older_than_s` is how old an upload has to be; None: so old that all its retries are over.
    Reports progress, and at the end what is still under way.
    """
    deployment, sqs = run.deployment, run.aws.client("sqs")
    waiting = _waiting(run)
    hidden: QueueAttributeNameType = "ApproximateNumberOfMessagesNotVisible"
    answer = sqs.get_queue_attributes(QueueUrl=queue_url(run), AttributeNames=[hidden])
    others = int(answer["Attributes"][hidden])
    reported = Reported(deployment.input_bucket)
    with received(run) as sweep:
        for events in found(run, sweep, None):
            reported.add(events)
    limit_s = under_way_s(deployment) if older_than_s is None else older_than_s
    # An upload that waits in a queue may be of any age, and the queue cannot be searched.
    is_open = older_than_s is None and waiting > 0
    search = Search(run, reported, float("inf") if is_open else limit_s)
    count = 0
    for upload in search:
        count += 1
        yield upload
    run.note(
        f"Neither an answer nor a message in '{deployment.failure_queue}': {count:,} of "
        f"{counted(search.videos, 'video')}."
    )
    if is_open:
        run.note(
            f"Perhaps still under way: {search.young:,} more, as '{deployment.upload_queue}' has "
            f"{counted(waiting, 'upload')}. Run this again when it is empty, or pass --older-than."
        )
    elif search.young:
        run.note(
            f"Still under way: {search.young:,} more, uploaded within the last "
            f"{limit_s / 60:.0f} minutes, which may be tried until then (--older-than)."
        )
    if others:
        run.note(
            f"Somebody else reads '{deployment.failure_queue}' and has hidden "
            f"{counted(others, 'message')}, which may name some of these videos: run this again."
        )


def _waiting(run: Run) -> int:
    """Return about how many uploads wait in a queue or are being worked on from there."""
    uploads = find_queue(run, run.deployment.upload_queue)
    return messages_in(uploads[1]) if uploads else 0


def _etag(item: ObjectTypeDef) -> str:
    return item["ETag"].strip('"')


def _time_of(page: ListObjectsV2OutputTypeDef) -> datetime:
    """Return when S3 answered, by its own clock."""
    date = page["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(date) if date else datetime.now(timezone.utc)
