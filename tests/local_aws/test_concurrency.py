"""What an account may run at once: throttled calls, and events that wait for a slot."""

from __future__ import annotations

import errno
import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner

from local_aws.__main__ import main
from local_aws.async_queue import AsyncQueue
from local_aws.errors import Throttled
from local_aws.executor import Executor
from local_aws.function import FunctionSpec, Result
from local_aws.process import LocalAWS
from local_aws.slots import Concurrency
from tests.local_aws.conftest import Cloud

LIMIT = 2
SLEEPS = (
    "import time\ndef handler(event, context):\n"
    "    time.sleep(event.get('seconds', 0.1))\n    return 'done'\n"
)
SPEC = FunctionSpec(
    name="f",
    arn="arn:aws:lambda:us-east-1:123456789012:function:f",
    version="$LATEST",
    revision="1",
    handler="handler.handler",
    task_root=Path(),
    environment={},
    memory_mb=128,
    timeout_s=3,
    role_arn="",
)


@pytest.fixture(scope="module")
def small() -> Iterator[Cloud]:
    """A small account."""
    settings: dict[str, Any] = {"account_concurrency": LIMIT, "max_concurrency": LIMIT}
    with LocalAWS(throttle_delays="0.1,0.4", **settings) as aws:
        yield Cloud(aws)


def test_a_small_account_can_reserve_nothing(small: Cloud) -> None:
    client, name = small.client("lambda"), small.function(SLEEPS)

    limits = client.get_account_settings()["AccountLimit"]

    assert limits["ConcurrentExecutions"] == limits["UnreservedConcurrentExecutions"] == LIMIT
    with pytest.raises(client.exceptions.InvalidParameterValueException) as refused:
        client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    assert "below its minimum value of [2]" in refused.value.response["Error"]["Message"]
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    client.delete_function_concurrency(FunctionName=name)


def test_all_functions_share_the_accounts_slots(small: Cloud) -> None:
    names = [small.function(SLEEPS) for _ in range(LIMIT + 1)]
    with ThreadPoolExecutor(LIMIT) as pool:
        running = [pool.submit(persist, small, name, {"seconds": 4}) for name in names[:LIMIT]]
        while not (refused := refusal(small, names[LIMIT])):
            assert not all(one.done() for one in running)

        assert refused.response["ResponseMetadata"]["HTTPStatusCode"] == 429
        assert refused.response["Error"] == {
            "Code": "TooManyRequestsException",
            "Message": "Rate Exceeded.",
        }
        assert cast("Any", refused.response)["Reason"] == "ConcurrentInvocationLimitExceeded"
        assert [one.result() for one in running] == ["done"] * LIMIT
    assert small.invoke(names[LIMIT])[0] == "done"


def persist(cloud: Cloud, name: str, payload: Any) -> Any:
    """The answer of an invocation that is tried until there is a free slot."""
    while True:
        try:
            return cloud.invoke(name, payload)[0]
        except ClientError:
            continue


def refusal(cloud: Cloud, name: str) -> ClientError | None:
    """How the invocation was refused; None if it ran."""
    try:
        cloud.invoke(name)
    except ClientError as error:
        return error
    return None


def test_throttled_events_are_kept_and_all_run(small: Cloud) -> None:
    client, names = small.client("lambda"), [small.function(SLEEPS) for _ in range(2)]

    for name in names * 6:
        client.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"seconds": 0.2}')

    deadline = time.monotonic() + 30
    while sum(count(small, name, "Invocations") for name in names) < 12:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert sum(count(small, name, "Throttles") for name in names) > 0
    assert sum(count(small, name, "Errors") for name in names) == 0


def count(cloud: Cloud, name: str, metric: str) -> float:
    """The sum of a function's metric."""
    now = datetime.now(timezone.utc)
    points = cloud.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/Lambda",
        MetricName=metric,
        Dimensions=[{"Name": "FunctionName", "Value": name}],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(hours=1),
        Period=86_400,
        Statistics=["Sum"],
    )["Datapoints"]
    return float(sum(point["Sum"] for point in points))


def test_versions_share_a_reservation_and_regions_nothing() -> None:
    slots, reserved = Concurrency(), replace(SPEC, reserved_concurrency=1)
    elsewhere = replace(SPEC, arn=SPEC.arn.replace("us-east-1", "eu-west-1"))
    with slots.slot(reserved) as running:
        assert running == 1
        with pytest.raises(Throttled) as refused, slots.slot(replace(reserved, version="1")):
            pass
        assert refused.value.reason == "ReservedFunctionConcurrentInvocationLimitExceeded"
        other = replace(SPEC, arn=f"{SPEC.arn}-other", unreserved_concurrency=1)
        with slots.slot(other):
            with pytest.raises(Throttled), slots.slot(replace(other, version="1")):
                pass
            with slots.slot(replace(elsewhere, unreserved_concurrency=1)):
                pass
    with slots.slot(reserved):
        pass


class Full:
    """An executor that throttles the first invocations of each event, or raises another error."""

    def __init__(self, throttles: int, error: Exception | None = None) -> None:
        """Throttle, or raise `error`, this often."""
        self.left = throttles
        self.error = error or Throttled("ConcurrentInvocationLimitExceeded")
        self.times: list[float] = []
        self.done = threading.Event()

    def invoke(self, spec: FunctionSpec, payload: bytes, request_id: str) -> Result:
        """Throttle, or succeed."""
        self.times.append(time.monotonic())
        if self.left:
            self.left -= 1
            raise self.error
        self.done.set()
        return Result(b"1", request_id)


def test_the_delay_of_a_throttled_event_doubles_up_to_the_longest() -> None:
    full, records = Full(5), queue.Queue[dict[str, Any]]()
    events = AsyncQueue(
        cast("Executor", full), lambda _, record: records.put(record), 1, (), (0.1, 0.4)
    )

    events.put("f", lambda: SPEC, b"{}")

    assert full.done.wait(10)
    events.close()
    gaps = [after - before for before, after in zip(full.times, full.times[1:], strict=False)]
    delays = (0.1, 0.2, 0.4, 0.4, 0.4)
    assert all(delay <= gap for gap, delay in zip(gaps, delays, strict=True)), gaps
    assert sum(gaps) < sum(delays) + 1, gaps  # a busy machine may be late, but not by much
    assert records.empty()


def test_an_error_that_nobody_expected_loses_no_event(caplog: pytest.LogCaptureFixture) -> None:
    full = Full(2, OSError(errno.EMFILE, "Too many open files"))
    events = AsyncQueue(cast("Executor", full), lambda *_: None, 1, (), (0.05, 0.1))

    events.put("f", lambda: SPEC, b"{}")

    assert full.done.wait(10)
    events.close()
    assert len(full.times) == 3
    assert caplog.text.count("of f is tried again later") == 2


def test_a_throttled_event_is_given_up_at_its_greatest_age() -> None:
    full, records = Full(1000), queue.Queue[dict[str, Any]]()
    spec = replace(SPEC, max_event_age_s=0.3, on_failure="a queue")
    events = AsyncQueue(
        cast("Executor", full), lambda _, record: records.put(record), 1, (), (0.05, 0.1)
    )

    events.put("f", lambda: spec, b"{}")

    record = records.get(timeout=10)
    events.close()
    assert record["requestContext"]["condition"] == "EventAgeExceeded"
    assert record["requestContext"]["approximateInvokeCount"] == 0


@pytest.mark.parametrize("value", ["1", "2,1", "0,1", "a,b"])
def test_impossible_delays_are_refused(value: str) -> None:
    result = CliRunner().invoke(main, ["--throttle-delays", value])

    assert result.exit_code == 2
    assert f"{value}: use" in result.output
