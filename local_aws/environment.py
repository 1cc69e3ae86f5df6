"""One execution environment: a process group that runs a function with AWS's runtime client."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from uuid import uuid4

from local_aws import cpu_share, zip_root
from local_aws.errors import InitError, InitTimeout, NoSandbox
from local_aws.function import FunctionSpec, Result, error_payload
from local_aws.output import Output
from local_aws.process_tree import is_connected, members, resident_bytes
from local_aws.runtime_api import Invocation, Message, RuntimeApi
from local_aws.sandbox import PROCESSES, Sandbox, packed
from local_aws.sandbox_entry import CANNOT_SET_UP

# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_RESPONSE_BYTES = 6_291_556
MEMORY_POLL_S = 0.1
NO_LIBRARY = 127  # exit status of the system's loader

# Without a sandbox. Kills the process group when the server dies for any reason: the system then
# closes the pipe.
BOOTSTRAP = """
import os, signal, sys, threading
def end_with_server(fd):
    os.read(fd, 1)
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=end_with_server, args=(int(sys.argv.pop(1)),), daemon=True).start()
from awslambdaric.__main__ import main
main(sys.argv)
"""
_alive_read, _alive_write = os.pipe()


class Environment:
    """A process that starts once, serves one invocation at a time, and stops for good."""

    def __init__(
        self,
        spec: FunctionSpec,
        folder: Path,
        credentials: dict[str, str],
        endpoint: str,
        *,
        sandbox: Sandbox | None = None,
        has_cpu_share: bool = False,
        stream: str | None = None,
    ) -> None:
        """Start the process; `wait_ready` waits for the end of INIT.

        Without a `sandbox`, it runs as the server's user among all of this machine's files.
        `has_cpu_share` limits it to the CPU that its memory buys. `stream` is the log stream, if
        this environment repeats an INIT that ran out of time.
        """
        self.spec = spec
        self.stream = stream or (
            f"{datetime.now(timezone.utc):%Y/%m/%d}/[{spec.version}]{uuid4().hex}"
        )
        self.init_ms: float | None = None
        self.idle_since = time.monotonic()
        self._folder = folder
        self._sandbox = sandbox
        self._peak_rss = 0
        self._killed_for: str | None = None
        self._started = time.monotonic()
        self._api = RuntimeApi()
        try:
            self._process = self._start(credentials, endpoint)
        except OSError:
            self._api.close()
            raise
        pid = self._process.pid
        self._api.start(partial(is_connected, pid))
        self._share = (
            cpu_share.limit(pid, cpu_share.cores(spec.memory_mb)) if has_cpu_share else None
        )
        assert self._process.stdout is not None  # noqa: S101 - for the type checker
        self.output = Output(self._process.stdout)
        threading.Thread(target=self._wait_for_end, daemon=True).start()

    def _start(self, credentials: dict[str, str], endpoint: str) -> subprocess.Popen[bytes]:
        spec, variables = self.spec, self._variables(credentials, endpoint)
        if self._sandbox is None:
            argv = [sys.executable, "-c", BOOTSTRAP, str(_alive_read), spec.handler]
            return self._popen(argv, {**self._outside(), **variables}, _alive_read)
        environ = os.memfd_create("environ")  # the server's own are for entering the sandbox
        try:
            os.write(environ, packed({**self._sandbox.environment, **variables}))
            argv = self._sandbox.argv(_alive_read, environ, spec.ephemeral_mb)
            return self._popen(argv, None, _alive_read, environ)
        finally:
            os.close(environ)

    def _popen(
        self, argv: list[str], environ: dict[str, str] | None, *files: int
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            argv,
            cwd=self.spec.task_root,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,
            pass_fds=files,
        )

    def _variables(self, credentials: dict[str, str], endpoint: str) -> dict[str, str]:
        """The variables that AWS sets, and none from the server's own environment.

        https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
        """
        spec = self.spec
        region = spec.arn.split(":")[3]
        return {
            **spec.environment,
            "AWS_LAMBDA_RUNTIME_API": self._api.address,
            "AWS_LAMBDA_FUNCTION_NAME": spec.name,
            "AWS_LAMBDA_FUNCTION_VERSION": spec.version,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(spec.memory_mb),
            "AWS_LAMBDA_LOG_GROUP_NAME": spec.log_group,
            "AWS_LAMBDA_LOG_STREAM_NAME": self.stream,
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{spec.runtime}",
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
            "AWS_SESSION_TOKEN": credentials["SessionToken"],
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def _outside(self) -> dict[str, str]:
        """The runtime's variables of a zip function without a sandbox, with paths of this machine.

        It gets a folder for temporary files, which /tmp would be.
        """
        task, tmp = str(self.spec.task_root), self._folder / "tmp"
        tmp.mkdir(parents=True)
        opt = [] if self.spec.opt is None else [self.spec.opt]
        return {
            **zip_root.variables(self.spec),
            "PATH": ":".join([*(f"{one}/bin" for one in opt), "/usr/local/bin:/usr/bin:/bin"]),
            "LD_LIBRARY_PATH": ":".join([task, f"{task}/lib", *(f"{one}/lib" for one in opt)]),
            "PYTHONPATH": ":".join([task, *(f"{one}/python" for one in opt)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(tmp),
            "TMPDIR": str(tmp),
            "LAMBDA_TASK_ROOT": task,
        }

    @property
    def has_sandbox(self) -> bool:
        """Whether the function is isolated from this machine."""
        return self._sandbox is not None

    @property
    def is_alive(self) -> bool:
        """Whether the process is running and can be invoked."""
        return self._process.poll() is None

    def wait_ready(self, limit_s: float) -> None:
        """Wait for the end of INIT; raise InitError with the reason if it fails.

        Raise InitTimeout if it takes longer than `limit_s`.
        """
        message = self._message(limit_s)
        if message.kind == "ready":
            self.init_ms = (time.monotonic() - self._started) * 1000
            return
        self.stop()
        if message.kind == "init-error":
            raise InitError(message.body, self.output.take())
        if message.kind == "exit":
            raise self._exit_in_init()
        raise InitTimeout(limit_s, self.output.take())

    def invoke(
        self, request_id: str, payload: bytes, arn: str, limit: float | None = None
    ) -> Result:
        """Run one invocation until the function responds, times out or exits.

        `arn` is the function's, as the caller named it. `limit` is the time left in seconds, if a
        repeated INIT has used a part of it.
        """
        limit = self.spec.timeout_s if limit is None else limit
        self._peak_rss = 0
        deadline = int((time.time() + limit) * 1000)
        self._api.send(Invocation(request_id, payload, deadline, arn))
        message = self._message(limit)
        if message.kind == "response":
            if len(message.body) > MAX_RESPONSE_BYTES:
                text = (
                    f"Response payload size ({len(message.body)} bytes) exceeded maximum "
                    f"allowed payload size ({MAX_RESPONSE_BYTES} bytes)."
                )
                body = error_payload("Function.ResponseSizeTooLarge", text)
                return self._end(Result(body, request_id, "Unhandled"))
            return self._end(Result(message.body, request_id))
        if message.kind == "error":
            return self._end(Result(message.body, request_id, "Unhandled"))
        if message.kind == "exit":
            return Result(self._exit_payload(request_id), request_id, "Unhandled")
        return self.time_out(request_id)

    def time_out(self, request_id: str) -> Result:
        """End the process and the invocation as Lambda does when the time is over."""
        self.stop()
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        text = f"{now}Z {request_id} Task timed out after {self.spec.timeout_s:.2f} seconds"
        self.output.say(text)
        return Result(error_payload("Sandbox.Timedout", text), request_id, "Unhandled")

    def _end(self, result: Result) -> Result:
        """Wait until the runtime client asks for the next invocation, or exits."""
        self._message(5)
        return result

    def _message(self, seconds: float) -> Message:
        """The client's next message; watch the memory while waiting, as nothing runs otherwise."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                return self._api.messages.get(timeout=min(left, MEMORY_POLL_S))
            self._check_memory()
        return Message("timeout")

    def _exit_in_init(self) -> InitError:
        """Why the process ended before it was ready."""
        payload, lines = self._exit_payload(""), self.output.take()
        last = lines[-1][1] if lines else ""
        reasons = {CANNOT_SET_UP: "sandbox: ", NO_LIBRARY: "error while loading shared libraries"}
        reason = reasons.get(self._process.returncode)
        if self._sandbox is not None and reason is not None and reason in last:
            return NoSandbox(last, lines)
        return InitError(payload, lines)

    def _exit_payload(self, request_id: str) -> bytes:
        code = self._process.wait()
        if self._killed_for:
            return error_payload("Runtime.OutOfMemory", self._killed_for)
        how = f"signal: {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        text = f"RequestId: {request_id} Error: Runtime exited with error: {how}"
        return error_payload("Runtime.ExitError", text)

    @property
    def _ours(self) -> int:
        """How many of its processes are not the function's."""
        return 0 if self._sandbox is None else PROCESSES

    @property
    def peak_mb(self) -> int:
        """The peak resident memory of the process tree during this invocation, in MB."""
        return max(
            1, max(self._peak_rss, resident_bytes(self._process.pid, self._ours)) // 1_048_576
        )

    def _wait_for_end(self) -> None:
        self._process.wait()
        self._api.messages.put(Message("exit"))

    def _check_memory(self) -> None:
        """Note the process tree's memory, and kill it if it exceeds the limit."""
        rss = resident_bytes(self._process.pid, self._ours)
        self._peak_rss = max(self._peak_rss, rss)
        if rss > self.spec.memory_mb * 1_048_576 and self._killed_for is None:
            self._killed_for = (
                f"Memory: {rss // 1_048_576} MB used, {self.spec.memory_mb} MB allowed"
            )
            self._kill()

    def _kill(self) -> None:
        """Kill the group, and descendants that left it, such as ffmpeg."""
        tree = members(self._process.pid)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for pid in tree[1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """Kill the process group and remove its temporary folder."""
        self._kill()
        self._process.wait()
        if self._share is not None:
            self._share.close()
        self._api.close()
        shutil.rmtree(self._folder, ignore_errors=True)
