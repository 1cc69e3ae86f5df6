"""Asynchronous invocations: queued, retried after delays, and reported once given up.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

from __future__ import annotations

import heapq
import itertools
import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any
from uuid import uuid4

from local_aws.errors import CannotStart, NotActive, Throttled, UnknownFunction
from local_aws.executor import Executor
from local_aws.function import Destination, FunctionSpec, Result, error_payload

log = logging.getLogger(__name__)


@dataclass
class Event:
    """One queued event."""

    find: Callable[[], FunctionSpec]
    payload: bytes
    request_id: str = field(default_factory=lambda: str(uuid4()))
    queued: float = field(default_factory=time.time)
    attempts: int = 0
    throttles: int = 0  # a throttled event does not count as an attempt


class AsyncQueue:
    """A queue and worker threads for each function."""

    def __init__(
        self,
        executor: Executor,
        destination: Destination,
        workers: int,
        retry_delays: tuple[float, ...],
        throttle_delays: tuple[float, float],
    ) -> None:
        """Start `workers` threads per function.

        `retry_delays` are the seconds before each retry after an error, `throttle_delays` those
        before the first retry of a throttled event and at most: each is twice as long as the last.
        """
        self._executor = executor
        self._destination = destination
        self._workers = workers
        self._delays = retry_delays
        self._throttle_delays = throttle_delays
        self._heaps: dict[str, list[tuple[float, int, Event]]] = {}
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._is_closed = False

    def put(self, key: str, find: Callable[[], FunctionSpec], payload: bytes) -> str:
        """Queue an event for the function `key` and return the request ID.

        `find` returns the function's spec when the event is due.
        """
        event = Event(find, payload)
        with self._changed:
            if key not in self._heaps:
                self._heaps[key] = []
                for _ in range(self._workers):
                    threading.Thread(target=self._work, args=(key,), daemon=True).start()
        self._schedule(key, event, 0)
        return event.request_id

    def close(self) -> None:
        """Stop the workers. Queued events are lost, like everything else in the server."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _schedule(self, key: str, event: Event, delay: float) -> None:
        with self._changed:
            due = time.monotonic() + delay
            heapq.heappush(self._heaps[key], (due, next(self._order), event))
            self._changed.notify_all()

    def _work(self, key: str) -> None:
        while (event := self._take(key)) is not None:
            try:
                self._attempt(key, event)
            except Exception:
                # Too many open files, or a fault of ours: neither the worker nor the event is lost.
                log.exception("event %s of %s is tried again later", event.request_id, key)
                self._put_off(key, event)

    def _take(self, key: str) -> Event | None:
        heap = self._heaps[key]
        with self._changed:
            while not self._is_closed:
                if heap and heap[0][0] <= time.monotonic():
                    return heapq.heappop(heap)[2]
                self._changed.wait(heap[0][0] - time.monotonic() if heap else None)
        return None

    def _attempt(self, key: str, event: Event) -> None:
        try:
            spec = event.find()
        except UnknownFunction as error:  # its failure destination was deleted with it
            log.warning("event %s is dropped: %s", event.request_id, error)
            return
        except NotActive:
            self._put_off(key, event)
            return
        if time.time() - event.queued > spec.max_event_age_s:
            self._give_up(spec, event, "EventAgeExceeded", None)
            return
        try:
            result = self._executor.invoke(spec, event.payload, event.request_id)
        except Throttled:
            self._put_off(key, event)
            return
        except CannotStart as error:
            log.warning("%s cannot start: %s", spec.name, error)
            payload = error_payload("Lambda.CannotStart", str(error))
            result = Result(payload, event.request_id, "Unhandled")
        event.attempts += 1
        if result.function_error is None:
            return
        if event.attempts > spec.retries:
            self._give_up(spec, event, "RetriesExhausted", result)
            return
        delay = self._delays[min(event.attempts, len(self._delays)) - 1] if self._delays else 0
        self._schedule(key, event, delay)

    def _put_off(self, key: str, event: Event) -> None:
        """Try again later, with a growing delay."""
        first, longest = self._throttle_delays
        self._schedule(key, event, min(first * 2**event.throttles, longest))
        event.throttles += 1

    def _give_up(
        self, spec: FunctionSpec, event: Event, condition: str, result: Result | None
    ) -> None:
        log.warning("%s: gave up on event %s: %s", spec.name, event.request_id, condition)
        if spec.on_failure is not None:
            self._destination(spec, failure_record(spec, event, condition, result))


def failure_record(
    spec: FunctionSpec, event: Event, condition: str, result: Result | None
) -> dict[str, Any]:
    """The record that Lambda sends to an OnFailure destination.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
    record: dict[str, Any] = {
        "version": "1.0",
        "timestamp": f"{now}Z",
        "requestContext": {
            "requestId": event.request_id,
            "functionArn": f"{spec.arn}:{spec.version}",
            "condition": condition,
            "approximateInvokeCount": event.attempts,
        },
        "requestPayload": json.loads(event.payload),
    }
    if result is not None:
        record["responseContext"] = {
            "statusCode": 200,
            "executedVersion": spec.version,
            "functionError": result.function_error,
        }
        record["responsePayload"] = json.loads(result.payload)
    return record
