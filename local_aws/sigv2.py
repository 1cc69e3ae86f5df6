"""Verifies AWS Signature Version 2 of S3, in headers and in presigned URLs.

boto3 signs presigned URLs with it unless told otherwise, and S3 still accepts it in us-east-1.
https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html
"""

from __future__ import annotations

import hmac
import time
from email.utils import parsedate_to_datetime
from typing import Any, cast
from urllib.parse import urlsplit
from wsgiref.types import WSGIEnvironment

from botocore.auth import HmacV1Auth
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

from local_aws.sigv4 import (
    MAX_SKEW_S,
    MISMATCH,
    Signature,
    SignatureError,
    check_token,
    query_pairs,
    raw_target,
)

PREFIX = "AWS "


class OldSignature(Signature):
    """A request's signature of version 2. `expires` is the time in seconds since the epoch."""


class _Signer(HmacV1Auth):
    """botocore's signer, with the date that the client has signed."""

    def __init__(self, secret_key: str, date: str) -> None:
        super().__init__(Credentials("", secret_key))
        self._date = date

    def _get_date(self) -> str:
        return self._date


def read(environ: WSGIEnvironment) -> OldSignature | None:
    """The request's signature of version 2; None if it has none. Raise SignatureError."""
    header = environ.get("HTTP_AUTHORIZATION", "")
    query = dict(query_pairs(raw_target(environ)[1]))
    if header.startswith(PREFIX):
        access_key, _, value = header.removeprefix(PREFIX).partition(":")
        expires, token = None, environ.get("HTTP_X_AMZ_SECURITY_TOKEN")
        date = environ.get("HTTP_X_AMZ_DATE") or environ.get("HTTP_DATE", "")
    elif {"AWSAccessKeyId", "Signature", "Expires"} <= query.keys():
        access_key, value, date = query["AWSAccessKeyId"], query["Signature"], query["Expires"]
        token = query.get("x-amz-security-token")
        if not date.isdecimal():
            raise SignatureError("AccessDenied", f"Invalid date (should be seconds): {date}")
        expires = int(date)
    else:
        return None
    return of_s3(access_key, value, date, expires, token)


def of_s3(
    access_key: str, value: str, date: str, expires: int | None, token: str | None
) -> OldSignature:
    """A signature for S3, which is the only service that version 2 is verified for."""
    return OldSignature(access_key, "-", "us-east-1", "s3", (), value, date, expires, token)


def verify(
    environ: WSGIEnvironment, signature: OldSignature, secret_key: str, token: str | None
) -> None:
    """Raise SignatureError unless the request was signed with the secret, and in time."""
    check_token(signature, token)
    _check_time(signature)
    path, query = raw_target(environ)
    headers = HTTPHeaders()
    for variable, text in environ.items():
        name = variable.removeprefix("HTTP_").replace("_", "-").lower()
        if name.startswith("x-amz-") or name in ("content-md5", "content-type"):
            headers[name] = text
    for name, text in query_pairs(query):  # a presigned URL may have headers in its query
        if name.lower().startswith("x-amz-") and name.lower() not in headers:
            headers[name] = text
    if path.count("/") == 1 and len(path) > 1:
        path += "/"  # a bucket is signed with a slash
    date = "" if "HTTP_X_AMZ_DATE" in environ else signature.date
    signer = _Signer(secret_key, date)
    text = signer.canonical_string(
        environ["REQUEST_METHOD"], urlsplit(f"{path}?{query}"), cast("Any", headers), auth_path=path
    )
    check(signer.sign_string(text), signature)


def verify_text(text: str, signature: OldSignature, secret_key: str) -> None:
    """Raise SignatureError unless the text, a form's policy, was signed with the secret."""
    check(_Signer(secret_key, "").sign_string(text), signature)


def check(wanted: str, signature: Signature) -> None:
    """Raise SignatureError unless the signature is the wanted one."""
    if not hmac.compare_digest(wanted.encode(), signature.value.encode()):
        raise SignatureError("SignatureDoesNotMatch", MISMATCH)


def _check_time(signature: OldSignature) -> None:
    if signature.expires is not None:
        if time.time() > signature.expires:
            raise SignatureError("AccessDenied", "Request has expired")
        return
    try:
        signed = parsedate_to_datetime(signature.date).timestamp()
    except ValueError as error:
        raise SignatureError("AccessDenied", "The request has no readable date.") from error
    if abs(time.time() - signed) > MAX_SKEW_S:
        raise SignatureError(
            "RequestTimeTooSkewed", "The difference between the request time and now is too large."
        )
