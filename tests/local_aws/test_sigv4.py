"""Signatures: what botocore signs is accepted, and nothing else."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from local_aws.sigv4 import SignatureError, read, verify

QUICK = settings(max_examples=150, deadline=None, derandomize=True)
SECRET = "a secret"
SIGNERS = {
    "s3": (S3SigV4Auth, "s3"),
    "s3 presigned": (S3SigV4QueryAuth, "s3"),
    "sqs": (SigV4Auth, "sqs"),
}
Environ = dict[str, Any]

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)
KEYS = TEXT.filter(lambda key: not {".", ".."} & set(key.split("/")) and "//" not in f"/{key}/")
QUERIES = st.lists(st.tuples(TEXT.filter(bool), TEXT), max_size=3, unique_by=lambda pair: pair[0])


def signed(signer: str, key: str, query: list[tuple[str, str]], value: str, body: bytes) -> Environ:
    """The WSGI environment of a request that botocore has signed."""
    auth, service = SIGNERS[signer]
    text = "&".join(f"{quote(name, safe='-_.~')}={quote(v, safe='-_.~')}" for name, v in query)
    url = f"http://127.0.0.1:4566/{quote(key, safe='/-_.~')}" + (f"?{text}" if text else "")
    request = AWSRequest("PUT", url, {"X-Amz-Meta-A": value}, body)
    auth(Credentials("AKIA", SECRET), service, "us-east-1").add_auth(request)
    prepared = request.prepare()
    parts = urlsplit(prepared.url)
    environ: Environ = {
        "REQUEST_METHOD": "PUT",
        "RAW_URI": parts.path + (f"?{parts.query}" if parts.query else ""),
        "HTTP_HOST": parts.netloc,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }
    for name, header in prepared.headers.items():
        raw: Any = header  # botocore's stubs say str, but some are bytes
        data = raw if isinstance(raw, bytes) else str(raw).encode()
        environ[f"HTTP_{name.upper().replace('-', '_')}"] = data.decode("latin-1")
    return environ


def check(environ: Environ) -> None:
    signature = read(environ)
    assert signature is not None
    verify(environ, signature, SECRET, None)


@QUICK
@given(st.sampled_from(sorted(SIGNERS)), KEYS, QUERIES, TEXT, st.binary(max_size=8))
def test_whatever_botocore_signs_is_accepted(
    signer: str, key: str, query: list[tuple[str, str]], value: str, body: bytes
) -> None:
    # botocore takes the body of a presigned request for its query
    check(signed(signer, key, query, value, b"" if "presigned" in signer else body))


CHANGES: dict[str, Callable[[Environ], Environ]] = {
    "method": lambda environ: {"REQUEST_METHOD": "GET"},
    "path": lambda environ: {"RAW_URI": environ["RAW_URI"].replace("/", "/x", 1)},
    "query": lambda environ: {
        "RAW_URI": environ["RAW_URI"] + ("&" if "?" in environ["RAW_URI"] else "?") + "x=y"
    },
    "header": lambda environ: {"HTTP_X_AMZ_META_A": environ["HTTP_X_AMZ_META_A"] + "x"},
    "host": lambda environ: {"HTTP_HOST": "127.0.0.1:4567"},
}


@QUICK
@given(
    st.sampled_from(sorted(SIGNERS)),
    st.sampled_from(sorted(CHANGES)),
    KEYS,
    QUERIES,
    TEXT,
)
def test_any_change_is_refused(
    signer: str, change: str, key: str, query: list[tuple[str, str]], value: str
) -> None:
    environ = signed(signer, key, query, value, b"")

    with pytest.raises(SignatureError, match="does not match"):
        check({**environ, **CHANGES[change](environ)})


@QUICK
@given(st.binary(min_size=1, max_size=20), st.data())
def test_a_changed_byte_of_the_body_is_refused(body: bytes, data: st.DataObject) -> None:
    # GIVEN a service whose clients do not send the body's hash
    environ = signed("sqs", "", [], "", body)
    at = data.draw(st.integers(0, len(body) - 1))
    changed = bytes([*body[:at], body[at] ^ 1, *body[at + 1 :]])

    with pytest.raises(SignatureError, match="does not match"):
        check({**environ, "wsgi.input": io.BytesIO(changed)})


@pytest.mark.parametrize("read_size", [-1, 4, 3])
def test_a_hash_must_be_of_the_body_unless_it_is_not_signed(read_size: int) -> None:
    def body_of(environ: Environ) -> bytes:
        check(environ)
        return b"".join(iter(lambda: environ["wsgi.input"].read(read_size), b""))

    environ = signed("s3", "k", [], "", b"body")
    assert body_of({**environ, "wsgi.input": io.BytesIO(b"body")}) == b"body"

    with pytest.raises(SignatureError, match="does not match what was computed"):
        body_of({**environ, "wsgi.input": io.BytesIO(b"b0dy")})
    presigned = signed("s3 presigned", "k", [], "", b"")
    assert body_of({**presigned, "wsgi.input": io.BytesIO(b"anything")}) == b"anything"


@QUICK
@given(KEYS, st.integers(0, 63))
def test_a_changed_digit_of_the_signature_is_refused(key: str, at: int) -> None:
    environ = signed("s3", key, [], "", b"")
    head, _, value = str(environ["HTTP_AUTHORIZATION"]).rpartition("Signature=")
    digit = "0" if value[at] != "0" else "1"

    with pytest.raises(SignatureError, match="does not match"):
        check(
            {
                **environ,
                "HTTP_AUTHORIZATION": f"{head}Signature={value[:at]}{digit}{value[at + 1 :]}",
            }
        )
