"""Makes moto refuse what AWS refuses, and keep what AWS keeps, where the deploy scripts meet it."""

from __future__ import annotations

import json
import os
from itertools import count
from typing import Any

from moto.awslambda.exceptions import InvalidParameterValueException, LambdaClientError
from moto.awslambda.models import ImageConfig, LambdaBackend, LambdaFunction, LayerVersion
from moto.awslambda.policy import Policy
from moto.awslambda.utils import get_backend
from moto.core.exceptions import JsonRESTError
from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.s3.exceptions import S3ClientError
from moto.s3.models import FakeBucket, S3Backend
from moto.s3.responses import S3Response

from local_aws.code_links import CodeLinks
from local_aws.moto_iam import CannotAssume, check_lambda_trust

MEMORY_MB = (128, 10_240)
METADATA_BYTES = 2048  # of all user metadata of an object, names and values
METADATA_PREFIX = "x-amz-meta-"

# With it moto counts what functions reserve, and refuses to leave fewer than 100 unreserved.
CONCURRENCY_QUOTA = "MOTO_LAMBDA_CONCURRENCY_QUOTA"
CONCURRENT_EXECUTIONS = "1000"  # what AWS grants an account that is not new


class PermissionExists(LambdaClientError):  # type: ignore[misc]
    """AWS's answer to a second statement of the same Sid."""

    code = 409

    def __init__(self, sid: str) -> None:
        """Name the statement."""
        text = f"The statement id ({sid}) provided already exists. Please provide a new one."
        super().__init__("ResourceConflictException", text)


class VersionInUse(LambdaClientError):  # type: ignore[misc]
    """AWS's answer to the deletion of a version that aliases point to."""

    code = 409

    def __init__(self, aliases: list[str]) -> None:
        """Name the aliases."""
        text = (
            "Unable to delete version because the following aliases reference it: "
            f"[{', '.join(aliases)}]"
        )
        super().__init__("ResourceConflictException", text)


def install(links: CodeLinks) -> None:
    """Close the gaps, once in a process. `links` are what downloads of code are answered with."""
    os.environ.setdefault(CONCURRENCY_QUOTA, CONCURRENT_EXECUTIONS)
    _refuse_duplicate_permissions()
    _replace_event_invoke_configs()
    _check_functions()
    _keep_published_code()
    _keep_versions_in_use()
    _link_code(links)
    _check_notifications()
    _announce_uploads_once()
    _limit_metadata()
    _read_tls_only_policies()


def _refuse_duplicate_permissions() -> None:
    add = Policy.add_statement

    def add_statement(policy: Any, raw: str, qualifier: str | None = None) -> Any:
        sid = json.loads(raw).get("StatementId")
        if any(statement.get("Sid") == sid for statement in policy.statements):
            raise PermissionExists(sid)
        return add(policy, raw, qualifier)

    Policy.add_statement = add_statement


def _replace_event_invoke_configs() -> None:
    """moto appends a second configuration, which get never sees."""
    put = LambdaBackend.put_function_event_invoke_config

    def put_config(backend: Any, function_name: str, config: dict[str, Any]) -> Any:
        function = backend.get_function(function_name)
        before = list(function.event_invoke_config)
        function.event_invoke_config.clear()
        try:
            return put(backend, function_name, config)
        except JsonRESTError:
            function.event_invoke_config.extend(before)
            raise

    LambdaBackend.put_function_event_invoke_config = put_config


def _check_functions() -> None:
    create, update = LambdaBackend.create_function, LambdaFunction.update_configuration
    configuration = LambdaFunction.get_configuration

    def check(settings: dict[str, Any]) -> None:
        memory = settings.get("MemorySize")
        if memory is not None and not MEMORY_MB[0] <= memory <= MEMORY_MB[1]:
            raise InvalidParameterValueException(
                f"'MemorySize' value failed to satisfy constraint: Member must have value between "
                f"{MEMORY_MB[0]} and {MEMORY_MB[1]}"
            )
        if "Role" in settings:
            try:
                check_lambda_trust(settings["Role"])
            except CannotAssume as error:
                raise InvalidParameterValueException(
                    "The role defined for the function cannot be assumed by Lambda."
                ) from error

    def create_function(backend: Any, spec: dict[str, Any]) -> Any:
        check(spec)
        function = create(backend, spec)
        function.snap_start = spec.get("SnapStart") or {}
        return function

    def get_configuration(function: Any, *args: Any, **settings: Any) -> dict[str, Any]:
        config: dict[str, Any] = configuration(function, *args, **settings)
        applied = getattr(function, "snap_start", {}).get("ApplyOn", "None")
        is_on = applied != "None" and function.version != "$LATEST"
        config["SnapStart"] = {"ApplyOn": applied, "OptimizationStatus": "On" if is_on else "Off"}
        return config

    def update_configuration(function: Any, updates: dict[str, Any]) -> Any:
        check(updates)
        if "Environment" in updates:
            variables = (updates["Environment"] or {}).get("Variables", {})
            updates = {**updates, "Environment": {"Variables": variables}}
        if "EphemeralStorage" in updates:
            function.ephemeral_storage = updates["EphemeralStorage"]["Size"]
        if "ImageConfig" in updates:
            function.image_config = ImageConfig(updates["ImageConfig"])
        if "SnapStart" in updates:
            function.snap_start = updates["SnapStart"]
        return update(function, updates)

    LambdaBackend.create_function = create_function
    LambdaFunction.get_configuration = get_configuration
    LambdaFunction.update_configuration = update_configuration


def _keep_published_code() -> None:
    """A version shares the dict that describes its code with $LATEST, whose updates change it."""
    publish = LambdaBackend.publish_version

    def publish_version(backend: Any, function_name: str, *args: Any, **settings: Any) -> Any:
        version = publish(backend, function_name, *args, **settings)
        if version is not None:
            version.code = dict(version.code)
        return version

    LambdaBackend.publish_version = publish_version


def _keep_versions_in_use() -> None:
    """No version is deleted that an alias points to, and no number is used twice."""
    delete, set_version = LambdaBackend.delete_function, LambdaFunction.set_version
    init = LambdaFunction.__init__

    def with_numbers(function: Any, *args: Any, **settings: Any) -> None:
        init(function, *args, **settings)
        function.numbers = count(1)  # versions are copies of the function, and share it

    def delete_function(backend: Any, function_name: str, qualifier: str | None = None) -> None:
        if qualifier:
            aliases = backend.list_aliases(function_name)
            users = [alias.name for alias in aliases if alias.function_version == qualifier]
            if users:
                raise VersionInUse(users)
        delete(backend, function_name, qualifier)

    def number(version: Any, _: int) -> None:
        set_version(version, next(version.numbers))

    LambdaFunction.__init__ = with_numbers
    LambdaBackend.delete_function = delete_function
    LambdaFunction.set_version = number


def _link_code(links: CodeLinks) -> None:
    """moto says "s3://" of a layer's code, and of a function's where AWS itself would have it."""
    of_layer, of_function = LayerVersion.get_layer_version, LambdaFunction.get_code

    def get_layer_version(version: Any) -> dict[str, Any]:
        answer: dict[str, Any] = of_layer(version)
        answer["Content"]["Location"] = links.link(version.code_bytes)
        return answer

    def get_code(function: Any) -> dict[str, Any]:
        answer: dict[str, Any] = of_function(function)
        if "Location" in answer.get("Code", {}):
            answer["Code"]["Location"] = links.link(function.code_bytes)
        return answer

    LayerVersion.get_layer_version = get_layer_version
    LambdaFunction.get_code = get_code


def _check_notifications() -> None:
    put = S3Backend.put_bucket_notification_configuration

    def put_configuration(backend: Any, bucket_name: str, config: dict[str, Any]) -> None:
        entries = (config or {}).get("CloudFunctionConfiguration") or []
        for entry in entries if isinstance(entries, list) else [entries]:
            if not _may_invoke(entry["CloudFunction"], bucket_name, backend.account_id):
                raise S3ClientError(
                    "InvalidArgument",
                    "Unable to validate the following destination configurations",
                )
        put(backend, bucket_name, config)

    S3Backend.put_bucket_notification_configuration = put_configuration


def _announce_uploads_once() -> None:
    """moto announces a multipart upload twice: as ObjectCreated:Put, and as what it is."""
    put = S3Backend.put_object

    def put_object(backend: Any, *args: Any, **settings: Any) -> Any:
        if settings.get("multipart") is not None:
            settings["disable_notification"] = True
        return put(backend, *args, **settings)

    S3Backend.put_object = put_object


def _limit_metadata() -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html"""
    respond = S3Response._key_response

    def key_response(response: Any, request: Any, full_url: str) -> Any:
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

    S3Response._key_response = key_response


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


def _read_tls_only_policies() -> None:
    """moto ignores Conditions: a policy that denies plain HTTP would lock everybody out.

    Loopback stands for TLS here, so statements about aws:SecureTransport have nothing to say.
    """

    def get_permission(bucket: Any, action: str, resource: str) -> Any:
        if bucket.policy is None:
            return PermissionResult.NEUTRAL
        policy = json.loads(bucket.policy.decode())
        statements = policy["Statement"]
        statements = statements if isinstance(statements, list) else [statements]
        policy["Statement"] = [
            s for s in statements if "aws:securetransport" not in json.dumps(s).lower()
        ]
        if not policy["Statement"]:
            return PermissionResult.NEUTRAL
        return IAMPolicy(json.dumps(policy)).is_action_permitted(action, resource)

    FakeBucket.get_permission = get_permission
