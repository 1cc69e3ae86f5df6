"""Failures that are final: sent to the failure queue at once, in Lambda's own form.

If no retry can mend a failure, Lambda would call the splitter twice more, minutes apart, with the
same result. And of an upload that waited in a queue, Lambda reports no error at all.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# Lambda's own conditions are RetriesExhausted and EventAgeExceeded.
PERMANENT, EXHAUSTED = "PermanentFailure", "RetriesExhausted"


def send(
    sqs: SQSClient,
    queue_url: str,
    content: dict[str, Any],
    error: Exception,
    context: Any,
    attempts: int = 1,
) -> None:
    """Put a failure into the queue. `content` holds the event as `requestPayload`."""
    message = json.dumps(failure_record(content, error, context, attempts))
    sqs.send_message(QueueUrl=queue_url, MessageBody=message)


def failure_record(
    content: dict[str, Any], error: Exception, context: Any, attempts: int = 1
) -> dict[str, Any]:
    """What Lambda sends to a queue when it gives up on an event, here with `content`.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    version = getattr(context, "function_version", "$LATEST")
    arn = getattr(context, "invoked_function_arn", "")
    return {
        "version": "1.0",
        "timestamp": now,
        "requestContext": {
            "requestId": getattr(context, "aws_request_id", ""),
            "functionArn": f"{arn}:{version}" if arn.count(":") == 6 else arn,
            "condition": EXHAUSTED if getattr(error, "retry", True) else PERMANENT,
            "approximateInvokeCount": attempts,
        },
        **content,
        "responseContext": {
            "statusCode": 200,
            "executedVersion": version,
            "functionError": "Unhandled",
        },
        "responsePayload": {"errorType": type(error).__name__, "errorMessage": str(error)},
    }
