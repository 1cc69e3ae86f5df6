"""Repairs of moto's Lambda: values that Lambda refuses, and what it notes about each change."""

from __future__ import annotations

import base64
import binascii
import io
import re
import zipfile
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

from moto.awslambda import models
from moto.awslambda.exceptions import (
    InvalidParameterValueException,
    LambdaClientError,
    ValidationException,
)
from moto.awslambda.models import LambdaBackend, LambdaFunction, LambdaStorage
from moto.awslambda.responses import LambdaResponse

from local_aws.moto_patch import Method, wrap_method
from local_aws.operations import model

BEFORE_NAME = re.compile(r"^(arn:[^:]+:lambda:[^:]+:)?\d{12}:function:")
MAX_ENVIRONMENT_BYTES = 4096
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
RESERVED = {
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_LAMBDA_RUNTIME_API",
    "LAMBDA_TASK_ROOT",
    "LAMBDA_RUNTIME_DIR",
}


class RevisionChanged(LambdaClientError):  # type: ignore[misc]
    """The function has changed since its caller looked."""

    code = 412

    def __init__(self) -> None:
        """Use AWS's message."""
        super().__init__(
            "PreconditionFailedException",
            "The Revision Id provided does not match the latest Revision Id. Call the "
            "GetFunction/GetAlias API to retrieve the latest Revision Id",
        )


def find_by_any_arn() -> None:
    """moto fails on partial ARNs (123456789012:function:name), and lists nothing of any ARN."""
    for finder in (
        "get_function_by_name_or_arn_with_qualifier",
        "get_function_by_name_or_arn_forbid_qualifier",
        "list_versions_by_function",
        "_get_function_aliases",
        "del_function",
    ):

        @wrap_method(LambdaStorage, finder)
        def find(find: Method, storage: Any, name: str, *args: Any, **settings: Any) -> Any:
            return find(storage, BEFORE_NAME.sub("", unquote(name)), *args, **settings)


def name_the_alias() -> None:
    """moto shows the ARN of the version behind an alias instead of the alias's own."""
    show = LambdaResponse._set_configuration_qualifier

    def show_alias(config: dict[str, Any], name: str, qualifier: str | None) -> dict[str, Any]:
        shown: dict[str, Any] = show(config, name, qualifier)
        used = BEFORE_NAME.sub("", name).partition(":")[2] or qualifier
        if used and used != "$LATEST" and not used.isdecimal():
            shown["FunctionArn"] = ":".join([*shown["FunctionArn"].split(":")[:7], used])
        return shown

    LambdaResponse._set_configuration_qualifier = staticmethod(show_alias)


def check_settings(check: Method) -> None:
    """Check the settings of functions that are created or updated."""

    @wrap_method(LambdaBackend, "create_function")
    def create_function(create: Method, backend: Any, spec: dict[str, Any]) -> Any:
        check(spec)
        return create(backend, spec)

    @wrap_method(LambdaFunction, "update_configuration")
    def update_configuration(update: Method, function: Any, updates: dict[str, Any]) -> Any:
        check(updates)
        return update(function, updates)


def refuse_impossible_settings() -> None:
    """moto accepts any name, runtime, timeout, environment and zip."""

    def check(settings: dict[str, Any]) -> None:
        _check_values(settings)
        _check_environment(settings)
        _check_zip(settings.get("Code", {}))

    check_settings(check)

    @wrap_method(LambdaBackend, "create_function")
    def create_function(create: Method, backend: Any, spec: dict[str, Any]) -> Any:
        is_zip = spec.get("PackageType", "Zip") == "Zip"
        if is_zip and not (spec.get("Runtime") and spec.get("Handler")):
            raise InvalidParameterValueException(
                "Runtime and Handler are mandatory parameters for functions created with "
                "deployment packages."
            )
        return create(backend, spec)

    @wrap_method(LambdaFunction, "update_function_code")
    def update_function_code(update: Method, function: Any, updates: dict[str, Any]) -> Any:
        _check_zip(updates)
        return update(function, updates)


def _check_values(settings: dict[str, Any]) -> None:
    """Hold settings to botocore's model, which knows all runtimes."""
    described: Any = model("lambda")
    shapes = described.operation_model("CreateFunction").input_shape.members
    for name in ("FunctionName", "Runtime", "Handler", "Timeout"):
        rules, value = shapes[name].metadata, settings.get(name)
        if value is None:
            continue
        if "enum" in rules and value not in rules["enum"]:
            constraint = f"Member must satisfy enum value set: [{', '.join(rules['enum'])}]"
        elif "pattern" in rules and not re.fullmatch(rules["pattern"], value):
            constraint = f"Member must satisfy regular expression pattern: {rules['pattern']}"
        elif name == "Timeout" and not rules["min"] <= value <= rules["max"]:
            constraint = f"Member must have value between {rules['min']} and {rules['max']}"
        else:
            continue
        raise ValidationException(str(value), name[0].lower() + name[1:], constraint)


def _check_environment(settings: dict[str, Any]) -> None:
    variables = (settings.get("Environment") or {}).get("Variables") or {}
    start = (
        "Lambda was unable to configure your environment variables because the environment "
        "variables you have provided"
    )
    reserved = sorted(RESERVED.intersection(variables))
    if reserved:
        raise InvalidParameterValueException(
            f"{start} contains reserved keys that are currently not supported for modification. "
            f"Reserved keys used in this request: {', '.join(reserved)}"
        )
    if sum(len((name + value).encode()) for name, value in variables.items()) > (
        MAX_ENVIRONMENT_BYTES
    ):
        raise InvalidParameterValueException(f"{start} exceeded the 4KB limit.")


def _check_zip(code: dict[str, Any]) -> None:
    if "ZipFile" not in code:
        return
    try:
        data = base64.b64decode(code["ZipFile"])
    except binascii.Error:
        data = b""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        raise InvalidParameterValueException(
            "Could not unzip uploaded file. Please check your file, then try to upload again."
        )


def note_changes() -> None:
    """In moto, LastModified stays what it was at first, and there is no RevisionId."""

    def change(update: Method, function: Any, updates: dict[str, Any]) -> Any:
        if updates.get("RevisionId", revision(function)) != revision(function):
            raise RevisionChanged
        answer = update(function, updates)
        if updates.get("DryRun"):
            return answer
        function.revision_id = str(uuid4())
        function.last_modified = models.iso_8601_datetime_with_nanoseconds()
        return function.get_configuration()

    def revision(function: Any) -> str:
        if not hasattr(function, "revision_id"):
            function.revision_id = str(uuid4())
        return str(function.revision_id)

    wrap_method(LambdaFunction, "update_configuration")(change)
    wrap_method(LambdaFunction, "update_function_code")(change)

    @wrap_method(LambdaFunction, "get_configuration")
    def get_configuration(
        get: Method, function: Any, *args: Any, **settings: Any
    ) -> dict[str, Any]:
        return {**get(function, *args, **settings), "RevisionId": revision(function)}
