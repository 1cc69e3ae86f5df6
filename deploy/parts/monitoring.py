"""The alarms, their topic and the dashboard of a deployment: what they should be, what exists.

Everything here only reads; deploy/alarms.py writes. Their names contain the prefix.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import botocore.exceptions
import click

from deploy.parts.checks import Check, passed
from deploy.parts.ownership import owner_tags
from pipeline.aws import error_code, read_or_none
from pipeline.cli import Run
from pipeline.setting_table import EMAIL
from pipeline.settings import Deployment

MADE_BY = "Made by deploy/alarms.py"  # what does not say so belongs to somebody else
NO_DASHBOARD = ("ResourceNotFound", "DashboardNotFoundError")
NO_TOPIC = ("NotFound", "ResourceNotFound")  # of a topic, and of what can have tags
DENIED = ("AccessDenied", "AccessDeniedException", "AuthorizationError")
PENDING = "PendingConfirmation"  # instead of the ARN of a subscription nobody has confirmed


def _mail_address(_context: click.Context, _option: object, value: str | None) -> str | None:
    """Return the value of --email, checked before anything is changed."""
    if value and not EMAIL.fits(value):
        raise click.BadParameter(f"{value!r} is not a mail address.")
    return value or None


email_option = click.option(
    "--email",
    callback=_mail_address,
    help="The address that alarms are mailed to, once you have confirmed the mail from AWS.",
)
alarms_option = click.option(
    "--alarms/--no-alarms",
    "has_alarms",
    default=True,
    help="Whether this deployment has alarms and a dashboard (docs/costs.md); default: yes.",
)


@dataclass(frozen=True)
class Alarm:
    """One alarm: it goes off if `metric` exceeds 0 in each of `periods` periods of `period_s`."""

    name: str
    what: str  # has happened, and what to do
    namespace: str
    metric: str
    dimension: tuple[str, str]
    statistic: str = "Sum"
    period_s: int = 300
    periods: int = 1

    def settings(self, actions: list[str]) -> dict[str, Any]:
        """Return the arguments of PutMetricAlarm, as DescribeAlarms returns them."""
        name, value = self.dimension
        return {
            "AlarmName": self.name,
            "AlarmDescription": f"{self.what} {MADE_BY}.",
            "AlarmActions": actions,
            "Namespace": self.namespace,
            "MetricName": self.metric,
            "Dimensions": [{"Name": name, "Value": value}],
            "Statistic": self.statistic,
            "Period": self.period_s,
            "EvaluationPeriods": self.periods,
            "Threshold": 0.0,
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "notBreaching",
        }


def alarms(deployment: Deployment) -> list[Alarm]:
    """Return the alarms of a deployment: fewer than the ten that AWS gives for free.

    Throttling is how a burst of uploads is held back, and Lambda tries again. So that alarm waits
    for a quarter of an hour of it.
    """
    prefix, queue = deployment.prefix, deployment.failure_queue
    splitter, recognizer = deployment.splitter.name, deployment.recognizer.name
    found = [
        Alarm(
            f"{prefix}-failures",
            f"Videos failed for good: `python3 deploy/failures.py list` shows queue {queue}.",
            "AWS/SQS",
            "ApproximateNumberOfMessagesVisible",
            ("QueueName", queue),
            "Maximum",
            60,
        )
    ]
    for key, name in (("splitter", splitter), ("recognizer", recognizer)):
        dimension = ("FunctionName", name)
        logs = "`python3 deploy/logs.py` shows why."
        found += [
            Alarm(
                f"{prefix}-{key}-errors",
                f"Function {name} raised errors: {logs}",
                "AWS/Lambda",
                "Errors",
                dimension,
            ),
            Alarm(
                f"{prefix}-{key}-throttles",
                f"Function {name} has been throttled for 15 minutes: too little concurrency.",
                "AWS/Lambda",
                "Throttles",
                dimension,
                periods=3,
            ),
        ]
    lost = {
        "undelivered": ("DestinationDeliveryFailures", "could not be put into the failure queue"),
        "dropped": ("AsyncEventsDropped", "were dropped before they were handled"),
    }
    for key, (metric, what) in lost.items():
        find = "`python3 deploy/failures.py missing` lists those without an answer."
        text = f"Events of function {splitter} {what}. {find}"
        dimension = ("FunctionName", splitter)
        found.append(Alarm(f"{prefix}-{key}", text, "AWS/Lambda", metric, dimension))
    return found


def topic_name(deployment: Deployment) -> str:
    """Return the name of the SNS topic that mails alarms."""
    return f"{deployment.prefix}-alarms"


def topic_arn(run: Run) -> str:
    """Return the ARN of the topic, whether it exists or not."""
    aws = run.aws
    return f"arn:{aws.partition}:sns:{aws.region}:{aws.account_id}:{topic_name(run.deployment)}"


def dashboard_name(deployment: Deployment) -> str:
    """Return the name of the dashboard."""
    return f"{deployment.prefix}-pipeline"


def dashboard(run: Run) -> dict[str, Any]:
    """Return the dashboard's body.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
    """
    deployment, aws = run.deployment, run.aws
    splitter, recognizer = deployment.splitter, deployment.recognizer
    arn = f"arn:{aws.partition}:cloudwatch:{aws.region}:{aws.account_id}:alarm:"
    both = (splitter.name, recognizer.name)

    def graph(title: str, *metrics: list[Any]) -> dict[str, Any]:
        return {"title": title, "region": aws.region, "period": 60, "metrics": list(metrics)}

    def of(metric: str, statistic: str = "Sum", names: tuple[str, ...] = both) -> list[list[Any]]:
        return [["AWS/Lambda", metric, "FunctionName", name, {"stat": statistic}] for name in names]

    queues = [
        ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", name, {"stat": "Maximum"}]
        for name in (deployment.failure_queue, deployment.upload_queue)
    ]
    sources = " | ".join(f"SOURCE '{f.log_group}'" for f in (splitter, recognizer))
    query = (
        f'{sources} | filter level = "ERROR" | sort @timestamp desc | limit 50\n'
        "| fields @timestamp, service, message, video, frame, error, correlation_id"
    )
    names = [alarm.name for alarm in alarms(deployment)]
    about = (
        f"## {deployment.prefix}\n{MADE_BY}, which overwrites what is changed here. "
        "`python3 deploy/logs.py` and `python3 deploy/status.py --video KEY` show more."
    )
    widgets: list[tuple[str, int, dict[str, Any]]] = [
        ("text", 24, {"markdown": about}),
        ("alarm", 24, {"title": "Alarms", "alarms": [f"{arn}{name}" for name in names]}),
        ("metric", 8, graph("Invocations", *of("Invocations"))),
        ("metric", 8, graph("Errors and throttles", *of("Errors"), *of("Throttles"))),
        ("metric", 8, graph("Messages", *queues)),
        ("metric", 8, graph("Duration, ms: p50", *of("Duration", "p50"))),
        ("metric", 8, graph("Duration, ms: p95", *of("Duration", "p95"))),
        ("metric", 8, graph("Running at once", *of("ConcurrentExecutions", "Maximum"))),
        ("log", 24, {"title": "Errors", "region": aws.region, "query": query, "view": "table"}),
    ]
    heights = {"text": 2, "alarm": 3, "metric": 6, "log": 8}
    placed, x, y = [], 0, 0
    for kind, width, properties in widgets:
        size = {"x": x, "y": y, "width": width, "height": heights[kind]}
        placed.append({"type": kind, **size, "properties": properties})
        x = (x + width) % 24
        y += heights[kind] if x == 0 else 0
    return {"widgets": placed}


def found_alarms(run: Run) -> dict[str, Any]:
    """Return what DescribeAlarms says about each alarm of these names that exists."""
    names = [alarm.name for alarm in alarms(run.deployment)]
    found = run.aws.client("cloudwatch").describe_alarms(AlarmNames=names)
    return {str(alarm["AlarmName"]): alarm for alarm in found["MetricAlarms"]}


def found_dashboard(run: Run) -> dict[str, Any] | None:
    """Return the body of the dashboard; None if there is none."""
    cloudwatch, name = run.aws.client("cloudwatch"), dashboard_name(run.deployment)
    found = read_or_none(lambda: cloudwatch.get_dashboard(DashboardName=name), *NO_DASHBOARD)
    body: dict[str, Any] | None = json.loads(found["DashboardBody"]) if found else None
    return body


def found_topic(run: Run) -> dict[str, str] | None:
    """Return the tags of the topic; None if there is none."""
    sns, arn = run.aws.client("sns"), topic_arn(run)
    found = read_or_none(lambda: sns.list_tags_for_resource(ResourceArn=arn), *NO_TOPIC)
    return None if found is None else {tag["Key"]: tag["Value"] for tag in found["Tags"]}


def subscriptions(run: Run) -> dict[str, str]:
    """Return the mail addresses that get alarms, with the ARNs of their subscriptions."""
    pages = run.aws.client("sns").get_paginator("list_subscriptions_by_topic")
    return {
        str(found["Endpoint"]): str(found["SubscriptionArn"])
        for page in pages.paginate(TopicArn=topic_arn(run))
        for found in page["Subscriptions"]
        if found["Protocol"] == "email"
    }


def foreign_monitoring(run: Run) -> list[str]:
    """Return, in words, what has the names of our alarms, topic or dashboard but is not ours."""
    found = [
        f"alarm '{name}' was not made by these scripts"
        for name, alarm in found_alarms(run).items()
        if MADE_BY not in alarm.get("AlarmDescription", "")
    ]
    body, tags = found_dashboard(run), found_topic(run)
    if body is not None and MADE_BY not in json.dumps(body):
        found.append(f"dashboard '{dashboard_name(run.deployment)}' was not made by these scripts")
    if tags is not None and not owner_tags(run).items() <= tags.items():
        found.append(f"topic '{topic_name(run.deployment)}' was not made by these scripts")
    return found


def may_see_alarms(run: Run) -> bool:
    """Return whether these credentials may see alarms, topics and dashboards; say so if not.

    Accounts for courses allow little, and a deployment needs no alarms.
    """
    try:
        found_alarms(run)
        found_dashboard(run)
        found_topic(run)
    except botocore.exceptions.ClientError as error:
        if error_code(error) not in DENIED:
            raise
        run.note(f"Alarms are left out: these credentials may not call {error.operation_name}.")
        return False
    return True


def alarm_check(run: Run) -> Check:
    """Check that the alarms exist and that none has gone off; they are never a failure."""
    name, found, fix = "alarms", found_alarms(run), run.command("deploy/alarms.py")
    missing = [alarm.name for alarm in alarms(run.deployment) if alarm.name not in found]
    if missing:
        return Check(name, "warning", f"{', '.join(missing)}: not there", fix)
    gone_off = [key for key, alarm in found.items() if alarm["StateValue"] == "ALARM"]
    if gone_off:
        texts = "; ".join(f"{key}: {found[key]['AlarmDescription']}" for key in gone_off)
        return Check(name, "warning", f"gone off: {texts}", run.command("deploy/logs.py"))
    addresses = {} if found_topic(run) is None else subscriptions(run)
    waiting = [address for address, arn in addresses.items() if arn == PENDING]
    if waiting:
        text = f"{', '.join(waiting)} has not confirmed AWS's mail, and gets no alarms"
        return Check(name, "warning", text, "Open the mail and follow its link.")
    mailed = ", ".join(addresses) or "nobody (--email)"
    return passed(name, f"{len(found)}, none has gone off; mailed to {mailed}")
