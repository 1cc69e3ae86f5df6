"""What the executor knows about a function, and the result and telemetry of one invocation."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local_aws.image_sandbox import Image


@dataclass(frozen=True)
class FunctionSpec:
    """One version of a function, as the control plane describes it at this moment.

    `revision` changes with the code or the configuration; environments of an older revision are
    stopped.
    """

    name: str
    arn: str
    version: str
    revision: str
    handler: str
    task_root: Path
    environment: dict[str, str]
    memory_mb: int
    timeout_s: float
    role_arn: str
    opt: Path | None = None  # the layers, merged
    from_folder: bool = False  # instead of from an image
    runtime: str = "python3.12"
    reserved_concurrency: int | None = None
    unreserved_concurrency: int = 1000  # what the functions without a reservation share
    retries: int = 2
    max_event_age_s: float = 21_600
    on_failure: str | None = None
    image: Image | None = None
    image_config: dict[str, Any] = field(default_factory=dict)
    ephemeral_mb: int = 512
    obstacle: str | None = None  # why its code is unavailable; such a function cannot run
    qualifier: str | None = None  # the version or alias that it was asked for by

    @property
    def invoked_arn(self) -> str:
        """The ARN that the function sees in its context."""
        return f"{self.arn}:{self.qualifier}" if self.qualifier else self.arn

    @property
    def log_group(self) -> str:
        """The CloudWatch Logs group that Lambda writes to."""
        return f"/aws/lambda/{self.name}"


@dataclass(frozen=True)
class Result:
    """The response to an invocation: the handler's answer, or an error in Lambda's format."""

    payload: bytes
    request_id: str
    function_error: str | None = None
    log_tail: bytes = b""
    version: str = "$LATEST"


def error_payload(kind: str, message: str) -> bytes:
    """The JSON response for an error that the platform reports, not the handler."""
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()


@dataclass(frozen=True)
class Telemetry:
    """The log lines (epoch ms, text) and metric values (value, unit) of one invocation."""

    spec: FunctionSpec
    stream: str
    lines: Sequence[tuple[int, str]] = ()
    metrics: dict[str, tuple[float, str]] = field(default_factory=dict)


LogSink = Callable[[Telemetry], None]
# Takes a role's ARN; returns AccessKeyId, SecretAccessKey and SessionToken.
Credentials = Callable[[str], dict[str, str]]
Destination = Callable[[FunctionSpec, dict[str, Any]], None]
