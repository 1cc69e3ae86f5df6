"""moto's CloudWatch: Lambda's metrics in it, and repairs of how it computes statistics."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from moto.cloudwatch.exceptions import InvalidParameterValue, ValidationError
from moto.cloudwatch.models import (
    CloudWatchBackend,
    MetricAggregatedDatum,
    Statistics,
    cloudwatch_backends,
)
from moto.cloudwatch.responses import CloudWatchResponse

from local_aws.metric_math import SIMPLE, InvalidMath, Series, evaluate, statistic
from local_aws.moto_patch import Method, wrap_method

QUERY_ID = re.compile(r"[a-z][a-zA-Z0-9_]*")


def put_lambda_metrics(
    account_id: str, region: str, function_name: str, values: dict[str, tuple[float, str]]
) -> None:
    """Record AWS/Lambda metrics (value, unit) of a function.

    PutMetricData cannot do this: it refuses namespaces that start with AWS/.
    """
    data = [
        {
            "MetricName": metric,
            "Value": value,
            "Unit": unit,
            "Dimensions": [{"Name": "FunctionName", "Value": function_name}],
        }
        for metric, (value, unit) in values.items()
    ]
    cloudwatch_backends[account_id][region].put_metric_data("AWS/Lambda", data)


def compute_metric_data() -> None:
    """moto fails at percentiles, knows no metric math, and answers SELECT with all there is."""

    @wrap_method(CloudWatchBackend, "get_metric_data")
    def get_metric_data(
        _: Method,
        backend: Any,
        queries: list[dict[str, Any]],
        start_time: datetime,
        end_time: datetime,
        scan_by: str = "TimestampAscending",
    ) -> list[dict[str, Any]]:
        ids = [query["Id"] for query in queries]
        if len(set(ids)) < len(ids) or not all(map(QUERY_ID.fullmatch, ids)):
            raise ValidationError(
                "The Id of each query must be unique, begin with a lowercase letter, and have only "
                "letters, digits and underscores."
            )
        if _seconds(start_time) >= _seconds(end_time):
            raise ValidationError("The parameter EndTime must be greater than StartTime.")
        try:
            found = _series(backend, queries, _seconds(start_time), _seconds(end_time))
        except InvalidMath as error:
            raise ValidationError(f"Error in expression or statistic: {error}") from error
        results = []
        for query in queries:
            if query.get("ReturnData", True) in (False, "false"):
                continue
            series = found[query["Id"]]
            times = sorted(series, reverse=scan_by == "TimestampDescending")
            stat = query.get("MetricStat")
            label = f"{stat['Metric']['MetricName']} {stat['Stat']}" if stat else query["Id"]
            results.append(
                {
                    "id": query["Id"],
                    "label": query.get("Label") or label,
                    "values": [series[time] for time in times],
                    "timestamps": [_moment(time) for time in times],
                    "status_code": "Complete",
                }
            )
        return results


def _series(
    backend: Any, queries: list[dict[str, Any]], start_s: float, end_s: float
) -> dict[str, Series]:
    """The series of all queries, those of metrics first; raise InvalidMath."""
    found: dict[str, Series] = {}
    periods = []
    for query in queries:
        if "MetricStat" in query:
            wanted = query["MetricStat"]
            metric, period = wanted["Metric"], int(wanted["Period"])
            periods.append(period)
            data = _data(
                backend,
                (metric["Namespace"], metric["MetricName"], wanted.get("Unit")),
                metric.get("Dimensions", []),
            )
            buckets = _by_period(data, start_s, end_s, period)
            found[query["Id"]] = {
                time: _statistic(wanted["Stat"], of_period) for time, of_period in buckets.items()
            }
    waiting = [query for query in queries if "MetricStat" not in query]
    while waiting:  # an expression may name another one, further down
        ids = {query["Id"] for query in waiting}
        ready = [query for query in waiting if not ids & _names(query["Expression"])]
        for query in ready or waiting:
            period = int(query.get("Period") or max(periods, default=60))
            found[query["Id"]] = evaluate(query["Expression"], found, period)
            waiting.remove(query)
    return found


def _names(expression: str) -> set[str]:
    """What may be another query's Id."""
    return set("".join(c if c.isalnum() or c == "_" else " " for c in expression).split())


def _data(
    backend: Any, metric: tuple[str, str, str | None], dimensions: list[dict[str, str]]
) -> list[Any]:
    """The data of a metric. Without dimensions, those of all: Lambda sums its functions up."""
    namespace, name, unit = metric
    wanted = sorted((one["Name"], one["Value"]) for one in dimensions)
    return [
        datum
        for datum in backend.get_all_metrics()
        if (datum.namespace, datum.name) == (namespace, name)
        and unit in (None, datum.unit)
        and (not wanted or sorted((d.name, d.value) for d in datum.dimensions) == wanted)
    ]


def _by_period(
    data: list[Any], start_s: float, end_s: float, period_s: int
) -> dict[float, list[Any]]:
    """The data of each period that has any.

    The first period begins where the span does, rounded down to a minute, or to less if the periods
    are shorter.
    """
    first = math.floor(start_s / min(period_s, 60)) * min(period_s, 60)
    buckets: dict[float, list[Any]] = {}
    for datum in sorted(data, key=lambda one: _seconds(one.timestamp)):
        time = _seconds(datum.timestamp)
        if first <= time < end_s:
            number = math.floor((time - first) / period_s)
            buckets.setdefault(first + number * period_s, []).append(datum)
    return buckets


def _statistic(name: str, data: list[Any]) -> float:
    """A statistic of data, some of which may be aggregated already; raise InvalidMath."""
    if name in SIMPLE and any(isinstance(one, MetricAggregatedDatum) for one in data):
        of_all = Statistics([name], data[0].timestamp)
        of_all.metric_data = data
        return float(of_all.get_statistics_for_type(name))
    values = [one.value for one in data if not isinstance(one, MetricAggregatedDatum)]
    if not values:
        raise InvalidMath(f"{name} needs single values, and the metric has aggregated ones.")
    return statistic(name, values)


def _seconds(time: datetime) -> float:
    return (time if time.tzinfo else time.replace(tzinfo=timezone.utc)).timestamp()


def _moment(seconds: float) -> datetime:
    return datetime(1970, 1, 1) + timedelta(seconds=seconds)  # naive, as moto's are


def compute_metric_statistics() -> None:
    """moto ignores ExtendedStatistics, and its first period begins with the first value."""

    @wrap_method(CloudWatchBackend, "get_metric_statistics")
    def get_statistics(
        _: Method,
        backend: Any,
        namespace: str,
        metric_name: str,
        start_time: datetime,
        end_time: datetime,
        period: int,
        stats: list[str],
        dimensions: list[dict[str, str]],
        unit: str | None = None,
    ) -> list[Any]:
        if _seconds(start_time) >= _seconds(end_time):
            raise InvalidParameterValue(
                "The parameter StartTime must be less than the parameter EndTime."
            )
        data = _data(backend, (namespace, metric_name, unit), dimensions)
        points = []
        buckets = _by_period(data, _seconds(start_time), _seconds(end_time), period)
        for time, of_period in buckets.items():
            point = Statistics(stats, _moment(time), of_period[-1].unit)
            point.metric_data = of_period
            points.append(point)
        return points

    @wrap_method(CloudWatchResponse, "get_metric_statistics")
    def respond(respond: Callable[..., Any], response: Any) -> Any:
        answer = respond(response)
        for point in answer.result["Datapoints"]:
            try:
                point.extended_statistics = {
                    name: _statistic(name, point.metric_data)
                    for name in response._get_param("ExtendedStatistics") or []
                }
            except InvalidMath as error:
                raise InvalidParameterValue(str(error)) from error
        return answer
