"""Failures that no retry can mend: sent to the failure queue at once, in Lambda's own form.

Lambda would call the splitter twice more, minutes apart, with the same result.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

CONDITION = "PermanentFailure"  # Lambda's own conditions are RetriesExhausted and EventAgeExceeded


def send(
    sqs: SQSClient, queue_url: str, record: dict[str, Any], error: Exception, context: Any
) -> None:
    """Put the failure of one record of an S3 event into the queue."""
    message = json.dumps(failure_record(record, error, context))
    sqs.send_message(QueueUrl=queue_url, MessageBody=message)


def failure_record(record: dict[str, Any], error: Exception, context: Any) -> dict[str, Any]:
    """What Lambda sends to a queue when it gives up on an event; here, of one record.

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
            "condition": CONDITION,
            "approximateInvokeCount": 1,
        },
        "requestPayload": {"Records": [record]},
        "responseContext": {
            "statusCode": 200,
            "executedVersion": version,
            "functionError": "Unhandled",
        },
        "responsePayload": {"errorType": type(error).__name__, "errorMessage": str(error)},
    }
