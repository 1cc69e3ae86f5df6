"""Parses Lambda's record of an event it gave up on, the body of a failure queue message.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus

# Why SQS gives up on an upload that the splitter has not reported itself.
NO_WORD = "the splitter never finished: it was ended, or could not start (see its log)"


@dataclass(frozen=True)
class FailedVideo:
    """One video in a record; `uploaded` is in seconds since the epoch, 0 if unknown.

    `etag` is that of the uploaded version, "" if unknown.
    """

    bucket: str
    key: str
    uploaded: float
    etag: str = ""

    @property
    def uri(self) -> str:
        """The video as s3://BUCKET/KEY."""
        return f"s3://{self.bucket}/{self.key}"


def parse(text: str) -> dict[str, Any]:
    """Parse a message body that Lambda or the splitter wrote.

    S3's event, which SQS itself moves here from the queue of uploads, is completed to such a
    record. Any other text becomes {"message": text}.
    """
    try:
        record = json.loads(text)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        return {"message": text}
    if isinstance(record.get("Records"), list):
        return {
            "timestamp": max((_time(r) for r in record["Records"]), default=""),
            "requestContext": {"condition": NO_WORD},
            "requestPayload": record,
        }
    return record


def _time(record: Any) -> str:
    return str(record.get("eventTime", "")) if isinstance(record, dict) else ""


def failed_videos(record: dict[str, Any]) -> list[FailedVideo]:
    """Return the videos in the S3 event of `record`, or [] if it holds no S3 event."""
    try:
        return [
            FailedVideo(
                r["s3"]["bucket"]["name"],
                unquote_plus(r["s3"]["object"]["key"]),
                _seconds(r.get("eventTime", "")),
                str(r["s3"]["object"].get("eTag", "")),
            )
            for r in record["requestPayload"]["Records"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []  # not a record that Lambda wrote


def failure_reason(record: dict[str, Any]) -> str:
    """Return the error's type and message, or the condition under which Lambda gave up."""
    answer = record.get("responsePayload")
    if isinstance(answer, dict) and "errorMessage" in answer:
        return f"{answer.get('errorType', 'Error')}: {answer['errorMessage']}"
    context = record.get("requestContext")
    condition = context.get("condition") if isinstance(context, dict) else None
    return str(condition or "no reason given")


def _seconds(time_text: str) -> float:
    """Convert an event time such as 2026-11-24T02:30:25.123Z to epoch seconds; "" gives 0."""
    if not time_text:
        return 0.0
    return datetime.fromisoformat(time_text.replace("Z", "+00:00")).timestamp()
