"""The WSGI guard: authenticates and authorizes requests, and refuses them as AWS does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from local_aws import sigv2, sigv4
from local_aws.aws_errors import protocol, refuse
from local_aws.iam_policy import Request, is_allowed
from local_aws.iam_requests import TLS, meant_for_lambda, needed
from local_aws.post_form import PostForm, is_form
from local_aws.sigv4 import Signature, SignatureError, raw_target

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
        if is_form(environ):
            return self._serve_form(environ, start)
        signature = None
        try:
            signature = _signed(sigv4.read(environ) or sigv2.read(environ))
            principal = self._principal(environ, signature)
            if isinstance(signature, sigv2.OldSignature):
                sigv2.verify(environ, signature, principal.secret_key, principal.session_token)
            else:
                sigv4.verify(environ, signature, principal.secret_key, principal.session_token)
            if meant_for_lambda(environ, signature) and signature.service != "lambda":
                signature = replace(signature, service="lambda")  # whose error format applies
                raise SignatureError(
                    "InvalidSignatureException",
                    "Credential should be scoped to correct service: 'lambda'.",
                )
        except SignatureError as error:
            return _refuse(environ, start, signature, error)
        return self._serve(environ, start, signature, principal)

    def _principal(self, environ: WSGIEnvironment, signature: Signature) -> Principal:
        """Who claims to have signed the request; raise SignatureError if the key is unknown."""
        principal = self._principals(signature.access_key)
        if principal is None:
            raise SignatureError(
                _unknown_key(environ, signature.service),
                "The AWS Access Key Id you provided does not exist in our records.",
            )
        return principal

    def _serve_form(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        """Serve an upload to S3 from a form whose policy its signer may grant."""
        signature = None
        try:
            form = PostForm(environ)
            signature = _signed(form.signature())
            principal = self._principal(environ, signature)
            form.verify(signature, principal.secret_key, principal.session_token)
        except SignatureError as error:
            return _refuse(environ, start, signature, error)

        def serve(put: WSGIEnvironment, begin: StartResponse) -> Iterable[bytes]:
            return self._serve(put, begin, signature, principal)

        return form.serve(serve, start)

    def _serve(
        self,
        environ: WSGIEnvironment,
        start: StartResponse,
        signature: Signature,
        principal: Principal,
    ) -> Iterable[bytes]:
        """Pass an authenticated request on if the principal may make it."""
        # moto routes by this header: it must name only the service that is authorized here.
        environ["HTTP_AUTHORIZATION"] = sigv4.header(signature)
        if principal.policies is None:
            return self._app(environ, start)
        service = signature.service
        if environ.get("PATH_INFO", "").startswith(MOTO_API):
            return refuse(environ, start, service, "AccessDenied", "Not part of AWS.")
        # The host name could name another bucket than the path.
        environ["HTTP_HOST"] = f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
        for request in needed(environ, signature, self._account_id):
            if not is_allowed(principal.policies, request):
                text = (
                    f"User: {principal.arn} is not authorized to perform: {request.action} on "
                    f"resource: {request.resource} because no identity-based policy allows the "
                    f"{request.action} action"
                )
                is_json = "json" in protocol(environ, service)
                code = "AccessDeniedException" if is_json else "AccessDenied"
                return refuse(environ, start, service, code, text)
        if service == "s3" and not self._may_list(environ, principal.policies):
            return self._hide_missing(environ, start)
        return self._app(environ, start)

    @staticmethod
    def _may_list(environ: WSGIEnvironment, policies: list[dict[str, Any]]) -> bool:
        bucket = raw_target(environ)[0].lstrip("/").split("/")[0]
        return is_allowed(policies, Request("s3:ListBucket", f"arn:aws:s3:::{bucket}", TLS))

    def _hide_missing(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
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
            return refuse(environ, start, "s3", "AccessDenied", "Access Denied")
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


def _signed(signature: Signature | None) -> Signature:
    if signature is None:
        raise SignatureError("AccessDenied", "Anonymous requests are not allowed.")
    return signature


def _refuse(
    environ: WSGIEnvironment,
    start: StartResponse,
    signature: Signature | None,
    error: SignatureError,
) -> Iterable[bytes]:
    service = signature.service if signature else "s3"
    return refuse(environ, start, service, error.code, str(error), error.status)


def _unknown_key(environ: WSGIEnvironment, service: str) -> str:
    if service == "s3":
        return "InvalidAccessKeyId"
    is_query = protocol(environ, service) == "query"
    return "InvalidClientTokenId" if is_query else "UnrecognizedClientException"
