"""The WSGI guard: authenticates and authorizes requests, and refuses them as AWS does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from xml.sax.saxutils import escape

from local_aws.iam_policy import Request, is_allowed
from local_aws.iam_requests import TLS, meant_for_lambda, needed
from local_aws.sigv4 import Signature, SignatureError, header, raw_target, read, verify

MOTO_API = "/moto-api"  # can reset everything, whatever service a request is signed for
NOT_FOUND = "404"


@dataclass(frozen=True)
class Principal:
    """The owner of an access key. If `policies` is None, it is an administrator."""

    arn: str
    secret_key: str
    session_token: str | None
    policies: list[dict[str, Any]] | None


class Guard:
    """Authenticates every request and authorizes it for each resource."""

    def __init__(
        self, app: WSGIApplication, principals: Callable[[str], Principal | None], account_id: str
    ) -> None:
        """`principals` finds the owner of an access key, with its current policies."""
        self._app = app
        self._principals = principals
        self._account_id = account_id

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """Pass the request on, or refuse it."""
        signature = None
        try:
            signature = read(environ)
            if signature is None:
                raise SignatureError("AccessDenied", "Anonymous requests are not allowed.")
            principal = self._principals(signature.access_key)
            if principal is None:
                raise SignatureError(
                    _unknown_key(signature.service),
                    "The AWS Access Key Id you provided does not exist in our records.",
                )
            verify(environ, signature, principal.secret_key, principal.session_token)
            if meant_for_lambda(environ, signature) and signature.service != "lambda":
                signature = replace(signature, service="lambda")  # whose error format applies
                raise SignatureError(
                    "InvalidSignatureException",
                    "Credential should be scoped to correct service: 'lambda'.",
                )
        except SignatureError as error:
            return _refuse(environ, start, signature, error.code, str(error))
        # moto routes by this header: it must name only the service that is authorized here.
        environ["HTTP_AUTHORIZATION"] = header(signature)
        if principal.policies is None:
            return self._app(environ, start)
        if environ.get("PATH_INFO", "").startswith(MOTO_API):
            return _refuse(environ, start, signature, "AccessDenied", "Not part of AWS.")
        # The host name could name another bucket than the path.
        environ["HTTP_HOST"] = f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
        for request in needed(environ, signature, self._account_id):
            if not is_allowed(principal.policies, request):
                text = (
                    f"User: {principal.arn} is not authorized to perform: {request.action} on "
                    f"resource: {request.resource} because no identity-based policy allows the "
                    f"{request.action} action"
                )
                code = "AccessDenied" if _is_xml(signature) else "AccessDeniedException"
                return _refuse(environ, start, signature, code, text)
        if signature.service == "s3" and not self._may_list(environ, principal.policies):
            return self._hide_missing(environ, start, signature)
        return self._app(environ, start)

    @staticmethod
    def _may_list(environ: WSGIEnvironment, policies: list[dict[str, Any]]) -> bool:
        bucket = raw_target(environ)[0].lstrip("/").split("/")[0]
        return is_allowed(policies, Request("s3:ListBucket", f"arn:aws:s3:::{bucket}", TLS))

    def _hide_missing(
        self, environ: WSGIEnvironment, start: StartResponse, signature: Signature
    ) -> Iterable[bytes]:
        """Answer 403 instead of 404, as S3 does if the caller may not list the bucket."""
        statuses: list[str] = []

        def begin(
            status: str, headers: list[tuple[str, str]], error: Any = None, /
        ) -> Callable[[bytes], object]:
            statuses.append(status)
            return _ignore if status.startswith(NOT_FOUND) else start(status, headers, error)

        body = self._app(environ, begin)
        if not statuses:  # an application may call `begin` only when its body is read
            iterator = iter(body)
            first = next(iterator, b"")
            if not statuses[0].startswith(NOT_FOUND):
                return _chain(first, iterator, body)
        if statuses[0].startswith(NOT_FOUND):
            if hasattr(body, "close"):
                body.close()
            return _refuse(environ, start, signature, "AccessDenied", "Access Denied")
        return body


def _ignore(_: bytes) -> None:
    """Write nothing: the response is replaced."""


def _chain(first: bytes, rest: Iterable[bytes], body: Any) -> Iterable[bytes]:
    try:
        yield first
        yield from rest
    finally:
        if hasattr(body, "close"):
            body.close()


def _unknown_key(service: str) -> str:
    if service == "s3":
        return "InvalidAccessKeyId"
    return "InvalidClientTokenId" if service in QUERY else "UnrecognizedClientException"


QUERY = ("iam", "sns", "sts")  # services that respond in the query protocol's XML


def _is_xml(signature: Signature | None) -> bool:
    return signature is None or signature.service in ("s3", *QUERY)


def _refuse(
    environ: WSGIEnvironment,
    start: StartResponse,
    signature: Signature | None,
    code: str,
    message: str,
) -> Iterable[bytes]:
    """Respond 403 in the format of the service's protocol."""
    request_id = str(uuid4())
    headers = [("x-amzn-RequestId", request_id), ("x-amz-request-id", request_id)]
    if not _is_xml(signature):
        body = json.dumps({"__type": code, "message": message, "Message": message}).encode()
        headers += [("Content-Type", "application/json"), ("x-amzn-ErrorType", code)]
    else:
        error = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
        if signature is not None and signature.service in QUERY:
            text = (
                f"<ErrorResponse><Error><Type>Sender</Type>{error}</Error>"
                f"<RequestId>{request_id}</RequestId></ErrorResponse>"
            )
        else:
            text = f"<Error>{error}<RequestId>{request_id}</RequestId></Error>"
        body = f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()
        headers.append(("Content-Type", "application/xml"))
    if environ["REQUEST_METHOD"] == "HEAD":
        body = b""
    headers.append(("Content-Length", str(len(body))))
    start("403 Forbidden", headers)
    return [body]
