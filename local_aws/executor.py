"""Runs functions: reuses warm environments, limits concurrency, and reports each invocation."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from uuid import uuid4

from local_aws.environment import Environment
from local_aws.errors import CannotStart, InitError, InitTimeout, NoSandbox, Throttled
from local_aws.function import Credentials, FunctionSpec, LogSink, Result, Telemetry
from local_aws.open_files import SHORTAGE
from local_aws.sandboxes import Sandboxes
from local_aws.slots import Concurrency

IDLE_S = 600  # warm environments are stopped after this long without an invocation
LOG_TAIL_BYTES = 4096

log = logging.getLogger(__name__)


class Pool:
    """The environments of one function version."""

    def __init__(self, cap: int) -> None:
        """Run at most `cap` invocations at once; further ones wait."""
        self.cap = cap
        self.slots = threading.Semaphore(cap)
        self.lock = threading.Lock()
        self.warm: list[Environment] = []


class Executor:
    """Runs invocations of function specs, independent of the control plane.

    Each function has its own cap. With one shared limit, callers could take every slot and wait for
    callees that can never start.
    """

    def __init__(
        self,
        folder: Path,
        endpoint: str,
        credentials: Credentials,
        sink: LogSink,
        cap: int,
        *,
        has_cpu_share: bool,
        init_limit_s: float,
    ) -> None:
        """Keep environments below `folder`; they reach AWS at `endpoint`."""
        self._has_cpu_share = has_cpu_share
        self._init_limit_s = init_limit_s
        self._folder = folder
        self._endpoint = endpoint
        self._credentials = credentials
        self._sink = sink
        self._sandboxes = Sandboxes(folder.with_name("sandbox"))
        self._pools: dict[str, Pool] = defaultdict(partial(Pool, cap))
        self._concurrency = Concurrency()
        self._lock = threading.Lock()
        self._is_closed = False
        self._has_complained = False

    def invoke(self, spec: FunctionSpec, payload: bytes, request_id: str | None = None) -> Result:
        """Run one invocation.

        Raise Throttled if the concurrency is used up, and CannotStart if the code or the role is
        unavailable.
        """
        if spec.obstacle is not None:
            raise CannotStart(spec.obstacle)
        request_id = request_id or str(uuid4())
        with self._lock:
            pool = self._pools[f"{spec.arn}:{spec.version}"]
        try:
            with self._concurrency.slot(spec) as running, pool.slots:
                # Those that wait for one of the pool's environments do not run.
                return self._run(pool, spec, payload, request_id, min(running, pool.cap))
        except Throttled:
            self._report_throttle(spec)
            raise

    def _run(
        self, pool: Pool, spec: FunctionSpec, payload: bytes, request_id: str, running: int
    ) -> Result:
        environment = self._take_warm(pool, spec)
        init_ms, is_late = None, False
        before: list[tuple[int, str]] = []
        if environment is None:
            environment = self._start(spec)
            try:
                try:
                    environment.wait_ready(self._init_limit_s)
                except NoSandbox as error:
                    self._sandboxes.refuse(spec, error)
                    environment = self._start(spec)
                    environment.wait_ready(self._init_limit_s)
                self._sandboxes.have_worked(environment.has_sandbox)
                init_ms = environment.init_ms
            except InitTimeout as error:
                is_late = True
                took = f"INIT_REPORT Init Duration: {self._init_limit_s * 1000:.2f} ms"
                before = [*error.lines, (_now_ms(), f"{took}\tPhase: init\tStatus: timeout")]
                environment = self._start(spec, environment.stream)
            except InitError as error:
                lines = [*error.lines, (_now_ms(), f"INIT_REPORT Status: error {error}")]
                self._report(environment, lines, 0.0, True, running)
                return Result(error.payload, request_id, "Unhandled", version=spec.version)
        with contextlib.ExitStack() as stack:
            stack.callback(environment.stop)  # if an error of ours ends its use
            environment.output.say(f"START RequestId: {request_id} Version: {spec.version}")
            started = time.monotonic()
            if is_late:
                result = self._invoke_late(environment, request_id, payload, spec.invoked_arn)
            else:
                result = environment.invoke(request_id, payload, spec.invoked_arn)
            seconds = time.monotonic() - started
            environment.output.say(f"END RequestId: {request_id}")
            environment.output.say(self._report_line(environment, request_id, seconds, init_ms))
            lines = [*before, *environment.output.take()]
            self._report(environment, lines, seconds, result.function_error is not None, running)
            stack.pop_all()
            self._give_back(pool, environment)
        tail = "\n".join(text for _, text in lines).encode()[-LOG_TAIL_BYTES:]
        return Result(result.payload, request_id, result.function_error, tail, spec.version)

    def _start(self, spec: FunctionSpec, stream: str | None = None) -> Environment:
        """Start an environment; raise Throttled if no more files may be open."""
        while True:
            try:
                return self._environment(spec, stream)
            except OSError as error:
                if error.errno not in SHORTAGE:
                    raise
                if not self._stop_longest_idle():
                    if not self._has_complained:
                        self._has_complained = True
                        text = "%s has to wait, as others may: %s. To raise the limit: ulimit -n"
                        log.warning(text, spec.name, error.strerror)
                    raise Throttled("ConcurrentInvocationLimitExceeded") from error

    def _stop_longest_idle(self) -> bool:
        """Stop the warm environment that has been idle for longest; return False if none is."""
        pools = [pool for pool in list(self._pools.values()) if pool.warm]
        for pool in sorted(pools, key=lambda pool: pool.warm[0].idle_since if pool.warm else 0):
            with pool.lock:
                idle = pool.warm.pop(0) if pool.warm else None
            if idle is not None:
                idle.stop()
                return True
        return False

    def _environment(self, spec: FunctionSpec, stream: str | None) -> Environment:
        return Environment(
            spec,
            self._folder / uuid4().hex,
            self._credentials(spec.role_arn),
            self._endpoint,
            sandbox=self._sandboxes.of(spec),
            has_cpu_share=self._has_cpu_share,
            stream=stream,
        )

    @staticmethod
    def _invoke_late(environment: Environment, request_id: str, payload: bytes, arn: str) -> Result:
        """Repeat INIT inside the invocation, whose time limit counts for both.

        https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
        """
        limit, started = environment.spec.timeout_s, time.monotonic()
        try:
            environment.wait_ready(limit)
        except InitTimeout:
            return environment.time_out(request_id)
        except InitError as error:
            return Result(error.payload, request_id, "Unhandled")
        left = limit - (time.monotonic() - started)
        return environment.invoke(request_id, payload, arn, left)

    def _take_warm(self, pool: Pool, spec: FunctionSpec) -> Environment | None:
        """A warm environment of this revision, or None. Stop those of other revisions."""
        with pool.lock:
            outdated = [e for e in pool.warm if e.spec.revision != spec.revision or not e.is_alive]
            pool.warm = [e for e in pool.warm if e not in outdated]
            environment = pool.warm.pop() if pool.warm else None
        for other in outdated:
            other.stop()
        return environment

    def _give_back(self, pool: Pool, environment: Environment) -> None:
        environment.idle_since = time.monotonic()
        with pool.lock:
            if environment.is_alive and not self._is_closed:
                pool.warm.append(environment)
                return
        environment.stop()

    def reap_idle(self) -> None:
        """Stop the environments that have been idle for IDLE_S."""
        limit = time.monotonic() - IDLE_S
        for pool in list(self._pools.values()):
            with pool.lock:
                idle = [e for e in pool.warm if e.idle_since < limit]
                pool.warm = [e for e in pool.warm if e.idle_since >= limit]
            for environment in idle:
                environment.stop()

    def close(self) -> None:
        """Stop all environments; those in use stop after their invocation."""
        self._is_closed = True
        for pool in list(self._pools.values()):
            with pool.lock:
                warm, pool.warm = pool.warm, []
            for environment in warm:
                environment.stop()

    @staticmethod
    def _report_line(
        environment: Environment, request_id: str, seconds: float, init_ms: float | None
    ) -> str:
        """AWS's REPORT line. Since August 2025, AWS bills INIT for zip functions as well."""
        duration = seconds * 1000
        billed = duration + (init_ms or 0)
        line = (
            f"REPORT RequestId: {request_id}\tDuration: {duration:.2f} ms\t"
            f"Billed Duration: {int(billed) + 1} ms\tMemory Size: {environment.spec.memory_mb} MB\t"
            f"Max Memory Used: {environment.peak_mb} MB"
        )
        return line if init_ms is None else f"{line}\tInit Duration: {init_ms:.2f} ms"

    def _report(
        self,
        environment: Environment,
        lines: list[tuple[int, str]],
        seconds: float,
        is_error: bool,
        running: int,
    ) -> None:
        metrics = {
            "Invocations": (1.0, "Count"),
            "Errors": (float(is_error), "Count"),
            "Throttles": (0.0, "Count"),
            "Duration": (seconds * 1000, "Milliseconds"),
            "ConcurrentExecutions": (float(running), "Count"),
        }
        self._sink(Telemetry(environment.spec, environment.stream, lines, metrics))

    def _report_throttle(self, spec: FunctionSpec) -> None:
        self._sink(Telemetry(spec, "", (), {"Throttles": (1.0, "Count")}))


def _now_ms() -> int:
    """The time in epoch milliseconds."""
    return int(time.time() * 1000)
