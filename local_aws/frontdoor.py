"""The WSGI door in front of moto: serves Lambda's Invoke itself, and queues events afterwards."""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

from local_aws.async_queue import AsyncQueue
from local_aws.control_plane import ControlPlane
from local_aws.executor import Executor
from local_aws.function import CannotStart, FunctionSpec, Result, Throttled, UnknownFunction

log = logging.getLogger(__name__)

INVOKE = re.compile(r"^/2015-03-31/functions/([^/]+)/invocations$")
REGION = re.compile(r"Credential=[^/]+/\d{8}/([a-z0-9-]+)/lambda/")
ACCOUNT_SETTINGS = "/2016-08-19/account-settings"
ACCOUNT_LIMIT = {
    "CodeSizeUnzipped": 262_144_000,
    "CodeSizeZipped": 52_428_800,
    "TotalCodeSize": 80_530_636_800,
}

# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_SYNCHRONOUS_BYTES = 6_291_456
MAX_ASYNCHRONOUS_BYTES = 1_048_576

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class FrontDoor:
    """Routes Invoke to the executor or the queue and everything else to moto."""

    def __init__(
        self, app: Wsgi, plane: ControlPlane, executor: Executor, events: AsyncQueue
    ) -> None:
        """`app` is moto's."""
        self._app = app
        self._plane = plane
        self._executor = executor
        self._events = events

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Serve one request."""
        path = environ.get("PATH_INFO", "")
        # The guard judges a request by the service that it is signed for.
        scope = REGION.search(environ.get("HTTP_AUTHORIZATION", ""))
        if scope and path.rstrip("/") == ACCOUNT_SETTINGS:  # moto has none
            limit, unreserved = self._plane.concurrency(scope[1])
            counted = {"ConcurrentExecutions": limit, "UnreservedConcurrentExecutions": unreserved}
            body = {"AccountLimit": {**ACCOUNT_LIMIT, **counted}}
            return _answer(start, 200, json.dumps(body).encode(), {})
        match = INVOKE.match(path)
        if match and scope and environ["REQUEST_METHOD"] == "POST":
            return self._invoke(environ, start, match[1], scope[1])
        self._plane.take_events()  # whatever an earlier request of this thread left
        return self._then_queue(self._app(environ, start))

    def _then_queue(self, body: Iterable[bytes]) -> Iterator[bytes]:
        """The response as it is; when it has been sent, the events that the request caused."""
        try:
            yield from body
        finally:
            if hasattr(body, "close"):
                body.close()
            for event in self._plane.take_events():
                self._queue(event.arn, None, event.arn.split(":")[3], event.payload)

    def _queue(self, name: str, qualifier: str | None, region: str, payload: bytes) -> str:
        def find() -> FunctionSpec:
            return self._plane.spec(name, qualifier, region)

        return self._events.put(f"{region}:{name}:{qualifier}", find, payload)

    def _invoke(
        self, environ: dict[str, Any], start: Callable[..., Any], name: str, region: str
    ) -> Iterable[bytes]:
        kind = environ.get("HTTP_X_AMZ_INVOCATION_TYPE", "RequestResponse")
        qualifier = parse_qs(environ.get("QUERY_STRING", "")).get("Qualifier", [None])[0]
        limit = MAX_ASYNCHRONOUS_BYTES if kind == "Event" else MAX_SYNCHRONOUS_BYTES
        length = int(environ.get("CONTENT_LENGTH") or 0)
        payload = environ["wsgi.input"].read(length) if length <= limit else b""
        if length > limit:
            text = f"{length} bytes are too many for {kind}: at most {limit}"
            return _refuse(start, 413, "RequestTooLargeException", text)
        try:
            json.loads(payload or b"{}")
        except ValueError as error:
            text = f"Could not parse request body into json: {error}"
            return _refuse(start, 400, "InvalidRequestContentException", text)
        try:
            spec = self._plane.spec(name, qualifier, region)
            if kind == "DryRun":
                return _answer(start, 204, b"", {})
            if kind == "Event":
                request_id = self._queue(name, qualifier, region, payload or b"{}")
                return _answer(start, 202, b"", {"x-amzn-RequestId": request_id})
            result = self._executor.invoke(spec, payload or b"{}")
        except UnknownFunction as error:
            return _refuse(start, 404, "ResourceNotFoundException", str(error))
        except Throttled as error:
            return _refuse(start, 429, "TooManyRequestsException", str(error))
        except CannotStart as error:
            log.warning("%s cannot start: %s", name, error)
            return _refuse(start, 502, "InvalidRuntimeException", str(error))
        return _result(start, result, environ.get("HTTP_X_AMZ_LOG_TYPE") == "Tail")


def _result(start: Callable[..., Any], result: Result, with_tail: bool) -> Iterable[bytes]:
    headers = {
        "Content-Type": "application/json",
        "x-amzn-RequestId": result.request_id,
        "X-Amz-Executed-Version": result.version,
    }
    if result.function_error:
        headers["X-Amz-Function-Error"] = result.function_error
    if with_tail:
        headers["X-Amz-Log-Result"] = base64.b64encode(result.log_tail).decode()
    return _answer(start, 200, result.payload, headers)


def _refuse(start: Callable[..., Any], status: int, kind: str, message: str) -> Iterable[bytes]:
    body = json.dumps({"Type": "User", "message": message, "Message": message}).encode()
    headers = {
        "Content-Type": "application/json",
        "x-amzn-ErrorType": kind,
        "x-amzn-RequestId": str(uuid4()),
    }
    return _answer(start, status, body, headers)


REASONS = {
    200: "OK",
    202: "Accepted",
    204: "No Content",
    400: "Bad Request",
    404: "Not Found",
    413: "Request Entity Too Large",
    429: "Too Many Requests",
    502: "Bad Gateway",
}


def _answer(
    start: Callable[..., Any], status: int, body: bytes, headers: dict[str, str]
) -> Iterable[bytes]:
    start(f"{status} {REASONS[status]}", [*headers.items(), ("Content-Length", str(len(body)))])
    return [body]
