"""Repairs of moto's S3: refuse what AWS refuses, and announce each upload once.

The bodies of objects are in disk_bodies.
"""

from __future__ import annotations

import json
from typing import Any

from moto.awslambda.utils import get_backend
from moto.core.exceptions import JsonRESTError
from moto.core.serialize import S3Serializer
from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.moto_server.utilities import RegexConverter
from moto.s3.exceptions import S3ClientError
from moto.s3.models import FakeBucket, S3Backend
from moto.s3.responses import S3Response

from local_aws.iam_policy import as_list
from local_aws.moto_patch import Method, wrap_method
from local_aws.moto_sqs import lets_bucket_send

UNKNOWN_SUBRESOURCES = {
    "abac",
    "analytics",
    "annotation",
    "intelligent-tiering",
    "metadataConfiguration",
    "metadataTable",
    "metrics",
    "renameObject",
    "requestPayment",
    "select",
    "session",
    "torrent",
}
KEY_BYTES = 1024
METADATA_BYTES = 2048  # all user metadata of an object, names and values
METADATA_PREFIX = "x-amz-meta-"


def refuse_undeliverable_notifications() -> None:
    """moto accepts notifications for functions that S3 cannot invoke, and queues it may not use."""

    @wrap_method(S3Backend, "put_bucket_notification_configuration")
    def put_configuration(put: Method, backend: Any, bucket_name: str, config: Any) -> None:
        functions = as_list((config or {}).get("CloudFunctionConfiguration") or [])
        queues = as_list((config or {}).get("QueueConfiguration") or [])
        if not all(
            _may_invoke(entry["CloudFunction"], bucket_name, backend.account_id)
            for entry in functions
        ) or not all(lets_bucket_send(entry["Queue"], bucket_name) for entry in queues):
            raise S3ClientError(
                "InvalidArgument", "Unable to validate the following destination configurations"
            )
        put(backend, bucket_name, config)


def _may_invoke(function_arn: str, bucket: str, account_id: str) -> bool:
    """Whether the function exists and its policy lets S3 invoke it for the bucket."""
    backend = get_backend(account_id, function_arn.split(":")[3])
    try:
        policy = backend.get_function(function_arn).policy
    except JsonRESTError:
        return False
    return any(_lets_bucket_invoke(s, bucket, account_id) for s in policy.statements)


def _lets_bucket_invoke(statement: dict[str, Any], bucket: str, account_id: str) -> bool:
    principal = statement.get("Principal")
    service = principal.get("Service") if isinstance(principal, dict) else principal
    conditions = {
        key.lower(): value
        for part in (statement.get("Condition") or {}).values()
        for key, value in part.items()
    }
    return (
        service == "s3.amazonaws.com"
        and statement.get("Action") in ("lambda:InvokeFunction", "lambda:*")
        and conditions.get("aws:sourceaccount", account_id) == account_id
        and str(conditions.get("aws:sourcearn", f":::{bucket}")).endswith(f":::{bucket}")
    )


def announce_uploads_once() -> None:
    """moto announces a multipart upload twice: as Put and as CompleteMultipartUpload."""

    @wrap_method(S3Backend, "put_object")
    def put_object(put: Method, backend: Any, *args: Any, **settings: Any) -> Any:
        if settings.get("multipart") is not None:
            settings["disable_notification"] = True
        return put(backend, *args, **settings)


def limit_keys() -> None:
    """moto accepts keys of any length."""

    @wrap_method(S3Response, "_key_response")
    def key_response(respond: Method, response: Any, request: Any, full_url: str) -> Any:
        if len(response.parse_key_name().encode()) > KEY_BYTES:
            raise S3ClientError("KeyTooLongError", "Your key is too long")
        return respond(response, request, full_url)


def route_any_key() -> None:
    """moto finds no route for a key with a line break."""

    @wrap_method(RegexConverter, "__init__")
    def init(init: Method, converter: Any, url_map: Any, *items: Any) -> None:
        init(converter, url_map, *items)
        if converter.regex == ".+":
            converter.regex = "(?s:.+)"


def refuse_unknown_subresources() -> None:
    """moto takes a request about a subresource that it does not have for one without it.

    NotImplementedError is moto's own way to say so; `moto_errors` answers it with 501.
    """

    @wrap_method(S3Response, "setup_class")
    def setup_class(set_up: Method, response: Any, request: Any, *args: Any, **more: Any) -> None:
        if not UNKNOWN_SUBRESOURCES.isdisjoint(request.args):
            raise NotImplementedError
        set_up(response, request, *args, **more)


def escape_carriage_returns() -> None:
    """moto writes a carriage return in a key as it is, and XML readers take it for a line break."""

    @wrap_method(S3Serializer, "_serialize_body")
    def serialize_body(serialize: Method, serializer: Any, body: Any) -> str:
        return str(serialize(serializer, body)).replace("\r", "&#xD;")


def limit_metadata() -> None:
    """moto accepts user metadata of any size.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
    """

    @wrap_method(S3Response, "_key_response")
    def key_response(respond: Method, response: Any, request: Any, full_url: str) -> Any:
        size = sum(
            len(name) - len(METADATA_PREFIX) + len(value.encode())
            for name, value in request.headers.items()
            if name.lower().startswith(METADATA_PREFIX)
        )
        if size > METADATA_BYTES:
            raise S3ClientError(
                "MetadataTooLarge",
                "Your metadata headers exceed the maximum allowed metadata size",
            )
        return respond(response, request, full_url)


def read_tls_only_policies() -> None:
    """moto ignores conditions, so a policy that denies plain HTTP would lock everybody out.

    Loopback counts as TLS here: statements about aws:SecureTransport are left out.
    """

    @wrap_method(FakeBucket, "get_permission")
    def get_permission(_: Method, bucket: Any, action: str, resource: str) -> Any:
        if bucket.policy is None:
            return PermissionResult.NEUTRAL
        policy = json.loads(bucket.policy.decode())
        policy["Statement"] = [
            statement
            for statement in as_list(policy["Statement"])
            if "aws:securetransport" not in json.dumps(statement).lower()
        ]
        if not policy["Statement"]:
            return PermissionResult.NEUTRAL
        return IAMPolicy(json.dumps(policy)).is_action_permitted(action, resource)
