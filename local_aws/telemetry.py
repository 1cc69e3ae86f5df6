"""Sends logs, metrics and failure records to the services of the local AWS.

As on AWS, logs are written with the function's role: without logs:PutLogEvents there are none.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

from local_aws.errors import CannotDeliver
from local_aws.function import FunctionSpec, Telemetry

log = logging.getLogger(__name__)

PutMetrics = Callable[[str, dict[str, tuple[float, str]]], None]
# Takes a role's ARN, a log group, a stream and lines.
PutLogs = Callable[[str, str, str, Sequence[tuple[int, str]]], None]
# Takes a role's ARN, a queue's ARN and a message's body.
SendMessage = Callable[[str, str, str], None]


class TelemetrySink:
    """Takes telemetry from the executor and sends it from a separate thread."""

    def __init__(self, put_logs: PutLogs, put_metrics: PutMetrics) -> None:
        """Start the thread; `put_metrics(function name, values)` records metric values."""
        self._put_logs = put_logs
        self._put_metrics = put_metrics
        self._queue: queue.Queue[Telemetry | None] = queue.Queue()
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
            self._write(telemetry)
        self._put_metrics(telemetry.spec.name, telemetry.metrics)

    def _write(self, telemetry: Telemetry) -> None:
        spec = telemetry.spec
        try:
            self._put_logs(spec.role_arn, spec.log_group, telemetry.stream, telemetry.lines)
        except CannotDeliver as error:
            if spec.name not in self._refused:
                self._refused.add(spec.name)
                log.warning("%s cannot write its log: %s", spec.name, error)


class QueueDestination:
    """Sends failure records to SQS with the function's role."""

    def __init__(self, send: SendMessage) -> None:
        """The role needs sqs:SendMessage; otherwise nothing is sent."""
        self._send = send

    def __call__(self, spec: FunctionSpec, record: dict[str, Any]) -> None:
        """Send `record` to the function's OnFailure queue, or log why that is impossible."""
        queue_arn = spec.on_failure or ""
        try:
            self._send(spec.role_arn, queue_arn, json.dumps(record))
        except CannotDeliver as error:
            name = queue_arn.rsplit(":", 1)[-1]
            log.error("the failure of %s cannot be reported to %s: %s", spec.name, name, error)
