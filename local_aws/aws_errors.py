"""Responses that refuse a request, in the format of the service's protocol."""

from __future__ import annotations

import json
from collections.abc import Iterable
from http import HTTPStatus
from uuid import uuid4
from wsgiref.types import StartResponse, WSGIEnvironment
from xml.sax.saxutils import escape

from local_aws.operations import model

XML = '<?xml version="1.0" encoding="UTF-8"?>\n'


def protocol(environ: WSGIEnvironment, service: str) -> str:
    """The protocol of a request: rest-xml, query, ec2, json or rest-json.

    A service may speak several; then the request's content type says which.
    """
    found = model(service)
    default = str(found.protocol) if found else "json"
    if default.startswith("rest"):
        return default
    kind = environ.get("CONTENT_TYPE", "")
    if kind.startswith("application/x-amz-json"):
        return "json"
    if kind.startswith("application/x-www-form-urlencoded"):
        return "ec2" if default == "ec2" else "query"
    return default


def refuse(
    environ: WSGIEnvironment,
    start: StartResponse,
    service: str,
    code: str,
    message: str,
    status: HTTPStatus = HTTPStatus.FORBIDDEN,
    **fields: str,
) -> Iterable[bytes]:
    """Respond with an error of the service; `fields` are added to it if it is JSON."""
    request_id = str(uuid4())
    kind = protocol(environ, service)
    headers = [("x-amzn-RequestId", request_id), ("x-amz-request-id", request_id)]
    if "json" in kind:
        named = {"__type": code, "message": message, "Message": message}
        body = json.dumps({"Type": "User", **named, **fields}).encode()
        headers += [("Content-Type", "application/json"), ("x-amzn-ErrorType", code)]
    else:
        error = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
        body = (XML + _wrapped(kind, error, request_id)).encode()
        headers.append(("Content-Type", "application/xml"))
    if environ["REQUEST_METHOD"] == "HEAD":
        body = b""
    headers.append(("Content-Length", str(len(body))))
    start(f"{status.value} {status.phrase}", headers)
    return [body]


def _wrapped(kind: str, error: str, request_id: str) -> str:
    if kind == "ec2":
        errors = f"<Errors><Error>{error}</Error></Errors>"
        return f"<Response>{errors}<RequestID>{request_id}</RequestID></Response>"
    if kind == "query":
        one = f"<Error><Type>Sender</Type>{error}</Error>"
        return f"<ErrorResponse>{one}<RequestId>{request_id}</RequestId></ErrorResponse>"
    return f"<Error>{error}<RequestId>{request_id}</RequestId></Error>"
