"""Uploads to S3 from an HTML form: verifies the policy and turns the form into a PUT.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import os
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from http import HTTPStatus
from typing import IO, Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from xml.sax.saxutils import escape

from moto.core.request import PRESERVED_HEADER_NAMES_ENVIRON_KEY, environ_key_for_header
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header

from local_aws import sigv2, sigv4
from local_aws.sigv4 import Signature, SignatureError, query_pairs, raw_target

IS_FORM = "local_aws.form"  # marks the PUT that a form became
MAX_FIELDS_BYTES = 20_000  # https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html
SIGNING = ("x-amz-signature", "signature", "policy")
UNCHECKED = (*SIGNING, "file", "awsaccesskeyid")
IGNORED = "x-ignore-"
HEADERS = ("cache-control", "content-disposition", "content-encoding", "expires")
NOT_OBJECTS = ("x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-security-token")


class FormError(SignatureError):
    """The form is malformed or breaks its policy."""

    def __init__(
        self, code: str, message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST
    ) -> None:
        """`code`, `message` and `status` are those of S3."""
        super().__init__(code, message, status)


def is_form(environ: WSGIEnvironment) -> bool:
    """Whether the request is a form that uploads an object to a bucket."""
    kind = str(environ.get("CONTENT_TYPE", ""))
    return environ["REQUEST_METHOD"] == "POST" and kind.startswith("multipart/form-data")


class PostForm:
    """A form with a file. Its fields' names are in lower case."""

    def __init__(self, environ: WSGIEnvironment) -> None:
        """Read the form; raise FormError if it is malformed."""
        path, query = raw_target(environ)
        self.bucket, _, key = unquote(path).lstrip("/").partition("/")
        if key or not self.bucket or query_pairs(query):
            raise FormError("MethodNotAllowed", "A form is sent to a bucket.")
        self._environ = environ
        self.fields, self._file, file_name = _parse(environ)
        if "key" not in self.fields:
            raise FormError(
                "InvalidArgument",
                "Bucket POST must contain a field named 'key'. If it is specified, please check "
                "the order of the fields.",
            )
        if "tagging" in self.fields:
            raise FormError(
                "NotImplemented",
                "The local AWS does not have the form's field tagging.",
                HTTPStatus.NOT_IMPLEMENTED,
            )
        self.fields["key"] = self.fields["key"].replace("${filename}", file_name)
        self._size = self._file.seek(0, os.SEEK_END)
        self._file.seek(0)

    def signature(self) -> Signature | None:
        """Who has signed the policy; None if nobody has. Raise SignatureError if malformed."""
        fields = self.fields
        token = fields.get("x-amz-security-token")
        if "policy" not in fields:
            return None
        if "x-amz-algorithm" in fields:
            credential, date = fields.get("x-amz-credential", ""), fields.get("x-amz-date", "")
            value = fields.get("x-amz-signature", "")
            return sigv4.scoped(credential, (), value, date, None, token)
        if "awsaccesskeyid" in fields:
            value = fields.get("signature", "")
            return sigv2.of_s3(fields["awsaccesskeyid"], value, "", None, token)
        return None

    def verify(self, signature: Signature, secret_key: str, token: str | None) -> None:
        """Raise SignatureError unless the policy was signed with the secret and allows the form."""
        sigv4.check_token(signature, token)
        if isinstance(signature, sigv2.OldSignature):
            sigv2.verify_text(self.fields["policy"], signature, secret_key)
        else:
            sigv4.verify_text(self.fields["policy"], signature, secret_key)
        check_policy(self.fields["policy"], {**self.fields, "bucket": self.bucket}, self._size)

    def serve(self, app: WSGIApplication, start: StartResponse) -> Iterable[bytes]:
        """Let `app` serve the form as a PUT, and answer as S3 answers a form."""
        begun: list[tuple[str, list[tuple[str, str]]]] = []

        def begin(
            status: str, headers: list[tuple[str, str]], error: Any = None, /
        ) -> Callable[[bytes], object]:
            begun.append((status, headers))
            return lambda _: None

        parts = app(self._as_put(), begin)
        body = b"".join(parts)
        if hasattr(parts, "close"):
            parts.close()
        status, headers = begun[-1]
        if status.startswith("200"):
            status, body, more = self._success({k.lower(): v for k, v in headers}["etag"])
            kept = [(k, v) for k, v in headers if k.lower() not in ("content-length", *more)]
            headers = [*kept, *more.items(), ("content-length", str(len(body)))]
        start(status, headers)
        return [body]

    def _as_put(self) -> WSGIEnvironment:
        """The request that uploads the same object without a form."""
        key = self.fields["key"]
        path = f"/{quote(self.bucket)}/{quote(key, safe='/' + sigv4.UNRESERVED)}"
        put = {
            name: value
            for name, value in self._environ.items()
            if not name.startswith(("HTTP_X_AMZ_", "HTTP_CONTENT_", "HTTP_TRANSFER_"))
        }
        put.pop("wsgi.input_terminated", None)
        names = [n for n in self.fields if n.startswith("x-amz-") and n not in NOT_OBJECTS]
        named = {name: self.fields[name] for name in (*HEADERS, *names) if name in self.fields}
        if "acl" in self.fields:
            named["x-amz-acl"] = self.fields["acl"]
        put.update(
            {environ_key_for_header(n): v.encode().decode("latin-1") for n, v in named.items()}
        )
        return {
            **put,
            IS_FORM: True,
            PRESERVED_HEADER_NAMES_ENVIRON_KEY: {
                environ_key_for_header(name): name for name in named if "_" in name
            },
            "REQUEST_METHOD": "PUT",
            "PATH_INFO": f"/{self.bucket}/{key}".encode().decode("latin-1"),
            "RAW_URI": path,
            "REQUEST_URI": path,
            "QUERY_STRING": "",
            "CONTENT_TYPE": self.fields.get("content-type", "binary/octet-stream"),
            "CONTENT_LENGTH": str(self._size),
            "wsgi.input": self._file,
        }

    def _success(self, etag: str) -> tuple[str, bytes, dict[str, str]]:
        """Status, body and headers of the answer that the form asks for."""
        place = f"{self._environ['wsgi.url_scheme']}://{self._environ['HTTP_HOST']}"
        location = f"{place}/{self.bucket}/{quote(self.fields['key'], safe='')}"
        redirect = self.fields.get("success_action_redirect") or self.fields.get("redirect")
        wanted = self.fields.get("success_action_status")
        if redirect:
            parts = urlsplit(redirect)
            named = {"bucket": self.bucket, "key": self.fields["key"], "etag": etag}
            query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *named.items()])
            return "303 See Other", b"", {"location": urlunsplit(parts._replace(query=query))}
        if wanted == "201":
            values = {"Location": location, "Bucket": self.bucket, "Key": self.fields["key"]}
            text = "".join(f"<{k}>{escape(v)}</{k}>" for k, v in {**values, "ETag": etag}.items())
            body = f'<?xml version="1.0" encoding="UTF-8"?>\n<PostResponse>{text}</PostResponse>'
            kind = {"content-type": "application/xml", "location": location}
            return "201 Created", body.encode(), kind
        status = "200 OK" if wanted == "200" else "204 No Content"
        return status, b"", {"location": location}


def _parse(environ: WSGIEnvironment) -> tuple[dict[str, str], IO[bytes], str]:
    """The fields (lower-case names), the file and its name; raise FormError."""
    kind, options = parse_options_header(environ["CONTENT_TYPE"])
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if not length:
        raise FormError(
            "MissingContentLength",
            "You must provide the Content-Length HTTP header.",
            HTTPStatus.LENGTH_REQUIRED,
        )
    parser = FormDataParser(max_form_memory_size=MAX_FIELDS_BYTES, silent=False)
    try:
        _, form, files = parser.parse(environ["wsgi.input"], kind, length, options)
    except (ValueError, RequestEntityTooLarge) as error:
        raise FormError(
            "MalformedPOSTRequest",
            "The body of your POST request is not well-formed multipart/form-data, or its fields "
            f"have more than {MAX_FIELDS_BYTES} bytes.",
        ) from error
    fields = {name.lower(): value for name, value in form.items()}
    found = [(name, file) for name, file in files.items(multi=True) if name.lower() == "file"]
    if "file" in fields and not found:  # a file without a name is a field
        return fields, io.BytesIO(fields.pop("file").encode()), ""
    if len(found) != 1:
        raise FormError("InvalidArgument", "POST requires exactly one file upload per request.")
    return fields, found[0][1].stream, found[0][1].filename or ""


def check_policy(encoded: str, fields: dict[str, str], size: int) -> None:
    """Raise FormError unless the policy (base64) allows the fields and a file of `size` bytes."""
    try:
        policy = json.loads(base64.b64decode(encoded, validate=False))
        expires = datetime.fromisoformat(policy["expiration"].replace("Z", "+00:00")).timestamp()
        conditions = [part for one in policy["conditions"] for part in _conditions(one)]
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise FormError("InvalidPolicyDocument", f"Invalid Policy: {error!r}") from error
    if time.time() > expires:
        raise _denied("Policy expired.")
    covered = set()
    for kind, name, *values in conditions:
        if kind == "content-length-range":
            _check_size(size, int(name), int(values[0]))
            continue
        covered.add(name)
        if not _holds(kind, name, fields.get(name, ""), values[0]):
            shown = json.dumps([kind, f"${name}", values[0]])
            raise _denied(f"Policy Condition failed: {shown}")
    checked = {n for n in fields if n not in UNCHECKED and not n.startswith(IGNORED)}
    if checked - covered:
        raise _denied(f"Extra input fields: {', '.join(sorted(checked - covered))}")


def _denied(reason: str) -> FormError:
    return FormError("AccessDenied", f"Invalid according to Policy: {reason}", HTTPStatus.FORBIDDEN)


def _conditions(condition: Any) -> list[tuple[str, ...]]:
    """A condition as (operator, field, value) or (content-length-range, least, most)."""
    if isinstance(condition, dict):
        return [("eq", name.lower(), str(value)) for name, value in condition.items()]
    kind, name, value = map(str, condition)
    if kind.lower() == "content-length-range":
        return [(kind.lower(), str(int(name)), str(int(value)))]
    if kind.lower() not in ("eq", "starts-with") or not name.startswith("$"):
        raise ValueError(f"unknown condition {condition}")
    return [(kind.lower(), name[1:].lower(), value)]


def _holds(kind: str, name: str, value: str, wanted: str) -> bool:
    if kind == "eq":
        return value == wanted
    parts = value.split(",") if name == "content-type" else [value]
    return all(part.strip().startswith(wanted) for part in parts)


def _check_size(size: int, least: int, most: int) -> None:
    if size > most:
        raise FormError(
            "EntityTooLarge",
            f"Your proposed upload exceeds the maximum allowed size: {size} bytes, at most {most}",
        )
    if size < least:
        raise FormError(
            "EntityTooSmall",
            f"Your proposed upload is smaller than the minimum allowed size: {size} bytes, at "
            f"least {least}",
        )
