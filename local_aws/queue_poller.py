"""Reads SQS queues for event source mappings and invokes their functions.

https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from local_aws.errors import CannotDeliver, CannotStart, NotActive, Throttled, UnknownFunction
from local_aws.executor import Executor
from local_aws.function import FunctionSpec, Result
from local_aws.moto_mappings import Mapping
from local_aws.moto_sqs import Source

LOOK_S = 1.0  # between two looks at an empty queue or a mapping that is switched off
FIRST_RETRY_S, LONGEST_RETRY_S = 0.5, 10.0

# Takes a function's name or ARN and a region.
Find = Callable[[str, str], FunctionSpec]

log = logging.getLogger(__name__)


class QueuePollers:
    """A thread per mapping, which starts a thread per invocation."""

    def __init__(self) -> None:
        """Take mappings; `start` says how to run their functions."""
        self._new: list[Mapping] = []
        self._run: Callable[[Mapping], None] | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def add(self, mapping: Mapping) -> None:
        """Poll for a new mapping until it is deleted."""
        with self._lock:
            if self._run is None:
                self._new.append(mapping)
                return
        threading.Thread(target=self._run, args=(mapping,), daemon=True).start()

    def start(self, executor: Executor, find: Find, cap: int) -> None:
        """Invoke functions with `executor`; without a limit, run `cap` batches at once."""

        def run(mapping: Mapping) -> None:
            Poller(mapping, executor, find, cap, self._stop).run()

        with self._lock:
            self._run, waiting = run, self._new
        for mapping in waiting:
            self.add(mapping)

    def close(self) -> None:
        """Receive no more messages."""
        self._stop.set()


@dataclass
class Poller:
    """Polls for one mapping."""

    mapping: Mapping
    executor: Executor
    find: Find
    cap: int
    stop: threading.Event

    def __post_init__(self) -> None:
        """Start with nothing running."""
        self._source = Source(self.mapping.queue_arn)
        self._changed = threading.Condition()
        self._running = 0
        self._complaint = ""

    def run(self) -> None:
        """Poll until the mapping is deleted or the server stops."""
        while not self.stop.is_set() and self.mapping.exists:
            try:
                started = self.mapping.is_enabled and self._start_batch()
            except Exception:
                # The thread must survive: later messages would wait forever.
                log.exception("polling %s failed", self.mapping.queue_arn)
                started = False
            if not started:
                self._source.wait(LOOK_S) if self.mapping.is_enabled else self.stop.wait(LOOK_S)

    def _start_batch(self) -> bool:
        """Receive a batch and invoke the function in a thread; return False if there is none."""
        with self._changed:
            most = self.mapping.max_concurrency or self.cap
            if not self._changed.wait_for(lambda: self._running < most, LOOK_S):
                return True  # look at the mapping again
        try:
            spec = self.find(self.mapping.function, self.mapping.queue_arn.split(":")[3])
            records = self._receive(spec.role_arn)
        except (UnknownFunction, NotActive, CannotDeliver) as error:
            self._complain(str(error))
            self.stop.wait(LOOK_S)
            return False
        if not records:
            return False
        with self._changed:
            self._running += 1
        threading.Thread(target=self._finish, args=(spec, records), daemon=True).start()
        return True

    def _receive(self, role_arn: str) -> list[dict[str, Any]]:
        size, records = self.mapping.batch_size, list[dict[str, Any]]()
        records = self._source.receive(role_arn, size)
        deadline = time.monotonic() + self.mapping.window_s
        while records and len(records) < size and time.monotonic() < deadline:
            if self.stop.wait(min(0.1, max(0, deadline - time.monotonic()))):
                break
            records += self._source.receive(role_arn, size - len(records))
        return records

    def _finish(self, spec: FunctionSpec, records: list[dict[str, Any]]) -> None:
        try:
            result = self._invoke(spec, records)
            if result is not None:
                failed = failures(result, records, self.mapping.reports_failures)
                done = [record for record in records if record["messageId"] not in failed]
                self._source.delete(spec.role_arn, done)
        except CannotDeliver as error:
            self._complain(str(error))
        except Exception:
            # The thread ends here: nothing was deleted, so the queue shows the messages again.
            log.exception("a batch of %s was left in the queue", self.mapping.queue_arn)
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _invoke(self, spec: FunctionSpec, records: list[dict[str, Any]]) -> Result | None:
        """Invoke the function; None if it did not run. The messages then appear again.

        A throttled invocation is tried again until the messages become visible to others.
        """
        payload = json.dumps({"Records": records}).encode()
        deadline, delay = time.monotonic() + self._source.visibility_s, FIRST_RETRY_S
        while True:
            try:
                return self.executor.invoke(spec, payload)
            except Throttled:
                if time.monotonic() + delay > deadline or self.stop.wait(delay):
                    return None
                delay = min(2 * delay, LONGEST_RETRY_S)
            except CannotStart as error:
                log.warning("%s cannot start: %s", spec.name, error)
                return None

    def _complain(self, text: str) -> None:
        """Log a problem once."""
        if text != self._complaint:
            self._complaint = text
            log.warning("%s cannot be polled: %s", self.mapping.queue_arn, text)


def failures(result: Result, records: list[dict[str, Any]], reported: bool) -> set[str]:
    """The IDs of the messages that failed, by Lambda's rules for the function's answer.

    An answer that cannot be understood means that all failed.
    """
    everything = {str(record["messageId"]) for record in records}
    if result.function_error:
        return everything
    if not reported:
        return set()
    try:
        answer = json.loads(result.payload or b"null") or {}
        failed = {item["itemIdentifier"] for item in answer.get("batchItemFailures") or []}
    except (ValueError, TypeError, KeyError, AttributeError):
        return everything
    return failed if failed <= everything else everything
