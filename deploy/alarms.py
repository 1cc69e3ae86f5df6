#!/usr/bin/env python3
"""The alarms: CloudWatch alarms on failures, errors and throttles, a dashboard, and mails."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.requirements import require_packages

require_packages()

import botocore.exceptions
import click

from deploy.parts.monitoring import (
    DENIED,
    PENDING,
    Alarm,
    alarms,
    dashboard,
    dashboard_name,
    email_option,
    foreign_monitoring,
    found_alarms,
    found_dashboard,
    found_topic,
    subscriptions,
    topic_arn,
    topic_name,
)
from deploy.parts.ownership import owner_tags, refuse_foreign
from pipeline.aws import AwsError, covers, error_code, explain, tag_list
from pipeline.cli import Run, deployment_options


def ensure_alarms(run: Run, email: str | None = None) -> None:
    """Create or update the alarms, the dashboard and, with `email`, the topic that mails alarms.

    Without `email`, a topic that exists is kept, with whoever gets its mails. Raises AwsError if
    something of these names is not ours, or if these credentials may not make alarms.
    """
    refuse_foreign(run)
    try:
        if found := foreign_monitoring(run):
            raise AwsError(f"{'; '.join(found)}. Delete or rename it, or use another --prefix.")
        topic = _ensure_topic(run, email)
        current = found_alarms(run)
        for alarm in alarms(run.deployment):
            _ensure_alarm(run, alarm, current.get(alarm.name), topic)
        _ensure_dashboard(run)
    except botocore.exceptions.ClientError as error:
        if error_code(error) not in DENIED:
            raise
        raise AwsError(
            f"{explain(error)} docs/settings.md lists the rights that alarms need. The pipeline "
            "works without them: deploy/deploy.py --no-alarms --save leaves them out for good."
        ) from error


def _ensure_topic(run: Run, email: str | None) -> str | None:
    """Return the ARN of the topic, which is made if it is needed; None if there is none."""
    sns, name, arn = run.aws.client("sns"), topic_name(run.deployment), topic_arn(run)
    exists = found_topic(run) is not None
    if exists:
        run.kept(f"topic '{name}'")
    elif email:
        tags = tag_list(owner_tags(run))
        run.change("create", f"topic '{name}'", lambda: sns.create_topic(Name=name, Tags=tags))
    else:
        return None
    addresses = subscriptions(run) if exists else {}
    for address, subscription in addresses.items():
        state = "waits for its confirmation" if subscription == PENDING else "gets mails"
        run.kept(f"topic '{name}': {address} {state}")
    if email and email not in addresses:
        subscribe = partial(sns.subscribe, TopicArn=arn, Protocol="email", Endpoint=email)
        run.change("add", f"{email} to topic '{name}'", subscribe)
    return arn


def _ensure_alarm(run: Run, alarm: Alarm, current: Any, topic: str | None) -> None:
    """Create or update an alarm; actions that somebody has added are kept."""
    text = f"alarm '{alarm.name}'"
    actions = list(current.get("AlarmActions", [])) if current else []
    if topic and topic not in actions:
        actions.append(topic)
    wanted = alarm.settings(actions)
    put = run.aws.client("cloudwatch").put_metric_alarm
    if current is None:
        tags = tag_list(owner_tags(run))
        run.change("create", text, lambda: put(**wanted, Tags=tags))
    elif covers(current, wanted):
        run.kept(text)
    else:
        # What PutMetricAlarm is not told, it sets back.
        kept = ("ActionsEnabled", "OKActions", "InsufficientDataActions")
        theirs = {name: current[name] for name in kept if name in current}
        run.change("update", text, lambda: put(**wanted, **theirs))


def _ensure_dashboard(run: Run) -> None:
    name, wanted = dashboard_name(run.deployment), dashboard(run)
    current = found_dashboard(run)
    if current == wanted:
        run.kept(f"dashboard '{name}'")
        return
    run.change(
        "update" if current else "create",
        f"dashboard '{name}'",
        lambda: run.aws.client("cloudwatch").put_dashboard(
            DashboardName=name, DashboardBody=json.dumps(wanted)
        ),
    )


@click.command()
@deployment_options
@email_option
def main(run: Run, email: str | None) -> None:
    """Set up alarms and a dashboard: python3 deploy/alarms.py --prefix 1225111111 --email A@B.com

    Alarms go off when a video fails for good, a function raises errors, is throttled for a quarter
    of an hour, or loses an event. With --email, AWS sends a mail that you must confirm, and then
    one for each alarm. docs/costs.md says what they cost, docs/settings.md which rights they need.
    """
    ensure_alarms(run, email)
    if run.dry_run:
        return
    region, name = run.aws.region, dashboard_name(run.deployment)
    is_local = "amazonaws.com" not in run.aws.client("cloudwatch").meta.endpoint_url
    if email and subscriptions(run).get(email) == PENDING:
        click.echo(f"AWS has sent a mail to {email}: confirm it, or no alarm is mailed.", err=True)
    console = f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}"
    click.echo(name if is_local else f"{console}#dashboards/dashboard/{name}")
    click.echo(f"Next: {run.command('deploy/doctor.py')}", err=True)


if __name__ == "__main__":
    main()
