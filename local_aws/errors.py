"""Why an invocation does not run. The front door turns these errors into Lambda's responses.

InvocationError
├── Throttled
├── NotActive
├── UnknownFunction
└── CannotStart
    ├── CannotAssume
    └── InitError
        ├── InitTimeout
        └── NoSandbox
"""

from __future__ import annotations

import json

TIMED_OUT = "Sandbox.Timedout"


class InvocationError(Exception):
    """An invocation did not run."""


class NotActive(InvocationError):
    """The function was let go and is being prepared."""

    def __init__(self, state: str) -> None:
        """Use AWS's message."""
        super().__init__(
            "The operation cannot be performed at this time. The function is currently in the "
            f"following state: {state}"
        )


class Throttled(InvocationError):
    """The concurrency of the function or the account is used up. `reason` is AWS's name for it."""

    def __init__(self, reason: str) -> None:
        """Use AWS's message, which does not say the reason."""
        super().__init__("Rate Exceeded.")
        self.reason = reason


class UnknownFunction(InvocationError):
    """No function, version or alias has this name. The message is the one AWS sends."""


class CannotStart(InvocationError):
    """No environment can start: the code, the image or the role is missing or unusable."""


class CannotAssume(CannotStart):
    """Lambda cannot assume the role: it does not exist, or its trust policy does not allow it."""


class InitError(CannotStart):
    """The function failed during INIT.

    `payload` is the response for the caller; `lines` are the log lines written so far.
    """

    def __init__(self, payload: bytes, lines: list[tuple[int, str]]) -> None:
        """Use the payload as the message."""
        super().__init__(payload.decode(errors="replace"))
        self.payload = payload
        self.lines = lines


class InitTimeout(InitError):
    """INIT took too long. Lambda then repeats it inside the invocation."""

    def __init__(self, limit_s: float, lines: list[tuple[int, str]]) -> None:
        """INIT took longer than `limit_s`."""
        text = f"INIT took longer than {limit_s:g} s"
        super().__init__(json.dumps({"errorType": TIMED_OUT, "errorMessage": text}).encode(), lines)


class NoSandbox(InitError):
    """The sandbox of an environment could not be set up. `reason` says why."""

    def __init__(self, reason: str, lines: list[tuple[int, str]]) -> None:
        """Name the reason in the response."""
        text = f"The local AWS cannot isolate this function: {reason}"
        error = {"errorType": "Runtime.SandboxFailed", "errorMessage": text}
        super().__init__(json.dumps(error).encode(), lines)
        self.reason = reason


class CannotDeliver(Exception):
    """A log line or a message cannot be written with a function's role. The message says why."""
