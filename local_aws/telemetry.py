"""Sends logs, metrics and failure records to the local AWS through its own front door.

As on AWS, logs are written with the function's role: without logs:PutLogEvents there are none.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import boto3
import botocore.exceptions
from botocore.config import Config

from local_aws.errors import CannotStart
from local_aws.function import Credentials, FunctionSpec, Telemetry

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sqs import SQSClient

log = logging.getLogger(__name__)

# Raised if the role lacks the permission or has been deleted.
REFUSALS = (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError, CannotStart)

PutMetrics = Callable[[str, dict[str, tuple[float, str]]], None]


class RoleClients:
    """boto3 clients that use a function's role, created once per role and service."""

    def __init__(self, endpoint: str, region: str, credentials: Credentials) -> None:
        """`credentials(role_arn)` returns temporary credentials of the role."""
        self._region = region
        self._credentials = credentials
        self._logs: dict[str, CloudWatchLogsClient] = {}
        self._sqs: dict[str, SQSClient] = {}
        self._lock = threading.Lock()
        # No retries: a refusal is final.
        config = Config(retries={"total_max_attempts": 1})
        self._options: dict[str, Any] = {"endpoint_url": endpoint, "config": config}

    def logs(self, role_arn: str) -> CloudWatchLogsClient:
        """The CloudWatch Logs client with this role."""
        with self._lock:
            if role_arn not in self._logs:
                self._logs[role_arn] = self._session(role_arn).client("logs", **self._options)
            return self._logs[role_arn]

    def sqs(self, role_arn: str) -> SQSClient:
        """The SQS client with this role."""
        with self._lock:
            if role_arn not in self._sqs:
                self._sqs[role_arn] = self._session(role_arn).client("sqs", **self._options)
            return self._sqs[role_arn]

    def _session(self, role_arn: str) -> boto3.Session:
        keys = self._credentials(role_arn)
        return boto3.Session(
            aws_access_key_id=keys["AccessKeyId"],
            aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys["SessionToken"],
            region_name=self._region,
        )


class TelemetrySink:
    """Takes telemetry from the executor and sends it from a separate thread."""

    def __init__(self, clients: RoleClients, put_metrics: PutMetrics) -> None:
        """Start the thread; `put_metrics(function name, values)` records metric values."""
        self._clients = clients
        self._put_metrics = put_metrics
        self._queue: queue.Queue[Telemetry | None] = queue.Queue()
        self._streams: set[tuple[str, str]] = set()
        self._refused: set[str] = set()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def __call__(self, telemetry: Telemetry) -> None:
        """Queue one invocation's telemetry."""
        self._queue.put(telemetry)

    def close(self) -> None:
        """Send what is queued, then stop."""
        self._queue.put(None)
        self._thread.join(10)

    def _work(self) -> None:
        while (telemetry := self._queue.get()) is not None:
            try:
                self._put(telemetry)
            except Exception:
                # The thread must survive: it sends the telemetry of every function.
                log.exception("telemetry of %s was lost", telemetry.spec.name)

    def _put(self, telemetry: Telemetry) -> None:
        # Logs first: once an invocation's metrics appear, its log can be read. On AWS, metrics come
        # later as well.
        if telemetry.lines:
            self._put_logs(telemetry)
        self._put_metrics(telemetry.spec.name, telemetry.metrics)

    def _put_logs(self, telemetry: Telemetry) -> None:
        spec, stream = telemetry.spec, telemetry.stream
        try:
            logs = self._clients.logs(spec.role_arn)
            if (spec.log_group, stream) not in self._streams:
                logs.create_log_stream(logGroupName=spec.log_group, logStreamName=stream)
                self._streams.add((spec.log_group, stream))
            logs.put_log_events(
                logGroupName=spec.log_group,
                logStreamName=stream,
                logEvents=[{"timestamp": when, "message": t or " "} for when, t in telemetry.lines],
            )
        except REFUSALS as error:
            if spec.name not in self._refused:
                self._refused.add(spec.name)
                log.warning("%s cannot write its log: %s", spec.name, error)


class QueueDestination:
    """Sends failure records to SQS with the function's role."""

    def __init__(self, clients: RoleClients) -> None:
        """The role needs sqs:SendMessage; otherwise nothing is sent."""
        self._clients = clients

    def __call__(self, spec: FunctionSpec, record: dict[str, Any]) -> None:
        """Send `record` to the function's OnFailure queue, or log why that is impossible."""
        name = (spec.on_failure or "").rsplit(":", 1)[-1]
        try:
            sqs = self._clients.sqs(spec.role_arn)
            account = (spec.on_failure or "").split(":")[4]
            url = f"{sqs.meta.endpoint_url}/{account}/{name}"
            sqs.send_message(QueueUrl=url, MessageBody=json.dumps(record))
        except REFUSALS as error:
            log.error("the failure of %s cannot be reported to %s: %s", spec.name, name, error)
