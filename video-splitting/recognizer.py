"""Call the recognizer synchronously: client settings, retries, errors and checks of the answer.

The splitter pays for the time it waits, so a slow call is never made twice: the client waits longer
than the recognizer may run, and botocore does not retry. Only a call that has not started any work
is tried again: a throttled one (429), one to a function that Lambda let go while it was idle and is
preparing again (409), and one that Lambda itself failed (5xx) or that did not reach it.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypedDict, cast

from agreement import Face
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError
from step_log import correlation_id

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

READ_MARGIN_S = 5
RETRY_BASE_S = 0.2
RETRY_CAP_S = 10.0
# Calls that Lambda fails are tried this often within 3 s. An outage that lasts longer is left to
# the event's retries, minutes later.
OUTAGE_ATTEMPTS = 5
# Lambda answers 5xx as well if the recognizer is set up wrong; trying again does not help then.
SET_UP_WRONG = ("Invalid", "KMS", "EC2AccessDenied")
# What an answer depends on besides the frame; an output's metadata has the same names.
SETTINGS = ("model", "gallery", "threshold", "selection")
RESULT_FIELDS = {
    "image_file_name": str,
    "output_key": str,
    "source_etag": str,
    "frame_etag": str,
    "written": bool,
    "faces": list,
}


class RecognitionError(Exception):
    """The faces of a frame were not named."""


class RecognitionFailed(RecognitionError):
    """The recognizer raised an error; the message has its type and text."""


class RecognitionThrottled(RecognitionError):
    """The recognizer had no free environment within the time left."""


class RecognitionPending(RecognitionError):
    """The recognizer had been let go while it was idle, and was not ready within the time left."""


class RecognitionUnavailable(RecognitionError):
    """Lambda failed to start the recognizer, or could not be reached, several times in a row."""


class RecognitionBadAnswer(RecognitionError):
    """The recognizer did not answer with one result for each frame."""


class RecognitionSettingsChanged(RecognitionError):
    """The recognizer's gallery or settings changed between two calls for one video."""


class Result(TypedDict):
    """The recognizer's result for one frame; its faces come largest first.

    `written` says that the output object has this very frame's answer.
    """

    image_file_name: str
    output_key: str
    source_etag: str
    frame_etag: str
    written: bool
    faces: list[Face]


@dataclass(frozen=True)
class Answer:
    """The recognizer's settings, as in an output's metadata, and one result per frame.

    Without results, `unchanged` is true: the settings are those that were asked about. `slot_s` is
    how long calls waited because no environment was free (429).
    """

    settings: dict[str, str]
    results: list[Result]
    unchanged: bool = False
    slot_s: float = 0.0


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

    def recognize_one(
        self, bucket: str, key: str, write: str, remaining_s: Callable[[], float]
    ) -> Answer:
        """The faces of one frame; `write` says when its output is written: "always" or "known"."""
        payload: dict[str, Any] = {"bucket_name": bucket, "image_file_name": key}
        if write != "always":
            payload["write"] = write
        return self._call(payload, [key], remaining_s)

    def recognize_all(
        self,
        bucket: str,
        keys: Sequence[str],
        remaining_s: Callable[[], float],
        unchanged: Mapping[str, str] | None = None,
    ) -> Answer:
        """All faces of each of `keys`, in the same order.

        Batches go to one environment in turn, and to several at once only as far as time demands:
        see `lanes`. No output is written. With `unchanged`, the settings that an answer was made
        with, nothing is computed if they are still the recognizer's. Tries every batch, then raises
        the first error, if any; raises RecognitionSettingsChanged if batches were answered
        differently.
        """
        size = self.frames_per_invoke
        batches = [list(keys[at : at + size]) for at in range(0, len(keys), size)]
        asked = {"unchanged": dict(unchanged)} if unchanged else {}
        with ThreadPoolExecutor(max_workers=self.lanes(len(batches), remaining_s())) as pool:
            calls = [
                pool.submit(
                    self._call,
                    {"bucket_name": bucket, "image_file_names": batch, **asked},
                    batch,
                    remaining_s,
                )
                for batch in batches
            ]
        answers = [call.result() for call in calls]
        self.check_same_settings(answers)
        results = [result for answer in answers for result in answer.results]
        slot_s = sum(answer.slot_s for answer in answers)
        return Answer(answers[0].settings, results, answers[0].unchanged, slot_s)

    def lanes(self, batches: int, remaining_s: float) -> int:
        """How many environments are called at once for so many batches.

        A second environment is most likely a cold one: loading costs more than the frames of a
        batch. So batches wait for their turn as long as all would end in time even if each took the
        recognizer's whole timeout. `concurrency` is the most.
        """
        in_turn = max(1, int(remaining_s / (self.timeout_s + READ_MARGIN_S)))
        return min(self.concurrency, -(-batches // in_turn))

    def check_same_settings(self, answers: Sequence[Answer]) -> None:
        """Raise RecognitionSettingsChanged unless all answers were made with the same settings."""
        first = answers[0]
        if any((a.settings, a.unchanged) != (first.settings, first.unchanged) for a in answers):
            raise RecognitionSettingsChanged(
                f"'{self.function}' got another gallery or other settings while the video's frames "
                "were recognized. A retry uses the new ones for all of them."
            )

    def _call(
        self, payload: dict[str, Any], keys: list[str], remaining_s: Callable[[], float]
    ) -> Answer:
        if shared := correlation_id():
            payload = {**payload, "correlation_id": shared}
        text, is_error, slot_s = self._invoke(json.dumps(payload).encode(), remaining_s)
        if is_error:
            raise self._failure(keys, text)
        return replace(self._parse(keys, text, "unchanged" in payload), slot_s=slot_s)

    def _invoke(
        self, payload: bytes, remaining_s: Callable[[], float]
    ) -> tuple[bytes, bool, float]:
        """The answer to `payload`, whether it describes an error, and seconds of waiting on 429."""
        attempt, outages, slot_s = 0, 0, 0.0
        while True:
            try:
                answer = self.client.invoke(
                    FunctionName=self.function,
                    InvocationType="RequestResponse",
                    Payload=payload,
                )
            except (ClientError, ConnectTimeoutError, EndpointConnectionError) as error:
                kind = _kind_of_refusal(error)
                if kind is None:
                    raise
                attempt += 1
                outages += kind is RecognitionUnavailable
                # Full jitter: many splitters are throttled together and must not retry together.
                pause = random.uniform(0, min(RETRY_CAP_S, RETRY_BASE_S * 2 ** (attempt - 1)))  # noqa: S311
                is_over = remaining_s() - pause < self.timeout_s + READ_MARGIN_S
                if is_over or outages == OUTAGE_ATTEMPTS:
                    raise self._given_up(kind, attempt, error) from error
                self.sleep(pause)
                slot_s += pause * (kind is RecognitionThrottled)
            else:
                return answer["Payload"].read(), "FunctionError" in answer, slot_s

    def _given_up(
        self, kind: type[RecognitionError], attempts: int, error: Exception
    ) -> RecognitionError:
        """What the calls have waited for without success."""
        if kind is RecognitionThrottled:
            return kind(
                f"'{self.function}' was throttled {attempts} times (429), and no time is left for "
                "another attempt. Raise the account's concurrency or lower the splitter's."
            )
        if kind is RecognitionPending:
            return kind(
                f"'{self.function}' was not ready {attempts} times (409), and no time is left to "
                "wait until Lambda has prepared it. Lambda lets a function go that has long been "
                f"idle; the event's retry will find it ready. Lambda said: {error}"
            )
        return kind(
            f"Lambda could not start '{self.function}' in {attempts} attempts: {error}. The "
            "event's retries try as often. If they fail too, send it again: deploy/failures.py."
        )

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

    def _parse(self, keys: list[str], text: bytes, may_be_unchanged: bool) -> Answer:
        try:
            answer = json.loads(text)
        except ValueError as error:
            raise self._bad_answer(keys, text, "JSON") from error
        if not isinstance(answer, dict):
            answer = {}
        settings = {name: answer[name] for name in SETTINGS if isinstance(answer.get(name), str)}
        if len(settings) != len(SETTINGS) or not _is_number(settings["threshold"]):
            raise self._bad_answer(keys, text, f"its {', '.join(SETTINGS)}")
        results = answer.get("results")
        if may_be_unchanged and answer.get("unchanged") is True and results == []:
            return Answer(settings, [], unchanged=True)
        if not isinstance(results, list):
            raise self._bad_answer(keys, text, "results")
        found = {
            result["image_file_name"]: cast("Result", result)
            for result in results
            if isinstance(result, dict)
            and all(isinstance(result.get(name), kind) for name, kind in RESULT_FIELDS.items())
            and all(map(_is_face, result["faces"]))
        }
        if len(results) != len(keys) or set(found) != set(keys):
            raise self._bad_answer(keys, text, "exactly one result")
        return Answer(settings, [found[key] for key in keys])

    def _bad_answer(self, keys: list[str], text: bytes, missing: str) -> RecognitionBadAnswer:
        return RecognitionBadAnswer(
            f"'{self.function}' answered without {missing} for {_listed(keys)}: "
            f"{text[:200].decode('utf-8', 'replace')}. Deploy both functions from one version."
        )


def _kind_of_refusal(error: Exception) -> type[RecognitionError] | None:
    """What a call that ran nothing has waited for; None if another attempt does not help."""
    if not isinstance(error, ClientError):
        return RecognitionUnavailable
    code = error.response["Error"]["Code"]
    if code == "TooManyRequestsException":
        return RecognitionThrottled
    if code == "ResourceConflictException":
        return RecognitionPending
    is_outage = error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500
    is_lasting = code.startswith(SET_UP_WRONG)
    return RecognitionUnavailable if is_outage and not is_lasting else None


def _is_face(face: Any) -> bool:
    return (
        isinstance(face, dict)
        and isinstance(face.get("name"), str)
        and isinstance(face.get("distance"), (int, float))
    )


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d+)?", text) is not None


def _listed(keys: list[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{keys[0]} and {len(keys) - 1} more"
