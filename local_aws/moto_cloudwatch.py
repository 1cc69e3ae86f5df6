"""Lambda's metrics, recorded in moto's CloudWatch."""

from __future__ import annotations

from moto.cloudwatch.models import cloudwatch_backends


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
