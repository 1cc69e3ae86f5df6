"""Lambda's record of an event it gave up on, as the failure queue holds it: pure functions.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus


@dataclass(frozen=True)
class FailedVideo:
    """One video of a record: where it is, and when S3 had it, in seconds since the epoch (or 0)."""

    bucket: str
    key: str
    uploaded: float

    @property
    def uri(self) -> str:
        """The video as s3://BUCKET/KEY."""
        return f"s3://{self.bucket}/{self.key}"


def parse(text: str) -> dict[str, Any]:
    """A message's body as Lambda writes it; anything else, put there by hand, as its `message`."""
    try:
        record = json.loads(text)
    except ValueError:
        record = None
    return record if isinstance(record, dict) else {"message": text}


def failed_videos(record: dict[str, Any]) -> list[FailedVideo]:
    """The videos of the S3 event in `record`; none where it holds something else."""
    try:
        return [
            FailedVideo(
                r["s3"]["bucket"]["name"],
                unquote_plus(r["s3"]["object"]["key"]),
                _seconds(r.get("eventTime", "")),
            )
            for r in record["requestPayload"]["Records"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []  # somebody else's message


def failure_reason(record: dict[str, Any]) -> str:
    """The error's type and message, or the condition under which Lambda gave the event up."""
    answer = record.get("responsePayload")
    if isinstance(answer, dict) and "errorMessage" in answer:
        return f"{answer.get('errorType', 'Error')}: {answer['errorMessage']}"
    context = record.get("requestContext")
    condition = context.get("condition") if isinstance(context, dict) else None
    return str(condition or "no reason given")


def _seconds(time_text: str) -> float:
    """Seconds since the epoch of an event's time such as 2026-11-24T02:30:25.123Z; 0 for none."""
    if not time_text:
        return 0.0
    return datetime.fromisoformat(time_text.replace("Z", "+00:00")).timestamp()
