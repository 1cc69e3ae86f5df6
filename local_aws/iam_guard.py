"""The WSGI guard: who asks, and may they? Answers as AWS does when they may not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4
from xml.sax.saxutils import escape

from local_aws.iam_policy import Request, is_allowed
from local_aws.iam_requests import TLS, meant_for_lambda, needed
from local_aws.sigv4 import Signature, SignatureError, header, raw_target, read, verify

MOTO_API = "/moto-api"  # resets everything, whatever service a request is signed for

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass(frozen=True)
class Principal:
    """Who an access key belongs to. `policies` None: an administrator, who may do everything."""

    arn: str
    secret_key: str
    session_token: str | None
    policies: list[dict[str, Any]] | None


class Guard:
    """Authenticates every request and authorizes it at resource level."""

    def __init__(
        self, app: Wsgi, principals: Callable[[str], Principal | None], account_id: str
    ) -> None:
        """`principals` finds who an access key belongs to, with the policies in force now."""
        self._app = app
        self._principals = principals
        self._account_id = account_id

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Pass the request on, or answer it with a refusal."""
        signature = None
        try:
            signature = read(environ)
            if signature is None:
                raise SignatureError("AccessDenied", "Anonymous requests are refused here.")
            principal = self._principals(signature.access_key)
            if principal is None:
                raise SignatureError(
                    _unknown_key(signature.service),
                    "The AWS Access Key Id you provided does not exist in our records.",
                )
            verify(environ, signature, principal.secret_key, principal.session_token)
            if meant_for_lambda(environ, signature) and signature.service != "lambda":
                signature = replace(signature, service="lambda")  # who refuses it
                raise SignatureError(
                    "InvalidSignatureException",
                    "Credential should be scoped to correct service: 'lambda'.",
                )
        except SignatureError as error:
            return _refuse(environ, start, signature, error.code, str(error))
        # What follows routes by this header: by the service that is judged here, and by no other.
        environ["HTTP_AUTHORIZATION"] = header(signature)
        if principal.policies is None:
            return self._app(environ, start)
        if environ.get("PATH_INFO", "").startswith(MOTO_API):
            return _refuse(environ, start, signature, "AccessDenied", "This is no part of AWS.")
        # A host's name could name a bucket, which the path does not.
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
    def _may_list(environ: dict[str, Any], policies: list[dict[str, Any]]) -> bool:
        bucket = raw_target(environ)[0].lstrip("/").split("/")[0]
        return is_allowed(policies, Request("s3:ListBucket", f"arn:aws:s3:::{bucket}", TLS))

    def _hide_missing(
        self, environ: dict[str, Any], start: Callable[..., Any], signature: Signature
    ) -> Iterable[bytes]:
        """S3 tells who may not list a bucket 403 for what is not there, not 404."""
        answered: list[Any] = []

        def begin(status: str, headers: list[tuple[str, str]], error: Any = None) -> Any:
            answered.append(status)
            return start(status, headers, error) if not status.startswith("404") else lambda _: None

        body = self._app(environ, begin)
        if not answered:  # an application may begin when its body is first asked for
            iterator = iter(body)
            first = next(iterator, b"")
            if not answered[0].startswith("404"):
                return _chain(first, iterator, body)
        if answered[0].startswith("404"):
            if hasattr(body, "close"):
                body.close()
            return _refuse(environ, start, signature, "AccessDenied", "Access Denied")
        return body


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


QUERY = ("iam", "sts")  # services that answer in the query protocol's XML


def _is_xml(signature: Signature | None) -> bool:
    return signature is None or signature.service in ("s3", *QUERY)


def _refuse(
    environ: dict[str, Any],
    start: Callable[..., Any],
    signature: Signature | None,
    code: str,
    message: str,
) -> Iterable[bytes]:
    """403 in the form of the service's protocol."""
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
    # What is left of the request's body would be taken for the next request.
    headers += [("Content-Length", str(len(body))), ("Connection", "close")]
    start("403 Forbidden", headers)
    return [body]
