"""Sends logs, metrics and failure records to the local AWS through its own front door.

Logs go under the function's role, as on AWS: a role without logs:PutLogEvents writes none.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

import boto3
import botocore.exceptions
from botocore.config import Config

from local_aws.function import CannotStart, Credentials, FunctionSpec, Telemetry

log = logging.getLogger(__name__)

# What a role meets that may not, or is no more.
REFUSALS = (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError, CannotStart)

PutMetrics = Callable[[str, dict[str, tuple[float, str]]], None]


class RoleClients:
    """boto3 clients that act under a function's role, made once a role and service."""

    def __init__(self, endpoint: str, region: str, credentials: Credentials) -> None:
        """`credentials(role_arn)` gives temporary credentials of the role."""
        self._endpoint = endpoint
        self._region = region
        self._credentials = credentials
        self._clients: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()

    def get(self, role_arn: str, service: str) -> Any:
        """The client of `service` under the role."""
        with self._lock:
            if (role_arn, service) not in self._clients:
                keys = self._credentials(role_arn)
                self._clients[role_arn, service] = boto3.Session(
                    aws_access_key_id=keys["AccessKeyId"],
                    aws_secret_access_key=keys["SecretAccessKey"],
                    aws_session_token=keys["SessionToken"],
                    region_name=self._region,
                ).client(
                    service,
                    endpoint_url=self._endpoint,
                    config=Config(retries={"total_max_attempts": 1}),
                )
            return self._clients[role_arn, service]


class TelemetrySink:
    """Takes telemetry from the executor and sends it on from a thread of its own."""

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
                # A thread that ended here would take the telemetry of every function with it.
                log.exception("telemetry of %s was lost", telemetry.spec.name)

    def _put(self, telemetry: Telemetry) -> None:
        # In this order: who sees an invocation's metrics can read its log, as on AWS, where metrics
        # come later.
        if telemetry.lines:
            self._put_logs(telemetry)
        self._put_metrics(telemetry.spec.name, telemetry.metrics)

    def _put_logs(self, telemetry: Telemetry) -> None:
        spec, stream = telemetry.spec, telemetry.stream
        events = [{"timestamp": when, "message": text or " "} for when, text in telemetry.lines]
        try:
            logs = self._clients.get(spec.role_arn, "logs")
            if (spec.log_group, stream) not in self._streams:
                logs.create_log_stream(logGroupName=spec.log_group, logStreamName=stream)
                self._streams.add((spec.log_group, stream))
            logs.put_log_events(logGroupName=spec.log_group, logStreamName=stream, logEvents=events)
        except REFUSALS as error:
            if spec.name not in self._refused:
                self._refused.add(spec.name)
                log.warning("%s cannot write its log: %s", spec.name, error)


class QueueDestination:
    """Sends failure records to SQS under the function's role."""

    def __init__(self, clients: RoleClients) -> None:
        """Use the role's own clients: without sqs:SendMessage nothing is sent."""
        self._clients = clients

    def __call__(self, spec: FunctionSpec, record: dict[str, Any]) -> None:
        """Send `record` to the function's OnFailure queue; a refusal is in the server's log."""
        name = (spec.on_failure or "").rsplit(":", 1)[-1]
        try:
            sqs = self._clients.get(spec.role_arn, "sqs")
            account = (spec.on_failure or "").split(":")[4]
            url = f"{sqs.meta.endpoint_url}/{account}/{name}"
            sqs.send_message(QueueUrl=url, MessageBody=json.dumps(record))
        except REFUSALS as error:
            log.error("the failure of %s cannot be reported to %s: %s", spec.name, name, error)
