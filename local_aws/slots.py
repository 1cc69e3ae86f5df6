"""Counts running invocations against what the account and each function may run at once.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from local_aws.errors import Throttled
from local_aws.function import FunctionSpec

# AWS's default for an established account; a new one may start with 10.
ACCOUNT_CONCURRENCY = 1000
# No reservation may leave less for the other functions. Smaller accounts can reserve nothing.
MIN_UNRESERVED = 100


class Concurrency:
    """The running invocations.

    A function with reserved concurrency uses its own; all others of a region share the rest.
    """

    def __init__(self) -> None:
        """Start with none running."""
        self._lock = threading.Lock()
        self._running: Counter[str] = Counter()  # by the function's ARN
        self._unreserved: Counter[str] = Counter()  # by region

    @contextmanager
    def slot(self, spec: FunctionSpec) -> Iterator[int]:
        """Hold a slot; yield how many the function holds. Raise Throttled if none is free."""
        region, is_reserved = spec.arn.split(":")[3], spec.reserved_concurrency is not None
        with self._lock:
            if spec.reserved_concurrency is not None:
                if self._running[spec.arn] >= spec.reserved_concurrency:
                    raise Throttled("ReservedFunctionConcurrentInvocationLimitExceeded")
            elif self._unreserved[region] >= spec.unreserved_concurrency:
                raise Throttled("ConcurrentInvocationLimitExceeded")
            self._running[spec.arn] += 1
            self._unreserved[region] += not is_reserved
            running = self._running[spec.arn]
        try:
            yield running
        finally:
            with self._lock:
                self._running[spec.arn] -= 1
                self._unreserved[region] -= not is_reserved
