"""The control plane: everything that touches moto's Lambda, S3 events and CloudWatch."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from moto.awslambda.exceptions import UnknownFunctionException
from moto.awslambda.models import LambdaFunction
from moto.awslambda.utils import get_backend
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.exceptions import JsonRESTError

from local_aws.code_store import CodeStore
from local_aws.function import CannotStart, FunctionSpec, UnknownFunction
from local_aws.image_sandbox import read_image
from local_aws.moto_gaps import CONCURRENCY_QUOTA


@dataclass(frozen=True)
class PendingEvent:
    """An event that a service has for a function, as JSON."""

    arn: str
    payload: bytes


class ControlPlane:
    """Reads functions from moto as specs, and collects the events moto has for them.

    moto invokes functions from within PutObject, before the answer is sent and while it swallows
    every exception. So events are collected, a thread's own, and queued by the front door when
    the response has been sent.
    """

    def __init__(self, account_id: str, store: CodeStore) -> None:
        """Functions are looked up in `account_id`; their code is unpacked by `store`."""
        self._account_id = account_id
        self._store = store
        self._pending = threading.local()
        self._sequence = count(1)

    def install(self) -> None:
        """Have moto's services hand events to this control plane instead of running anything."""

        def invoke(function: LambdaFunction, body: str, request: Any, response: Any) -> str:
            self._collect(PendingEvent(function.function_arn, self._repair(body)))
            return "null"

        LambdaFunction.invoke = invoke

    def take_events(self) -> list[PendingEvent]:
        """The events collected in this thread since the last call."""
        events: list[PendingEvent] = getattr(self._pending, "events", [])
        self._pending.events = []
        return events

    def _collect(self, event: PendingEvent) -> None:
        if not hasattr(self._pending, "events"):
            self._pending.events = []
        self._pending.events.append(event)

    def _repair(self, body: str) -> bytes:
        """Make moto's S3 event look like S3's own: key encoding, sequencer and identities.

        https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
        """
        event = json.loads(body)
        for record in event.get("Records", []) if isinstance(event, dict) else []:
            if record.get("eventSource") != "aws:s3":
                continue
            bucket, item = record["s3"]["bucket"], record["s3"]["object"]
            item["key"] = item["key"].replace("%2F", "/")
            item.setdefault("sequencer", f"{next(self._sequence):018X}")
            bucket.setdefault("ownerIdentity", {"principalId": "LOCAL"})
            record["eventName"] = record["eventName"].removeprefix("s3:")
            record.setdefault("userIdentity", {"principalId": "AWS:LOCAL"})
            record.setdefault("requestParameters", {"sourceIPAddress": "127.0.0.1"})
            record.setdefault("responseElements", {"x-amz-request-id": "0", "x-amz-id-2": "0"})
        return json.dumps(event).encode()

    def spec(self, name: str, qualifier: str | None, region: str) -> FunctionSpec:
        """The function as it is now.

        `name` is a name, a partial or a full ARN, with or without a qualifier. Raises
        UnknownFunction; code that is not to be had is the spec's `obstacle`.
        """
        function = self._find(name, qualifier, region)
        config = self._event_config(function, region)
        on_failure = config.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
        uri = function.code.get("ImageUri")
        root, layers, image, obstacle = Path(), [], None, None
        try:
            root = self._store.image_folder(uri) if uri else self._unpacked(function)
            image = read_image(root) if uri else None
            layers = list(map(self._unpacked, self._layers(function, region)))
        except CannotStart as error:
            obstacle = str(error)
        return FunctionSpec(
            name=function.function_name,
            arn=str(function.function_arn).removesuffix(f":{function.version}"),
            version=str(function.version),
            revision=self._revision(function),
            handler=function.handler or "handler.handler",
            task_root=root,
            layers=tuple(layers),
            environment=dict(function.environment_vars or {}),
            memory_mb=int(function.memory_size),
            timeout_s=float(function.timeout),
            role_arn=function.role,
            reserved_concurrency=_number(function.reserved_concurrency),
            retries=int(config.get("MaximumRetryAttempts", 2)),
            max_event_age_s=float(config.get("MaximumEventAgeInSeconds") or 21_600),
            on_failure=on_failure or None,
            image=image,
            image_config=_image_config(function),
            ephemeral_mb=int(function.ephemeral_storage or 512),
            obstacle=obstacle,
        )

    def concurrency(self, region: str) -> tuple[int, int]:
        """How many functions may run at once in the region, and how many of these are unreserved.

        moto refuses by the same number (see moto_gaps).
        """
        limit = int(os.environ[CONCURRENCY_QUOTA])
        functions = get_backend(self._account_id, region).list_functions()
        return limit, limit - sum(_number(f.reserved_concurrency) or 0 for f in functions)

    def _find(self, name: str, qualifier: str | None, region: str) -> Any:
        backend = get_backend(self._account_id, region)
        if name.count(":") == 2 and not name.startswith("arn:"):  # 123456789012:function:name
            name = name.rsplit(":", 1)[-1]
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
        except JsonRESTError:  # moto's UnknownEventConfig: nothing is set
            return {}
        return config

    def _layers(self, function: Any, region: str) -> list[Any]:
        backend = get_backend(self._account_id, region)
        versions = (backend.layers_versions_by_arn(layer["Arn"]) for layer in function.layers)
        return [version for version in versions if version is not None]

    def _unpacked(self, code: Any) -> Path:
        """The folder with the zip of a function or layer version."""
        return self._store.unpack(code.code_bytes, code.code_sha_256)

    @staticmethod
    def _revision(function: Any) -> str:
        """Changes with whatever an environment was started with."""
        config = function.get_configuration()
        for volatile in ("LastModified", "LastUpdateStatus", "State"):
            config.pop(volatile, None)
        text = json.dumps([config, function.code.get("ImageUri")], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def put_metrics(self, name: str, values: dict[str, tuple[float, str]]) -> None:
        """Record AWS/Lambda metric values (value, unit) for the function in every region used.

        Not through PutMetricData: the AWS/ namespaces are refused there.
        """
        data = [
            {
                "MetricName": metric,
                "Value": value,
                "Unit": unit,
                "Dimensions": [{"Name": "FunctionName", "Value": name}],
            }
            for metric, (value, unit) in values.items()
        ]
        cloudwatch_backends[self._account_id][self.metrics_region].put_metric_data(
            "AWS/Lambda", data
        )

    metrics_region = "us-east-1"


def _image_config(function: Any) -> dict[str, Any]:
    """What the function sets of the image's entry point, command and working directory."""
    config = function.get_configuration().get("ImageConfigResponse") or {}
    settings: dict[str, Any] = config.get("ImageConfig") or {}
    return settings


def _number(value: Any) -> int | None:
    return None if value is None else int(value)
