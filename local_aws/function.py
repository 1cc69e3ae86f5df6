"""What the executor knows of a function, and what one invocation of it comes to."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from local_aws.image_sandbox import Image


@dataclass(frozen=True)
class FunctionSpec:
    """One version of a function, as the control plane has it now.

    `revision` changes with code or configuration: environments of another revision are retired.
    """

    name: str
    arn: str
    version: str
    revision: str
    handler: str
    task_root: Path
    layers: tuple[Path, ...]
    environment: dict[str, str]
    memory_mb: int
    timeout_s: float
    role_arn: str
    reserved_concurrency: int | None = None
    retries: int = 2
    max_event_age_s: float = 21_600
    on_failure: str | None = None
    image: Image | None = None
    image_config: dict[str, Any] = field(default_factory=dict)
    ephemeral_mb: int = 512
    obstacle: str | None = None  # why its code is not to be had; nothing of it can be run then

    @property
    def log_group(self) -> str:
        """The CloudWatch Logs group that Lambda writes to."""
        return f"/aws/lambda/{self.name}"


@dataclass(frozen=True)
class Result:
    """An invocation's end: the answer, or the error AWS would describe it with."""

    payload: bytes
    request_id: str
    function_error: str | None = None
    log_tail: bytes = b""
    version: str = "$LATEST"


def error_payload(kind: str, message: str) -> bytes:
    """The JSON a caller gets for an error that is not the handler's own."""
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()


class Throttled(Exception):
    """Reserved concurrency is used up: AWS answers 429 TooManyRequestsException."""


class UnknownFunction(LookupError):
    """No function of this name, version or alias; the message is AWS's."""


class CannotStart(Exception):
    """No environment can be started: the code, the role or the image is not to be had."""


@dataclass(frozen=True)
class Telemetry:
    """One invocation's log lines (epoch ms, text) and metric values, for the log sink."""

    spec: FunctionSpec
    stream: str
    lines: Sequence[tuple[int, str]] = ()
    metrics: dict[str, tuple[float, str]] = field(default_factory=dict)


LogSink = Callable[[Telemetry], None]
Credentials = Callable[[str], dict[str, Any]]
Destination = Callable[[FunctionSpec, dict[str, Any]], None]
