"""Why videos failed, from the splitter's log as soon as the first try has failed.

The failure queue knows a failure that is worth a retry only after the last one, minutes later.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.aws import Aws
from pipeline.log_events import read_events
from pipeline.settings import Deployment

POLL_S = 1.0
CLOCK_S = 2.0  # how much the clocks of S3 and the log may differ
NO_VIDEO = ""  # stands for the key in a failure that names no video


@dataclass(frozen=True)
class Failed:
    """A failed try. `is_final`: no retry can mend it, so there is none."""

    reason: str
    is_final: bool = False


def failures(events: Iterable[Mapping[str, Any]], bucket: str) -> dict[str, Failed]:
    """The last failure of each video in `bucket`, by key, from the events of the splitter's log.

    An invocation that Lambda ends, or that never starts, says nothing about its video itself.
    Lambda's line then counts for the video that the invocation named before, or for NO_VIDEO.
    """
    start = f"s3://{bucket}/"
    found: dict[str, Failed] = {}
    running: dict[str, _Invocation] = {}  # by stream
    for event in events:
        text = str(event["message"]).strip()
        invocation = running.setdefault(str(event.get("logStreamName", "")), _Invocation())
        if text.startswith("START RequestId: "):
            running[str(event.get("logStreamName", ""))] = _Invocation()
        elif text.startswith("{"):
            notes = _parsed(text)
            video = str(notes.get("video", ""))
            key = video[len(start) :] if video.startswith(start) else ""
            if video and notes.get("step") == "video":
                invocation.end(key)
                found.pop(key, None)
                if key and "error" in notes:
                    found[key] = Failed(str(notes["error"]), notes.get("retry") is False)
            elif video:
                invocation.open[key] = True
        elif text.startswith("[ERROR]") or "Task timed out after" in text or "\tStatus: " in text:
            reason = text.splitlines()[0].replace("\t", ", ")
            for key in invocation.blamed():
                found.setdefault(key, Failed(reason))
    return found


@dataclass
class _Invocation:
    """The videos that a running invocation has named, and whether it has ended with one."""

    open: dict[str, bool] = field(default_factory=dict)
    has_ended: bool = False

    def end(self, key: str) -> None:
        """One of its videos has ended."""
        self.open.pop(key, None)
        self.has_ended = True

    def blamed(self) -> list[str]:
        """Which keys Lambda's line about its end is about."""
        return list(self.open) or ([] if self.has_ended else [NO_VIDEO])


def _parsed(text: str) -> dict[str, Any]:
    try:
        notes = json.loads(text)
    except ValueError:
        return {}
    return notes if isinstance(notes, dict) else {}


class FirstFailures:
    """Reads the splitter's log in a background thread, while answers are waited for."""

    def __init__(self, aws: Aws, deployment: Deployment, since: float) -> None:
        """Read nothing yet. `since` is in epoch seconds on S3's clock."""
        self._aws, self._deployment = aws, deployment
        self._since = since - CLOCK_S
        self._offset = since - time.time()
        self._over = threading.Event()
        self._found: dict[str, Failed] = {}
        self._taken: dict[str, Failed] = {}
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> FirstFailures:
        """Start reading."""
        self._aws.client("logs")  # created here: a session cannot create clients in two threads
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop reading, without waiting for long."""
        self._over.set()
        self._thread.join(3)

    def take(self) -> dict[str, Failed]:
        """What is new since the last call. Raises once what ended the reading."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        found = self._found
        new = {key: failed for key, failed in found.items() if self._taken.get(key) != failed}
        self._taken = dict(found)
        return new

    def _work(self) -> None:
        try:
            pause = POLL_S
            while not self._over.wait(pause):
                began = time.monotonic()
                splitter, bucket = self._deployment.splitter, self._deployment.input_bucket
                end = time.time() + self._offset + CLOCK_S
                self._found = failures(read_events(self._aws, splitter, self._since, end), bucket)
                # A busy log takes long to read: spend at most a third of the time on it.
                pause = max(POLL_S, 2 * (time.monotonic() - began))
        except BaseException as error:  # noqa: BLE001 - raised again by `take`
            self._error = error
