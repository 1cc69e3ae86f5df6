"""Repairs of moto's Lambda: refuse what AWS refuses, and keep what AWS keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from itertools import count
from typing import Any

from moto.awslambda import models
from moto.awslambda.exceptions import InvalidParameterValueException, LambdaClientError
from moto.awslambda.models import (
    ImageConfig,
    LambdaBackend,
    LambdaFunction,
    LayerVersion,
)
from moto.awslambda.policy import Policy
from moto.core.exceptions import JsonRESTError

from local_aws.code_links import CodeLinks
from local_aws.code_store import ImageFacts
from local_aws.errors import CannotAssume, CannotStart
from local_aws.moto_function_settings import check_settings
from local_aws.moto_iam import check_lambda_trust
from local_aws.moto_patch import Method, wrap_method
from local_aws.slots import MIN_UNRESERVED

DEFAULT_ARCHITECTURE = "x86_64"
MIN_MEMORY_MB, MAX_MEMORY_MB = 128, 10_240


class Conflict(LambdaClientError):  # type: ignore[misc]
    """The request conflicts with the function's state."""

    code = 409

    def __init__(self, message: str) -> None:
        """Use AWS's message."""
        super().__init__("ResourceConflictException", message)


def unreserved_concurrency(backend: Any, limit: int, besides: str | None = None) -> int:
    """What a region's functions, except for `besides`, leave of the account's limit."""
    reserved = (
        int(function.reserved_concurrency or 0)
        for function in backend.list_functions()
        if function.function_name != besides
    )
    return limit - sum(reserved)


def count_reserved_concurrency(limit: int) -> None:
    """moto lets functions reserve any concurrency, or all but 100 even of an account with 10."""

    @wrap_method(LambdaBackend, "put_function_concurrency")
    def put(put: Method, backend: Any, function_name: str, number: Any) -> Any:
        name = backend.get_function(function_name).function_name
        minimum = min(MIN_UNRESERVED, limit)
        if unreserved_concurrency(backend, limit, besides=name) - int(number) < minimum:
            raise InvalidParameterValueException(
                "Specified ReservedConcurrentExecutions for function decreases account's "
                f"UnreservedConcurrentExecution below its minimum value of [{minimum}]."
            )
        return put(backend, function_name, number)


def refuse_duplicate_permissions() -> None:
    """moto accepts a second permission with the same statement ID."""

    @wrap_method(Policy, "add_statement")
    def add_statement(add: Method, policy: Any, raw: str, qualifier: str | None = None) -> Any:
        sid = json.loads(raw).get("StatementId")
        if any(statement.get("Sid") == sid for statement in policy.statements):
            raise Conflict(
                f"The statement id ({sid}) provided already exists. Please provide a new one."
            )
        return add(policy, raw, qualifier)


def replace_event_invoke_configs() -> None:
    """moto appends a second configuration, which GetFunctionEventInvokeConfig never returns."""

    @wrap_method(LambdaBackend, "put_function_event_invoke_config")
    def put(put: Method, backend: Any, function_name: str, config: dict[str, Any]) -> Any:
        function = backend.get_function(function_name)
        before = list(function.event_invoke_config)
        function.event_invoke_config.clear()
        try:
            return put(backend, function_name, config)
        except JsonRESTError:
            function.event_invoke_config.extend(before)
            raise


def refuse_impossible_memory() -> None:
    """moto accepts any memory size."""

    def check(settings: dict[str, Any]) -> None:
        memory = settings.get("MemorySize")
        if memory is not None and not MIN_MEMORY_MB <= memory <= MAX_MEMORY_MB:
            raise InvalidParameterValueException(
                f"'MemorySize' value failed to satisfy constraint: Member must have value between "
                f"{MIN_MEMORY_MB} and {MAX_MEMORY_MB}"
            )

    check_settings(check)


def refuse_untrusting_roles() -> None:
    """moto accepts roles that Lambda cannot assume."""

    def check(settings: dict[str, Any]) -> None:
        if "Role" in settings:
            try:
                check_lambda_trust(settings["Role"])
            except CannotAssume as error:
                raise InvalidParameterValueException(
                    "The role defined for the function cannot be assumed by Lambda."
                ) from error

    check_settings(check)


def keep_snap_start() -> None:
    """moto reports SnapStart as off, whatever was set."""

    @wrap_method(LambdaBackend, "create_function")
    def create_function(create: Method, backend: Any, spec: dict[str, Any]) -> Any:
        function = create(backend, spec)
        function.snap_start = spec.get("SnapStart") or {}
        return function

    @wrap_method(LambdaFunction, "update_configuration")
    def update_configuration(update: Method, function: Any, updates: dict[str, Any]) -> Any:
        if "SnapStart" in updates:
            function.snap_start = updates["SnapStart"]
        return update(function, updates)

    @wrap_method(LambdaFunction, "get_configuration")
    def get_configuration(
        get: Method, function: Any, *args: Any, **settings: Any
    ) -> dict[str, Any]:
        config: dict[str, Any] = get(function, *args, **settings)
        applied = getattr(function, "snap_start", {}).get("ApplyOn", "None")
        is_on = applied != "None" and function.version != "$LATEST"
        config["SnapStart"] = {"ApplyOn": applied, "OptimizationStatus": "On" if is_on else "Off"}
        return config


def clear_environment() -> None:
    """moto fails if an update's Environment has no Variables, with which AWS clears them."""

    @wrap_method(LambdaFunction, "update_configuration")
    def update_configuration(update: Method, function: Any, updates: dict[str, Any]) -> Any:
        if "Environment" in updates:
            variables = (updates["Environment"] or {}).get("Variables", {})
            updates = {**updates, "Environment": {"Variables": variables}}
        return update(function, updates)


def update_ephemeral_storage() -> None:
    """moto ignores EphemeralStorage in an update."""

    @wrap_method(LambdaFunction, "update_configuration")
    def update_configuration(update: Method, function: Any, updates: dict[str, Any]) -> Any:
        if "EphemeralStorage" in updates:
            function.ephemeral_storage = updates["EphemeralStorage"]["Size"]
        return update(function, updates)


def update_image_config() -> None:
    """moto ignores ImageConfig in an update."""

    @wrap_method(LambdaFunction, "update_configuration")
    def update_configuration(update: Method, function: Any, updates: dict[str, Any]) -> Any:
        if "ImageConfig" in updates:
            function.image_config = ImageConfig(updates["ImageConfig"])
        return update(function, updates)


def show_only_given_image_config() -> None:
    """moto shows an empty ImageConfig for a function without one."""

    @wrap_method(LambdaFunction, "get_configuration")
    def get_configuration(
        get: Method, function: Any, *args: Any, **settings: Any
    ) -> dict[str, Any]:
        config: dict[str, Any] = get(function, *args, **settings)
        shown = config.pop("ImageConfigResponse", {}).get("ImageConfig", {})
        given = {name: value for name, value in shown.items() if value}
        return {**config, "ImageConfigResponse": {"ImageConfig": given}} if given else config


def write_times_as_lambda_does() -> None:
    """moto's LastModified has nanoseconds and a Z."""

    def now() -> str:
        return (
            datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "+0000")
        )

    models.iso_8601_datetime_with_nanoseconds = now


def refuse_unusable_images(describe: Callable[[str], ImageFacts]) -> None:
    """moto accepts images that do not exist or that run on another processor."""

    def check(uri: str | None, architectures: list[str]) -> None:
        if uri is None:
            return
        try:
            processor = describe(uri).processor
        except CannotStart as error:
            raise InvalidParameterValueException(
                f"Source image {uri} does not exist or is not supported. Provide a valid source "
                f"image: {error}"
            ) from error
        if processor is not None and [processor] != architectures:
            raise InvalidParameterValueException(
                f"The image {uri} is for {processor}, the function for {', '.join(architectures)}. "
                "Build the image for the function's architecture, or change Architectures."
            )

    @wrap_method(LambdaBackend, "create_function")
    def create_function(create: Method, backend: Any, spec: dict[str, Any]) -> Any:
        check(spec["Code"].get("ImageUri"), spec.get("Architectures") or [DEFAULT_ARCHITECTURE])
        return create(backend, spec)

    @wrap_method(LambdaFunction, "update_function_code")
    def update_function_code(update: Method, function: Any, updates: dict[str, Any]) -> Any:
        check(updates.get("ImageUri"), updates.get("Architectures") or function.architectures)
        return update(function, updates)


def resolve_images(describe: Callable[[str], ImageFacts]) -> None:
    """moto names an image by a hash of its URI. Lambda keeps the digest that a tag had then."""

    @wrap_method(LambdaFunction, "_set_function_code")
    def set_function_code(
        set_code: Method, function: Any, code: dict[str, Any], *args: Any, **settings: Any
    ) -> None:
        set_code(function, code, *args, **settings)
        if "ImageUri" in code:
            digest = describe(code["ImageUri"]).digest or code["ImageUri"].partition("@")[2]
            function.code_sha_256 = digest.partition(":")[2] or function.code_sha_256

    @wrap_method(LambdaFunction, "get_code")
    def get_code(get: Method, function: Any) -> dict[str, Any]:
        answer: dict[str, Any] = get(function)
        if "ResolvedImageUri" in answer.get("Code", {}):
            answer["Code"]["ResolvedImageUri"] = resolved_uri(function)
        return answer


def resolved_uri(function: Any) -> str | None:
    """The URI by digest of a function's image, whatever its tag means by now; None for a zip."""
    if "ImageUri" not in function.code:
        return None
    place, slash, name = function.code["ImageUri"].rpartition("/")
    repository = name.partition("@")[0].partition(":")[0]
    return f"{place}{slash}{repository}@sha256:{function.code_sha_256}"


def keep_published_code() -> None:
    """In moto, a version shares its code's description with $LATEST, so updates change both."""

    @wrap_method(LambdaBackend, "publish_version")
    def publish_version(
        publish: Method, backend: Any, function_name: str, *args: Any, **settings: Any
    ) -> Any:
        version = publish(backend, function_name, *args, **settings)
        if version is not None:
            version.code = dict(version.code)
        return version


def keep_aliased_versions() -> None:
    """moto deletes versions that aliases point to."""

    @wrap_method(LambdaBackend, "delete_function")
    def delete_function(
        delete: Method, backend: Any, function_name: str, qualifier: str | None = None
    ) -> None:
        if qualifier:
            aliases = backend.list_aliases(function_name)
            users = [alias.name for alias in aliases if alias.function_version == qualifier]
            if users:
                raise Conflict(
                    "Unable to delete version because the following aliases reference it: "
                    f"[{', '.join(users)}]"
                )
        delete(backend, function_name, qualifier)


def number_versions_once() -> None:
    """moto reuses the number of a deleted version."""

    @wrap_method(LambdaFunction, "__init__")
    def init(init: Method, function: Any, *args: Any, **settings: Any) -> None:
        init(function, *args, **settings)
        function.numbers = count(1)  # versions are shallow copies of the function and share it

    @wrap_method(LambdaFunction, "set_version")
    def set_version(set_version: Method, version: Any, _: int) -> None:
        set_version(version, next(version.numbers))


def link_layer_code(links: CodeLinks) -> None:
    """moto gives "s3://" as the location of a layer's code."""

    @wrap_method(LayerVersion, "get_layer_version")
    def get_layer_version(get: Method, version: Any) -> dict[str, Any]:
        answer: dict[str, Any] = get(version)
        answer["Content"]["Location"] = links.link(version.code_bytes)
        return answer


def link_function_code(links: CodeLinks) -> None:
    """moto gives an address on AWS as the location of a function's code."""

    @wrap_method(LambdaFunction, "get_code")
    def get_code(get: Method, function: Any) -> dict[str, Any]:
        answer: dict[str, Any] = get(function)
        if "Location" in answer.get("Code", {}):
            answer["Code"]["Location"] = links.link(function.code_bytes)
        return answer
