"""moto's event source mappings from SQS, with the checks that Lambda makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.awslambda.exceptions import InvalidParameterValueException, LambdaClientError
from moto.awslambda.models import EventSourceMapping, LambdaBackend
from moto.awslambda.utils import get_backend
from moto.sqs.models import sqs_backends

from local_aws.errors import CannotDeliver
from local_aws.moto_iam import check_role
from local_aws.moto_lambda import Conflict
from local_aws.moto_patch import Method, wrap_method

# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
NEEDED = ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
MIN_CONCURRENCY, MAX_CONCURRENCY = 2, 1000
UNBUFFERED_BATCH = 10  # a larger batch needs a batching window


class Unknown(LambdaClientError):  # type: ignore[misc]
    """There is no such mapping."""

    code = 404

    def __init__(self) -> None:
        """Use AWS's message."""
        super().__init__("ResourceNotFoundException", "The resource you requested does not exist.")


class Mapping:
    """One mapping, as it is at this moment."""

    def __init__(self, moto: Any) -> None:
        """Wrap moto's mapping."""
        self._moto = moto
        self.queue_arn: str = moto.event_source_arn

    @property
    def exists(self) -> bool:
        """Whether it has not been deleted."""
        backend = get_backend(self._moto.account_id, self._moto.region)
        return backend.get_event_source_mapping(self._moto.uuid) is not None

    @property
    def is_enabled(self) -> bool:
        """Whether the queue is to be read."""
        return bool(self._moto.enabled)

    @property
    def function(self) -> str:
        """The name or ARN of the function, with the qualifier that it was made with."""
        return str(self._moto.function_name)

    @property
    def batch_size(self) -> int:
        """How many messages one invocation gets at most."""
        return int(self._moto.batch_size)

    @property
    def window_s(self) -> float:
        """How long to wait for a full batch."""
        return float(self._moto.max_batch_window or 0)

    @property
    def max_concurrency(self) -> int | None:
        """How many invocations it may run at once; None if it sets no limit."""
        return (self._moto.scaling_config or {}).get("MaximumConcurrency")

    @property
    def reports_failures(self) -> bool:
        """Whether the function says which messages failed."""
        return "ReportBatchItemFailures" in (self._moto.function_response_types or [])


def leave_queues_to_pollers(add: Callable[[Mapping], None]) -> None:
    """moto invokes the function inside SendMessage. `add` gets each new mapping instead."""

    @wrap_method(LambdaBackend, "create_event_source_mapping")
    def create(create: Method, backend: Any, spec: dict[str, Any]) -> Any:
        mapping = create(backend, spec)
        if ":sqs:" in mapping.event_source_arn:
            _queue(mapping.event_source_arn).lambda_event_source_mappings.clear()
            add(Mapping(mapping))
        return mapping


def check_mappings() -> None:
    """moto accepts mappings that cannot work, and forgets the function's name in an update."""

    @wrap_method(LambdaBackend, "create_event_source_mapping")
    def create(create: Method, backend: Any, spec: dict[str, Any]) -> Any:
        arn, name = str(spec.get("EventSourceArn")), str(spec.get("FunctionName"))
        if ":sqs:" in arn:
            _check(backend, arn, name, spec)
            function = backend.get_function(name)
            for other in backend.list_event_source_mappings(arn, None):
                if other.function_arn == function.function_arn:
                    raise Conflict(
                        f'An event source mapping with SQS arn (" {arn} ") and function '
                        f'(" {function.function_name} ") already exists. Please update or delete '
                        f"the existing mapping with UUID {other.uuid}"
                    )
        return create(backend, spec)

    @wrap_method(LambdaBackend, "update_event_source_mapping")
    def update(update: Method, backend: Any, uuid: str, spec: dict[str, Any]) -> Any:
        mapping = _found(backend, uuid)
        name = str(spec.get("FunctionName") or mapping.function_name)
        if ":sqs:" in mapping.event_source_arn:
            before = {
                "BatchSize": mapping.batch_size,
                "MaximumBatchingWindowInSeconds": mapping.max_batch_window,
            }
            _check(backend, mapping.event_source_arn, name, {**before, **spec})
        mapping = update(backend, uuid, spec)
        mapping.function_name = name
        return mapping

    @wrap_method(LambdaBackend, "delete_event_source_mapping")
    def delete(delete: Method, backend: Any, uuid: str) -> Any:
        _found(backend, uuid)
        return delete(backend, uuid)


def _found(backend: Any, uuid: str) -> EventSourceMapping:
    mapping = backend.get_event_source_mapping(uuid)
    if mapping is None:
        raise Unknown
    return mapping


def _queue(arn: str) -> Any:
    """moto's queue; None if it does not exist."""
    _, _, _, region, account_id, name = arn.split(":")
    return sqs_backends[account_id][region].queues.get(name)


def _check(backend: Any, queue_arn: str, function_name: str, spec: dict[str, Any]) -> None:
    function, queue = backend.get_function(function_name), _queue(queue_arn)
    if queue is None:
        raise InvalidParameterValueException(
            "Error occurred while ReceiveMessage. SQS Error Code: "
            "AWS.SimpleQueueService.NonExistentQueue. SQS Error Message: The specified queue does "
            "not exist."
        )
    for action in NEEDED:
        try:
            check_role(function.role, f"sqs:{action}", queue_arn)
        except CannotDeliver as error:
            raise InvalidParameterValueException(
                f"The provided execution role does not have permissions to call {action} on SQS"
            ) from error
    if int(function.timeout) > int(queue.visibility_timeout):
        raise InvalidParameterValueException(
            f"Queue visibility timeout: {queue.visibility_timeout} seconds is less than Function "
            f"timeout: {function.timeout} seconds"
        )
    most = (spec.get("ScalingConfig") or {}).get("MaximumConcurrency")
    if most is not None and not MIN_CONCURRENCY <= most <= MAX_CONCURRENCY:
        raise InvalidParameterValueException(
            f"MaximumConcurrency must be between {MIN_CONCURRENCY} and {MAX_CONCURRENCY}"
        )
    is_large = (spec.get("BatchSize") or 0) > UNBUFFERED_BATCH
    if is_large and not spec.get("MaximumBatchingWindowInSeconds"):
        raise InvalidParameterValueException(
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is "
            f"greater than {UNBUFFERED_BATCH}"
        )
