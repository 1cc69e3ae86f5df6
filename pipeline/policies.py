"""Builds policy documents: who may do what to which resource.

Each statement's Sid names what stops working without it.
"""

from __future__ import annotations

from typing import Any

from pipeline.keys import EMBEDDINGS_ENDING
from pipeline.settings import Deployment, Function, s3_location

Policy = dict[str, Any]

# Lambda needs the first three to read a queue for a function.
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
TAKE_MESSAGES = [
    *("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"),
    "sqs:ChangeMessageVisibility",
]


def _policy(*statements: dict[str, Any]) -> Policy:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(sid: str, actions: list[str], *resources: str) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": list(resources)}


def tls_only(bucket: str, partition: str) -> Policy:
    """Return a bucket policy that denies every request made without TLS."""
    arn = f"arn:{partition}:s3:::{bucket}"
    return _policy(
        {
            "Sid": "RefusePlainHttp",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [arn, f"{arn}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
    )


def lambda_trust() -> Policy:
    """Return a trust policy that lets only the Lambda service assume the role."""
    return _policy(
        {
            "Effect": "Allow",
            "Principal": {"Service": "lambda.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    )


def function_arn(function: Function, region: str, account: str, partition: str) -> str:
    """Return the unqualified ARN of a function."""
    return f"arn:{partition}:lambda:{region}:{account}:function:{function.name}"


def queue_arn(queue: str, region: str, account: str, partition: str) -> str:
    """Return the ARN of the queue of this name."""
    return f"arn:{partition}:sqs:{region}:{account}:{queue}"


def only_bucket_sends(bucket: str, queue: str, region: str, account: str, partition: str) -> Policy:
    """Return a queue policy that lets S3 send the bucket's events while this account owns it."""
    return _policy(
        {
            "Sid": "OnlyInputBucketSends",
            "Effect": "Allow",
            "Principal": {"Service": "s3.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": queue_arn(queue, region, account, partition),
            "Condition": {
                "ArnEquals": {"aws:SourceArn": f"arn:{partition}:s3:::{bucket}"},
                "StringEquals": {"aws:SourceAccount": account},
            },
        }
    )


def _own_logs(function: Function, region: str, account: str, partition: str) -> dict[str, Any]:
    arn = f"arn:{partition}:logs:{region}:{account}:log-group:{function.log_group}:*"
    return _allow("WriteOwnLogs", ["logs:CreateLogStream", "logs:PutLogEvents"], arn)


def splitter_permissions(
    deployment: Deployment, region: str, account: str, partition: str, from_queue: bool = False
) -> Policy:
    """Return what `video-splitting` needs: read videos, write frames, call the recognizer.

    With `from_queue`, Lambda may take uploads from their queue for it, and it may say there when a
    failed one is tried again.

    With ListBucket, S3 answers a HEAD of a missing object with 404; without it, with 403, as for a
    missing permission. The splitter also lists the leftovers of a longer video with it.
    """
    s3 = f"arn:{partition}:s3:::"
    recognizer = function_arn(deployment.recognizer, region, account, partition)
    uploads = queue_arn(deployment.upload_queue, region, account, partition)
    return _policy(
        _allow(
            "ReadVideos",
            ["s3:GetObject", "s3:GetObjectVersion"],
            f"{s3}{deployment.input_bucket}/*",
        ),
        _allow(
            "TellMissingFromForbidden",
            ["s3:ListBucket"],
            f"{s3}{deployment.input_bucket}",
            f"{s3}{deployment.stage_1_bucket}",
            f"{s3}{deployment.output_bucket}",
        ),
        _allow(
            "WriteFrames", ["s3:PutObject", "s3:GetObject"], f"{s3}{deployment.stage_1_bucket}/*"
        ),
        _allow("WriteSummaries", ["s3:PutObject"], f"{s3}{deployment.output_bucket}/*"),
        _allow("SeeWhatIsWritten", ["s3:GetObject"], f"{s3}{deployment.output_bucket}/*"),
        _allow(
            "RemoveFramesNoMoreThere",
            ["s3:DeleteObject"],
            f"{s3}{deployment.stage_1_bucket}/*",
            f"{s3}{deployment.output_bucket}/*",
        ),
        _allow("CallRecognizer", ["lambda:InvokeFunction"], recognizer, f"{recognizer}:*"),
        _allow(
            "ReportFailures",
            ["sqs:SendMessage"],
            queue_arn(deployment.failure_queue, region, account, partition),
        ),
        *([_allow("TakeUploads", TAKE_MESSAGES, uploads)] if from_queue else []),
        _own_logs(deployment.splitter, region, account, partition),
    )


def recognizer_permissions(
    deployment: Deployment, region: str, account: str, partition: str, gallery_uri: str = ""
) -> Policy:
    """Return what `face-recognition` needs: read frames, write names and read existing ones.

    `gallery_uri` (s3://BUCKET/KEY) is one more object it may read. Raises SettingsError if the URI
    has another form.
    """
    s3 = f"arn:{partition}:s3:::"
    bucket, key = s3_location(gallery_uri) if gallery_uri else ("", "")
    keeps = deployment.recognizer.environment.get("KEEP_EMBEDDINGS") == "1"
    strangers = _allow(
        "KeepUnknownFaces",
        ["s3:PutObject", "s3:DeleteObject"],
        f"{s3}{deployment.stage_1_bucket}/*{EMBEDDINGS_ENDING}",
    )
    gallery = [_allow("ReadGallery", ["s3:GetObject"], f"{s3}{bucket}/{key}")]
    return _policy(
        _allow("ReadFrames", ["s3:GetObject"], f"{s3}{deployment.stage_1_bucket}/*"),
        _allow(
            "TellMissingFromForbidden",
            ["s3:ListBucket"],
            f"{s3}{deployment.stage_1_bucket}",
            f"{s3}{deployment.output_bucket}",
        ),
        _allow("WriteNames", ["s3:PutObject", "s3:GetObject"], f"{s3}{deployment.output_bucket}/*"),
        *(gallery if gallery_uri else []),
        *([strangers] if keeps else []),
        _own_logs(deployment.recognizer, region, account, partition),
    )
