"""Call the recognizer synchronously: client settings, retries, errors and checks of the answer.

The splitter pays for the time it waits, so a slow call is never made twice: the client waits longer
than the recognizer may run, and botocore does not retry. Only a throttled call (429), which has
not started any work, is tried again.
"""

from __future__ import annotations

import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, cast

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

READ_MARGIN_S = 5
RETRY_BASE_S = 0.2
RETRY_CAP_S = 10.0
# The texts that face-recognition/gallery.py defines.
UNKNOWN = "Unknown"
NO_FACE = "No face"


class RecognitionError(Exception):
    """The faces of a frame were not named."""


class RecognitionFailed(RecognitionError):
    """The recognizer raised an error; the message has its type and text."""


class RecognitionThrottled(RecognitionError):
    """The recognizer had no free environment within the time left."""


class RecognitionBadAnswer(RecognitionError):
    """The recognizer did not answer with one result for each frame."""


class Face(TypedDict):
    """A face that the recognizer found."""

    name: str
    distance: NotRequired[float]


class Result(TypedDict):
    """The recognizer's result for one frame; its faces come largest first."""

    image_file_name: str
    output_key: str
    faces: list[Face]
    model: str
    source_etag: NotRequired[str]


def client_settings(callee_timeout_s: float, connections: int) -> dict[str, Any]:
    """botocore settings for a call that must run only once, however long it takes."""
    return {
        "connect_timeout": 5,
        "read_timeout": callee_timeout_s + READ_MARGIN_S,
        "retries": {"total_max_attempts": 1, "mode": "standard"},
        "max_pool_connections": max(connections, 1),
        "tcp_keepalive": True,
    }


@dataclass(frozen=True)
class Recognizer:
    """The recognizer function and how to call it."""

    client: LambdaClient
    function: str
    timeout_s: float
    frames_per_invoke: int
    concurrency: int
    sleep: Callable[[float], None] = time.sleep

    def recognize(
        self, bucket: str, keys: Sequence[str], remaining_s: Callable[[], float]
    ) -> list[Result]:
        """One result for each of `keys`, in the same order; batches run in parallel.

        Tries every batch, then raises the first error, if any.
        """
        size = self.frames_per_invoke
        batches = [list(keys[at : at + size]) for at in range(0, len(keys), size)]
        with ThreadPoolExecutor(max_workers=min(self.concurrency, len(batches))) as pool:
            calls = [pool.submit(self._call, bucket, batch, remaining_s) for batch in batches]
        return [result for call in calls for result in call.result()]

    def _call(self, bucket: str, keys: list[str], remaining_s: Callable[[], float]) -> list[Result]:
        payload: dict[str, Any] = {"bucket_name": bucket}
        if len(keys) == 1:
            payload["image_file_name"] = keys[0]
        else:
            payload["image_file_names"] = keys
        text, is_error = self._invoke(json.dumps(payload).encode(), remaining_s)
        if is_error:
            raise self._failure(keys, text)
        return self._parse(keys, text)

    def _invoke(self, payload: bytes, remaining_s: Callable[[], float]) -> tuple[bytes, bool]:
        """The answer to `payload`, and whether it describes an error."""
        attempt = 0
        while True:
            try:
                answer = self.client.invoke(
                    FunctionName=self.function,
                    InvocationType="RequestResponse",
                    Payload=payload,
                )
            except self.client.exceptions.TooManyRequestsException as error:
                # Full jitter: many splitters are throttled together and must not retry together.
                pause = random.uniform(0, min(RETRY_CAP_S, RETRY_BASE_S * 2**attempt))  # noqa: S311
                if remaining_s() - pause < self.timeout_s + READ_MARGIN_S:
                    raise RecognitionThrottled(
                        f"'{self.function}' was throttled {attempt + 1} times (429), and no time "
                        "is left for another attempt. Raise the account's concurrency or lower "
                        "the splitter's."
                    ) from error
                self.sleep(pause)
                attempt += 1
            else:
                return answer["Payload"].read(), "FunctionError" in answer

    def _failure(self, keys: list[str], text: bytes) -> RecognitionFailed:
        try:
            error = json.loads(text)
        except ValueError:
            error = {}
        if not isinstance(error, dict):
            error = {}
        kind = error.get("errorType") or "an error"
        message = error.get("errorMessage") or text[:500].decode("utf-8", "replace")
        return RecognitionFailed(f"'{self.function}' raised {kind} on {_listed(keys)}: {message}")

    def _parse(self, keys: list[str], text: bytes) -> list[Result]:
        try:
            answer = json.loads(text)
        except ValueError as error:
            raise self._bad_answer(keys, text, "JSON") from error
        results = answer.get("results") if isinstance(answer, dict) else None
        if not isinstance(results, list) or "model" not in answer:
            raise self._bad_answer(keys, text, "a model and results")
        found = {
            result.get("image_file_name"): cast("Result", {**result, "model": answer["model"]})
            for result in results
            if isinstance(result, dict)
            and isinstance(result.get("faces"), list)
            and isinstance(result.get("output_key"), str)
            and all(isinstance(face, dict) and "name" in face for face in result["faces"])
        }
        if len(results) != len(keys) or set(found) != set(keys):
            raise self._bad_answer(keys, text, "exactly one result")
        return [found[key] for key in keys]

    def _bad_answer(self, keys: list[str], text: bytes, missing: str) -> RecognitionBadAnswer:
        return RecognitionBadAnswer(
            f"'{self.function}' answered without {missing} for {_listed(keys)}: "
            f"{text[:200].decode('utf-8', 'replace')}. Deploy both functions from one version."
        )


def agreed_name(results: Sequence[Result]) -> tuple[str, int]:
    """The name that most frames agree on and the number of its votes.

    Each frame votes for its largest known face; the smallest distance breaks ties. If no face is
    known, the name is UNKNOWN, or NO_FACE if there are no faces.
    """
    votes: dict[str, list[float]] = defaultdict(list)
    for result in results:
        known = [face for face in result["faces"] if face["name"] != UNKNOWN]
        if known:
            votes[known[0]["name"]].append(float(known[0].get("distance") or 0))
    if votes:
        name = min(votes, key=lambda name: (-len(votes[name]), min(votes[name])))
        return name, len(votes[name])
    strangers = sum(bool(result["faces"]) for result in results)
    return (UNKNOWN, strangers) if strangers else (NO_FACE, len(results))


def _listed(keys: list[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{keys[0]} and {len(keys) - 1} more"
