"""Repairs of moto's S3: requests that it reads wrongly, and settings that S3 refuses."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from moto.s3.exceptions import (
    InvalidBucketName,
    InvalidContinuationToken,
    MalformedXML,
    S3ClientError,
)
from moto.s3.models import FakeBucket, FakeDeleteMarker, S3Backend, get_canned_acl
from moto.s3.responses import S3Response

from local_aws.moto_patch import Method, wrap_method

ENCODED = ("Key", "KeyMarker", "NextKeyMarker", "Prefix", "Delimiter")  # in a list of versions
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
BUCKET_NAME = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9.-]*[a-z0-9]")
RANGE = re.compile(r"bytes=[0-9, -]+")
KEYS_AT_ONCE = 1000  # in a request that deletes several
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_LifecycleRule.html
LIFECYCLE_ACTIONS = {
    "AbortIncompleteMultipartUpload",
    "Expiration",
    "NoncurrentVersionExpiration",
    "NoncurrentVersionTransition",
    "Transition",
}
DIGESTS: dict[str, Callable[[bytes], bytes]] = {
    "content-md5": lambda body: hashlib.md5(body, usedforsecurity=False).digest(),
    "x-amz-checksum-crc32": lambda body: zlib.crc32(body).to_bytes(4, "big"),
    "x-amz-checksum-sha1": lambda body: hashlib.sha1(body, usedforsecurity=False).digest(),
    "x-amz-checksum-sha256": lambda body: hashlib.sha256(body).digest(),
}


def list_in_pages() -> None:
    """moto's ListObjects puts all common prefixes on each page, and keeps those of deleted keys."""

    @wrap_method(S3Backend, "list_objects")
    def list_objects(
        _: Method,
        backend: Any,
        bucket: Any,
        prefix: str | None,
        delimiter: str | None,
        marker: str | None,
        max_keys: int | None,
    ) -> tuple[list[Any], list[str], bool, str | None]:
        start, keys, found = prefix or "", bucket.keys, {}
        for name in list(keys):
            key = keys.get(name)
            if name.startswith(start) and key and not isinstance(key, FakeDeleteMarker):
                head, cut, _rest = name[len(start) :].partition(delimiter or "\0\0")
                found[start + head + cut] = None if cut else key
        names = sorted(name for name in found if not marker or name > marker)
        page = names if max_keys is None else names[:max_keys]
        is_truncated = 0 < len(page) < len(names)
        return (
            [found[name] for name in page if found[name]],
            [name for name in page if not found[name]],
            is_truncated,
            page[-1] if is_truncated else None,
        )

    @wrap_method(S3Response, "serialized")
    def serialized(serialize: Method, response: Any, answer: Any) -> Any:
        result = answer.result
        if response.data.get("Action") == "ListObjects" and result.get("EncodingType") == "url":
            result["CommonPrefixes"] = [
                {"Prefix": quote(folder["Prefix"])} for folder in result.get("CommonPrefixes", [])
            ]
            if "NextMarker" in result:
                result["NextMarker"] = quote(result["NextMarker"])
        return serialize(response, answer)


def encode_listed_versions() -> None:
    """moto lists versions with their keys as they are, some of which XML cannot hold."""

    @wrap_method(S3Response, "serialized")
    def serialized(serialize: Method, response: Any, result: Any) -> Any:
        is_encoded = response.querystring.get("encoding-type") == ["url"]
        if is_encoded and response.data.get("Action") == "ListObjectVersions":
            listed = result.result
            listed["EncodingType"] = "url"
            items = [*listed["Versions"], *listed["DeleteMarkers"]]
            for item in [listed, *items, *listed.get("CommonPrefixes", [])]:
                item.update({n: quote(item[n]) for n in ENCODED if item.get(n)})
        return serialize(response, result)


def refuse_unknown_tokens() -> None:
    """moto fails on a continuation token that it has not given."""

    @wrap_method(S3Backend, "list_objects_v2")
    def list_objects_v2(
        find: Method, backend: Any, *args: Any, continuation_token: str | None, **settings: Any
    ) -> Any:
        if continuation_token and continuation_token not in backend._pagination_tokens:
            raise InvalidContinuationToken
        return find(backend, *args, continuation_token=continuation_token, **settings)


def ignore_unreadable_ranges() -> None:
    """moto fails on a Range that it cannot read. S3 takes such a request for one without it."""

    @wrap_method(S3Response, "_handle_range_header")
    def handle_range_header(
        cut: Method, response: Any, request: Any, headers: dict[str, Any], body: Any
    ) -> Any:
        if not RANGE.fullmatch(request.headers["range"]):
            return 200, headers, body
        return cut(response, request, headers, body)


def compare_digests() -> None:
    """moto stores what is not what its sender's Content-MD5 or checksum says."""

    @wrap_method(S3Response, "_key_response")
    def key_response(respond: Method, response: Any, request: Any, full_url: str) -> Any:
        given = set(request.headers.keys(lower=True)) if request.method == "PUT" else set()
        for header in DIGESTS.keys() & given:
            digest = base64.b64encode(DIGESTS[header](response.body or b""))
            if request.headers[header].encode() != digest:
                kind = header.removeprefix("x-amz-checksum-")
                text = f"The {kind} you specified did not match the calculated checksum."
                raise S3ClientError("BadDigest", text)
        return respond(response, request, full_url)


def refuse_single_parts() -> None:
    """moto answers a request for one part of an object with the whole."""

    @wrap_method(S3Response, "_key_response")
    def key_response(respond: Method, response: Any, request: Any, full_url: str) -> Any:
        if request.method in ("GET", "HEAD") and "partNumber" in request.args:
            text = "The local AWS does not have partNumber in GetObject: use Range."
            raise S3ClientError("NotImplemented", text)
        return respond(response, request, full_url)


def refuse_broken_policies() -> None:
    """moto keeps a bucket's policy that is not JSON, and fails at each request for an object."""

    @wrap_method(S3Backend, "put_bucket_policy")
    def put_bucket_policy(put: Method, backend: Any, bucket_name: str, policy: bytes) -> None:
        try:
            is_policy = "Statement" in json.loads(policy)
        except (ValueError, TypeError):
            is_policy = False
        if not is_policy:
            text = "Policies must be valid JSON and the first byte must be '{'"
            raise S3ClientError("MalformedPolicy", text)
        put(backend, bucket_name, policy)


def limit_bucket_names() -> None:
    """moto accepts any characters in the name of a bucket."""

    @wrap_method(S3Backend, "create_bucket")
    def create_bucket(
        create: Method, backend: Any, bucket_name: str, *args: Any, **more: Any
    ) -> Any:
        if not BUCKET_NAME.fullmatch(bucket_name):
            raise InvalidBucketName
        return create(backend, bucket_name, *args, **more)


def limit_deletions() -> None:
    """moto deletes any number of objects at once."""

    @wrap_method(S3Backend, "delete_objects")
    def delete_objects(
        delete: Method, backend: Any, bucket_name: str, objects: list[Any], *args: Any, **more: Any
    ) -> Any:
        if len(objects) > KEYS_AT_ONCE:
            raise MalformedXML
        return delete(backend, bucket_name, objects, *args, **more)


def refuse_unknown_acls() -> None:
    """moto fails at a canned ACL that does not exist."""

    @wrap_method(S3Response, "_acl_from_headers")
    def acl_from_headers(read: Method, response: Any, headers: Any) -> Any:
        name = headers.get("x-amz-acl")
        try:
            if name:
                get_canned_acl(name)
        except AssertionError as error:
            raise S3ClientError("InvalidArgument", f"There is no canned ACL {name!r}.") from error
        return read(response, headers)


def refuse_idle_lifecycle_rules() -> None:
    """moto keeps lifecycle rules that do nothing."""

    @wrap_method(FakeBucket, "set_lifecycle")
    def set_lifecycle(keep: Method, bucket: Any, rules: list[dict[str, Any]]) -> None:
        if any(LIFECYCLE_ACTIONS.isdisjoint(rule) for rule in rules):
            text = "At least one action needs to be specified in a rule"
            raise S3ClientError("InvalidRequest", text)
        keep(bucket, rules)
