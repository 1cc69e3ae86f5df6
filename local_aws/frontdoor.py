"""The WSGI application in front of moto: serves Lambda's Invoke and queues asynchronous events."""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Iterable, Iterator
from functools import partial
from http import HTTPStatus
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from local_aws.async_queue import AsyncQueue
from local_aws.aws_errors import refuse
from local_aws.control_plane import ControlPlane
from local_aws.errors import CannotDeliver, CannotStart, NotActive, Throttled, UnknownFunction
from local_aws.executor import Executor
from local_aws.function import Result
from local_aws.moto_events import PendingEvent, PendingEvents, bucket_of
from local_aws.moto_sqs import send_from_bucket

log = logging.getLogger(__name__)

INVOKE = re.compile(r"^/2015-03-31/functions/([^/]+)/invocations$")
INVOKE_ASYNC = re.compile(r"^/2014-11-13/functions/([^/]+)/invoke-async/?$")  # deprecated
INVOCATION_TYPES = ("RequestResponse", "Event", "DryRun")
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


class FrontDoor:
    """Routes Invoke to the executor or the queue, and everything else to moto."""

    def __init__(
        self,
        app: WSGIApplication,
        plane: ControlPlane,
        pending: PendingEvents,
        executor: Executor,
        queue: AsyncQueue,
    ) -> None:
        """`app` is moto; `pending` collects the events that its requests cause."""
        self._app = app
        self._plane = plane
        self._pending = pending
        self._executor = executor
        self._events = queue

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        path = environ.get("PATH_INFO", "")
        # The guard has authorized the request for the service it is signed for: use no other.
        scope = REGION.search(environ.get("HTTP_AUTHORIZATION", ""))
        if scope and path.rstrip("/") == ACCOUNT_SETTINGS:  # moto does not have this API
            return self._account_settings(start, scope[1])
        old = INVOKE_ASYNC.match(path)
        if old:
            environ["HTTP_X_AMZ_INVOCATION_TYPE"] = "Event"
        match = old or INVOKE.match(path)
        if match and scope and environ["REQUEST_METHOD"] == "POST":
            return self._invoke(environ, start, match[1], scope[1])
        self._pending.take()  # drop what an earlier request of this thread may have left
        return self._then_queue(self._app(environ, start))

    def _account_settings(self, start: StartResponse, region: str) -> Iterable[bytes]:
        limit, unreserved = self._plane.concurrency(region)
        counted = {"ConcurrentExecutions": limit, "UnreservedConcurrentExecutions": unreserved}
        body = {"AccountLimit": {**ACCOUNT_LIMIT, **counted}}
        return _answer(start, HTTPStatus.OK, json.dumps(body).encode(), {})

    def _then_queue(self, body: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the response; once it has been sent, queue the events the request caused."""
        try:
            yield from body
        finally:
            if hasattr(body, "close"):
                body.close()
            for event in self._pending.take():
                if event.arn.split(":")[2] == "sqs":
                    self._send(event)
                else:
                    self._queue(event.arn, None, event.arn.split(":")[3], event.payload)

    @staticmethod
    def _send(event: PendingEvent) -> None:
        """Send an event of S3 to a queue."""
        try:
            send_from_bucket(bucket_of(event), event.arn, event.payload.decode())
        except CannotDeliver as error:
            log.warning("an event of S3 is lost: %s", error)

    def _queue(self, name: str, qualifier: str | None, region: str, payload: bytes) -> str:
        find = partial(self._plane.spec_to_run, name, qualifier, region)
        return self._events.put(f"{region}:{name}:{qualifier}", find, payload)

    def _invoke(
        self, environ: WSGIEnvironment, start: StartResponse, name: str, region: str
    ) -> Iterable[bytes]:
        say = partial(refuse, environ, start, "lambda")
        kind = environ.get("HTTP_X_AMZ_INVOCATION_TYPE", "RequestResponse")
        if kind not in INVOCATION_TYPES:
            text = f"The InvocationType is none of {', '.join(INVOCATION_TYPES)}: {kind}"
            return say("InvalidParameterValueException", text, HTTPStatus.BAD_REQUEST)
        query = parse_qs(environ.get("QUERY_STRING", ""))
        qualifier = query["Qualifier"][0] if "Qualifier" in query else None
        limit = MAX_ASYNCHRONOUS_BYTES if kind == "Event" else MAX_SYNCHRONOUS_BYTES
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length > limit:
            text = f"{length} bytes are too many for {kind}: at most {limit}"
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            return say("RequestTooLargeException", text, status)
        payload = environ["wsgi.input"].read(length) or b"{}"
        try:
            json.loads(payload)
        except ValueError as error:
            text = f"Could not parse request body into json: {error}"
            return say("InvalidRequestContentException", text, HTTPStatus.BAD_REQUEST)
        try:
            if kind != "RequestResponse":
                self._plane.spec(name, qualifier, region)  # refuse an unknown function at once
            if kind == "DryRun":
                return _answer(start, HTTPStatus.NO_CONTENT, b"", {})
            if kind == "Event":
                request_id = self._queue(name, qualifier, region, payload)
                return _answer(start, HTTPStatus.ACCEPTED, b"", {"x-amzn-RequestId": request_id})
            spec = self._plane.spec_to_run(name, qualifier, region)
            result = self._executor.invoke(spec, payload)
        except UnknownFunction as error:
            return say("ResourceNotFoundException", str(error), HTTPStatus.NOT_FOUND)
        except Throttled as error:
            status = HTTPStatus.TOO_MANY_REQUESTS
            return say("TooManyRequestsException", str(error), status, Reason=error.reason)
        except NotActive as error:
            return say("ResourceConflictException", str(error), HTTPStatus.CONFLICT)
        except CannotStart as error:
            log.warning("%s cannot start: %s", name, error)
            return say("InvalidRuntimeException", str(error), HTTPStatus.BAD_GATEWAY)
        return _result(start, result, environ.get("HTTP_X_AMZ_LOG_TYPE") == "Tail")


def _result(start: StartResponse, result: Result, with_tail: bool) -> Iterable[bytes]:
    headers = {
        "Content-Type": "application/json",
        "x-amzn-RequestId": result.request_id,
        "X-Amz-Executed-Version": result.version,
    }
    if result.function_error:
        headers["X-Amz-Function-Error"] = result.function_error
    if with_tail:
        headers["X-Amz-Log-Result"] = base64.b64encode(result.log_tail).decode()
    return _answer(start, HTTPStatus.OK, result.payload, headers)


def _answer(
    start: StartResponse, status: HTTPStatus, body: bytes, headers: dict[str, str]
) -> Iterable[bytes]:
    lines = [*headers.items(), ("Content-Length", str(len(body)))]
    start(f"{status.value} {status.phrase}", lines)
    return [body]
