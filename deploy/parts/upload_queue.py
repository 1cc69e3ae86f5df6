"""The queue between the input bucket and the splitter, for accounts in which no cap is possible.

Lambda reads it with an event source mapping, whose MaximumConcurrency limits the splitters without
reserving anything. Everything here only reads; deploy/trigger.py writes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from deploy.parts.queues import arn_of
from pipeline.cli import Run
from pipeline.policies import only_bucket_sends

if TYPE_CHECKING:
    from mypy_boto3_lambda.type_defs import EventSourceMappingConfigurationTypeDef
    from mypy_boto3_sqs.literals import QueueAttributeNameType

# AWS asks for six times the function's timeout, so that an invocation that was throttled and tried
# again still has the message, and for at least five receives.
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
TIMEOUTS = 6
RECEIVES = 5
RETENTION_S = 14 * 24 * 3600  # SQS's maximum: an upload never expires while others are answered


def queue_attributes(run: Run) -> dict[QueueAttributeNameType, str]:
    """Return the attributes that the queue of uploads should have."""
    deployment = run.deployment
    place = (run.aws.region, run.aws.account_id, run.aws.partition)
    policy = only_bucket_sends(deployment.input_bucket, deployment.upload_queue, *place)
    failures = arn_of(run, deployment.failure_queue)
    return {
        "VisibilityTimeout": str(TIMEOUTS * deployment.splitter.timeout_s),
        "MessageRetentionPeriod": str(RETENTION_S),
        "SqsManagedSseEnabled": "true",
        "RedrivePolicy": json.dumps({"deadLetterTargetArn": failures, "maxReceiveCount": RECEIVES}),
        "Policy": json.dumps(policy),
    }


def mapping_settings(most: int) -> dict[str, Any]:
    """Return the settings of the mapping that works on `most` videos at once.

    One upload per invocation: videos of a batch would share the splitter's time and slot.
    """
    return {
        "BatchSize": 1,
        "Enabled": True,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "ScalingConfig": {"MaximumConcurrency": most},
    }


def mappings(run: Run) -> list[EventSourceMappingConfigurationTypeDef]:
    """Return the mappings that read the queue, without those being deleted."""
    pages = run.aws.client("lambda").get_paginator("list_event_source_mappings")
    arn = arn_of(run, run.deployment.upload_queue)
    found = [m for page in pages.paginate(EventSourceArn=arn) for m in page["EventSourceMappings"]]
    return [mapping for mapping in found if mapping.get("State") != "Deleting"]


def own_mapping(run: Run) -> EventSourceMappingConfigurationTypeDef | None:
    """Return the mapping through which the splitter gets uploads; None if there is none."""
    end = f":function:{run.deployment.splitter.name}"
    return next((m for m in mappings(run) if m.get("FunctionArn", "").endswith(end)), None)


def is_read(run: Run) -> bool:
    """Return whether Lambda reads the queue for the splitter."""
    return own_mapping(run) is not None
