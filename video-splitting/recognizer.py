"""The synchronous call of the recognizer: settings of the client, retries, errors, answers.

Waiting inside a function is paid for, so a call is never made twice for being slow: the client
waits longer than the callee may run, and botocore does not retry. Only a refusal (429), after
which nothing has run, is tried again.
"""

from __future__ import annotations

import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

READ_MARGIN_S = 5
RETRY_BASE_S = 0.2
RETRY_CAP_S = 10.0
Result = dict[str, Any]


class RecognitionFailed(Exception):
    """The recognizer raised an error of its own; its type and message are in the text."""


class RecognitionThrottled(Exception):
    """No environment was free for the recognizer within the time there is."""


class RecognitionBadAnswer(Exception):
    """The recognizer answered, but not with a result for each frame sent."""


def client_settings(callee_timeout_s: float, connections: int) -> dict[str, Any]:
    """botocore settings for a call that must run once, however long it takes."""
    return {
        "connect_timeout": 5,
        "read_timeout": callee_timeout_s + READ_MARGIN_S,
        "retries": {"total_max_attempts": 1, "mode": "standard"},
        "max_pool_connections": max(connections, 1),
        "tcp_keepalive": True,
    }


@dataclass(frozen=True)
class Recognizer:
    """The function that names faces, and how it is called."""

    client: Any
    function: str
    timeout_s: float
    frames_per_invoke: int
    concurrency: int
    sleep: Callable[[float], None] = time.sleep

    def recognize(
        self, bucket: str, keys: Sequence[str], remaining_s: Callable[[], float]
    ) -> list[Result]:
        """A result for each of `keys`, in their order; batches run side by side.

        Every batch is tried; then the first error, if any, is raised.
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
        answer = self._invoke(json.dumps(payload).encode(), remaining_s)
        text = answer["Payload"].read()
        if "FunctionError" in answer:
            raise RecognitionFailed(self._explain(keys, text))
        return self._check(keys, text)

    def _invoke(self, payload: bytes, remaining_s: Callable[[], float]) -> Any:
        attempt = 0
        while True:
            try:
                return self.client.invoke(
                    FunctionName=self.function,
                    InvocationType="RequestResponse",
                    Payload=payload,
                )
            except self.client.exceptions.TooManyRequestsException as error:
                # Full jitter: many splitters are refused at once and must not return at once.
                pause = random.uniform(0, min(RETRY_CAP_S, RETRY_BASE_S * 2**attempt))  # noqa: S311
                if remaining_s() - pause < self.timeout_s + READ_MARGIN_S:
                    raise RecognitionThrottled(
                        f"'{self.function}' was refused {attempt + 1} times (429) and there is no "
                        "time for another try. Raise the account's concurrency, or lower the "
                        "splitter's."
                    ) from error
                self.sleep(pause)
                attempt += 1

    def _explain(self, keys: list[str], text: bytes) -> str:
        try:
            error = json.loads(text)
        except ValueError:
            error = {}
        if not isinstance(error, dict):
            error = {}
        kind = error.get("errorType") or "an error"
        message = error.get("errorMessage") or text[:500].decode("utf-8", "replace")
        return f"'{self.function}' raised {kind} on {_listed(keys)}: {message}"

    def _check(self, keys: list[str], text: bytes) -> list[Result]:
        def bad(why: str) -> RecognitionBadAnswer:
            return RecognitionBadAnswer(
                f"'{self.function}' answered without {why} for {_listed(keys)}: "
                f"{text[:200].decode('utf-8', 'replace')}. Deploy both functions from one version."
            )

        try:
            answer = json.loads(text)
        except ValueError as error:
            raise bad("JSON") from error
        results = answer.get("results") if isinstance(answer, dict) else None
        if not isinstance(results, list) or "model" not in answer:
            raise bad("a model and results")
        found = {
            result.get("image_file_name"): {**result, "model": answer["model"]}
            for result in results
            if isinstance(result, dict)
            and isinstance(result.get("faces"), list)
            and isinstance(result.get("output_key"), str)
            and all(isinstance(face, dict) and "name" in face for face in result["faces"])
        }
        if len(results) != len(keys) or set(found) != set(keys):
            raise bad("exactly one result")
        return [found[key] for key in keys]


def agreed_name(
    results: Sequence[Result], unknown: str = "Unknown", nobody: str = "No face"
) -> tuple[str, int]:
    """The name most frames agree on and its votes; `unknown` or `nobody` when none is known.

    A frame votes for its largest known face; ties go to the smallest distance.
    """
    votes: dict[str, list[float]] = defaultdict(list)
    for result in results:
        known = [face for face in result["faces"] if face["name"] != unknown]
        if known:
            votes[known[0]["name"]].append(float(known[0].get("distance") or 0))
    if votes:
        name = min(votes, key=lambda name: (-len(votes[name]), min(votes[name])))
        return name, len(votes[name])
    strangers = sum(bool(result["faces"]) for result in results)
    return (unknown, strangers) if strangers else (nobody, len(results))


def _listed(keys: list[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{keys[0]} and {len(keys) - 1} more"
