"""The control plane: functions as moto's Lambda has them, described as specs."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

from moto.awslambda.exceptions import UnknownFunctionException
from moto.awslambda.utils import get_backend
from moto.core.exceptions import JsonRESTError

from local_aws.code_store import CodeStore
from local_aws.errors import CannotStart, NotActive, UnknownFunction
from local_aws.function import FunctionSpec
from local_aws.image_sandbox import read_image
from local_aws.moto_lambda import resolved_uri, unreserved_concurrency


class ControlPlane:
    """Reads functions from moto."""

    def __init__(self, account_id: str, store: CodeStore, concurrency: int) -> None:
        """Look functions up in `account_id` and unpack their code with `store`.

        `concurrency` is how many invocations the account may run at once in each region.
        """
        self._account_id = account_id
        self._store = store
        self._concurrency = concurrency

    def spec(self, name: str, qualifier: str | None, region: str) -> FunctionSpec:
        """Describe the function at this moment; raise UnknownFunction if it does not exist.

        `name` is a name, a partial ARN or a full ARN, with or without a qualifier. If the code is
        unavailable, the spec's `obstacle` says why.
        """
        function = self._find(name, qualifier, region)
        config = self._event_config(function, region)
        on_failure = config.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
        uri = function.code.get("ImageUri")
        root, opt, image, obstacle = Path(), None, None, None
        try:
            root = self._root(function)
            image = read_image(root) if uri else None
            opt = self._store.merged(list(map(self._unpacked, self._layers(function, region))))
        except CannotStart as error:
            obstacle = str(error)
        return FunctionSpec(
            name=function.function_name,
            arn=str(function.function_arn).removesuffix(f":{function.version}"),
            qualifier=name.split(":function:")[-1].partition(":")[2] or qualifier,
            version=str(function.version),
            revision=_revision(function),
            handler=function.handler or "handler.handler",
            task_root=root,
            opt=opt,
            from_folder=bool(uri) and image is None,
            runtime=function.run_time or "python3.12",
            environment=dict(function.environment_vars or {}),
            memory_mb=int(function.memory_size),
            timeout_s=float(function.timeout),
            role_arn=function.role,
            reserved_concurrency=self._reserved(function, region),
            unreserved_concurrency=self.concurrency(region)[1],
            retries=int(config.get("MaximumRetryAttempts", 2)),
            max_event_age_s=float(config.get("MaximumEventAgeInSeconds") or 21_600),
            on_failure=on_failure or None,
            image=image,
            image_config=_image_config(function),
            ephemeral_mb=int(function.ephemeral_storage or 512),
            obstacle=obstacle,
        )

    def spec_to_run(self, name: str, qualifier: str | None, region: str) -> FunctionSpec:
        """Describe the function that is about to run; raise NotActive if it is not Active.

        If it is Inactive, it begins to be prepared.
        """
        function = self._find(name, qualifier, region)
        if function.state == "Inactive":
            function.state = "Pending"
            timer = threading.Timer(function.pending_s, setattr, (function, "state", "Active"))
            timer.daemon = True
            timer.start()
        if function.state == "Pending":
            raise NotActive(function.state)
        return self.spec(name, qualifier, region)

    def let_go(self, name: str, region: str, pending_s: float) -> None:
        """Make a function with all its versions Inactive; raise UnknownFunction if there is none.

        Its next invocation makes it Pending for `pending_s`. Its environments are gone.
        """
        self._find(name, None, region)
        backend = get_backend(self._account_id, region)
        for listed in backend.list_versions_by_function(name):  # copies
            function = backend.get_function(name, str(listed.version))
            function.state, function.pending_s = "Inactive", pending_s
            function.times_let_go = getattr(function, "times_let_go", 0) + 1

    def concurrency(self, region: str) -> tuple[int, int]:
        """The region's concurrency limit, and how much of it is unreserved.

        moto enforces the same limit (see moto_lambda).
        """
        backend = get_backend(self._account_id, region)
        return self._concurrency, unreserved_concurrency(backend, self._concurrency)

    def _reserved(self, function: Any, region: str) -> int | None:
        """The function's reservation, which all its versions share; None if it has none."""
        value = self._find(function.function_name, None, region).reserved_concurrency
        return None if value is None else int(value)

    def _find(self, name: str, qualifier: str | None, region: str) -> Any:
        backend = get_backend(self._account_id, region)
        try:
            return backend.get_function(name, qualifier)
        except UnknownFunctionException as error:
            raise UnknownFunction(error.message) from error

    def _event_config(self, function: Any, region: str) -> dict[str, Any]:
        backend = get_backend(self._account_id, region)
        try:
            config: dict[str, Any] = backend.get_function_event_invoke_config(
                function.function_name
            )
        except JsonRESTError:  # moto's UnknownEventConfig: none is set
            return {}
        return config

    def _layers(self, function: Any, region: str) -> list[Any]:
        backend = get_backend(self._account_id, region)
        versions = (backend.layers_versions_by_arn(layer["Arn"]) for layer in function.layers)
        return [version for version in versions if version is not None]

    def _root(self, function: Any) -> Path:
        """The folder that a function's code is in; raise CannotStart if there is none."""
        uri = resolved_uri(function)
        return self._store.image_folder(uri) if uri else self._unpacked(function)

    def _unpacked(self, code: Any) -> Path:
        """The folder with the unpacked zip of a function or layer version."""
        return self._store.unpack(code.code_bytes, code.code_sha_256)


def _revision(function: Any) -> str:
    """A hash of everything that an environment starts with."""
    config = function.get_configuration()
    for volatile in ("LastModified", "LastUpdateStatus", "RevisionId", "State"):
        config.pop(volatile, None)
    parts = [config, function.code.get("ImageUri"), getattr(function, "times_let_go", 0)]
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _image_config(function: Any) -> dict[str, Any]:
    """The function's overrides of the image's entry point, command and working directory."""
    config = function.get_configuration().get("ImageConfigResponse") or {}
    settings: dict[str, Any] = config.get("ImageConfig") or {}
    return settings
