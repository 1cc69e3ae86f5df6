"""The alarms, their topic and the dashboard: made, kept, changed, seen and removed."""

from __future__ import annotations

import json
from typing import Any

import botocore.client
import pytest

from deploy.alarms import ensure_alarms
from deploy.parts.inventory import inventory, not_ours
from deploy.parts.monitoring import MADE_BY, alarm_check, alarms, dashboard
from pipeline.aws import AwsError
from pipeline.cli import Run
from tests.deploy.conftest import Account

MAIL = "ops@example.com"


class Killed(BaseException):
    """The script ends between two API calls; no handler may catch this."""


def described(run: Run) -> dict[str, Any]:
    """The alarms that exist, by what follows the prefix in their names."""
    names = [alarm.name for alarm in alarms(run.deployment)]
    found = run.aws.client("cloudwatch").describe_alarms(AlarmNames=names)["MetricAlarms"]
    return {str(a["AlarmName"]).partition("-")[2]: a for a in found}


def test_everything_that_loses_a_video_has_an_alarm_and_a_second_run_changes_nothing(
    run: Run,
) -> None:
    ensure_alarms(run, MAIL)

    found, deployment = described(run), run.deployment
    watched = {
        (a["Namespace"], a["MetricName"], a["Dimensions"][0]["Value"]) for a in found.values()
    }
    assert watched == {
        ("AWS/SQS", "ApproximateNumberOfMessagesVisible", deployment.failure_queue),
        ("AWS/Lambda", "DestinationDeliveryFailures", deployment.splitter.name),
        ("AWS/Lambda", "AsyncEventsDropped", deployment.splitter.name),
        *(
            ("AWS/Lambda", metric, function.name)
            for metric in ("Errors", "Throttles")
            for function in deployment.functions
        ),
    }
    assert len(found) < 10  # as many are free
    (topic,) = {action for alarm in found.values() for action in alarm["AlarmActions"]}
    assert topic.endswith(f":{deployment.prefix}-alarms")
    # No metric is no alarm, and throttling must last
    assert {alarm["TreatMissingData"] for alarm in found.values()} == {"notBreaching"}
    assert found["splitter-throttles"]["EvaluationPeriods"] == 3
    # What nobody was told of can be found
    for key in ("undelivered", "dropped"):
        assert "deploy/failures.py missing" in found[key]["AlarmDescription"]

    for email in (MAIL, None):
        again = Run(deployment, run.aws)
        ensure_alarms(again, email)
        assert again.changes == 0


def test_a_run_killed_before_a_write_is_completed_by_the_next(
    account: Account, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = vars(botocore.client.BaseClient)["_make_api_call"]
    state = {"left": -1, "made": 0}

    def make_api_call(client: Any, name: str, params: Any) -> Any:
        if name.startswith(("Create", "Put", "Subscribe")):
            if state["left"] == 0:
                raise Killed
            state["left"] -= 1
            state["made"] += 1
        return real(client, name, params)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", make_api_call)
    ensure_alarms(run, MAIL)
    # The topic, its subscription, two of the alarms, the dashboard
    for number in (0, 1, 2, 3, state["made"] - 1):
        deployment = account.deployment()
        state["left"] = number
        with pytest.raises(Killed):
            ensure_alarms(Run(deployment, run.aws), MAIL)
        state["left"] = -1
        ensure_alarms(Run(deployment, run.aws), MAIL)
        last = Run(deployment, run.aws)
        ensure_alarms(last, MAIL)
        assert last.changes == 0, f"after call {number}"


def test_a_dry_run_changes_nothing(account: Account, run: Run) -> None:
    before = account.inventory()
    dry = Run(run.deployment, run.aws, dry_run=True)

    ensure_alarms(dry, MAIL)

    assert dry.changes == len(alarms(run.deployment)) + 3
    assert account.inventory() == before


def test_what_was_changed_is_set_back_and_what_was_added_is_kept(run: Run) -> None:
    ensure_alarms(run)
    cloudwatch, name = run.aws.client("cloudwatch"), f"{run.deployment.prefix}-failures"
    alarm = next(a for a in alarms(run.deployment) if a.name == name)
    theirs = "arn:aws:sns:us-east-1:123456789012:pager"
    settings = {**alarm.settings([theirs]), "Threshold": 5.0, "ActionsEnabled": False}
    cloudwatch.put_metric_alarm(**settings, OKActions=[theirs])

    again = Run(run.deployment, run.aws)
    ensure_alarms(again, MAIL)

    found = described(run)["failures"]
    assert found["Threshold"] == 0
    assert [action.rpartition(":")[2] for action in found["AlarmActions"]] == [
        *("pager", f"{run.deployment.prefix}-alarms"),
    ]
    assert found["OKActions"] == [theirs]
    assert found["ActionsEnabled"] is False


def test_what_somebody_else_made_is_neither_changed_nor_removed(account: Account, run: Run) -> None:
    cloudwatch, prefix = account.client("cloudwatch"), run.deployment.prefix
    alarm = alarms(run.deployment)[0]
    settings = {**alarm.settings([]), "AlarmDescription": "mine", "Threshold": 7.0}
    cloudwatch.put_metric_alarm(**settings)
    # An alarm of a deployment whose prefix begins with ours
    neighbor = f"{prefix}-x-failures"
    cloudwatch.put_metric_alarm(**{**alarm.settings([]), "AlarmName": neighbor})
    cloudwatch.put_dashboard(DashboardName=f"{prefix}-pipeline", DashboardBody='{"widgets": []}')
    account.client("sns").create_topic(Name=f"{prefix}-alarms")

    with pytest.raises(AwsError, match=f"alarm '{alarm.name}' was not made by these scripts"):
        ensure_alarms(run)

    assert described(run)["failures"]["Threshold"] == 7
    assert [str(thing) for thing in inventory(run)] == []
    left = " ".join(not_ours(run))
    assert all(f"{kind} '{prefix}-" in left for kind in ("alarm", "dashboard", "topic"))
    assert neighbor not in left


def test_destroy_removes_them_all(account: Account, run: Run) -> None:
    before = account.inventory()
    ensure_alarms(run, MAIL)
    kinds = [thing.kind for thing in inventory(run)]
    assert kinds == [*["alarm"] * 7, "dashboard", "topic"]

    done = account.run("deploy/destroy.py", run.deployment, "--yes")

    assert done.returncode == 0, done.stderr
    assert account.inventory() == before


def test_the_dashboard_shows_both_functions_and_says_who_made_it(run: Run) -> None:
    body = dashboard(run)
    text = json.dumps(body)

    for name in (*(f.name for f in run.deployment.functions), run.deployment.failure_queue):
        assert f'"{name}"' in text
    assert MADE_BY in text
    # Widgets do not overlap, on a grid of 24 columns
    cells = [
        (x, y)
        for w in body["widgets"]
        for x in range(w["x"], w["x"] + w["width"])
        for y in range(w["y"], w["y"] + w["height"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_the_doctor_warns_of_alarms_that_are_missing_or_have_gone_off(run: Run) -> None:
    assert (alarm_check(run).result, alarm_check(run).detail.endswith("not there")) == (
        "warning",
        True,
    )
    ensure_alarms(run, MAIL)
    assert alarm_check(run).detail == f"7, none has gone off; mailed to {MAIL}"
    name = f"{run.deployment.prefix}-failures"
    run.aws.client("cloudwatch").set_alarm_state(
        AlarmName=name, StateValue="ALARM", StateReason="test"
    )

    assert alarm_check(run).result == "warning"
    assert f"gone off: {name}: Videos failed for good" in alarm_check(run).detail


@pytest.fixture
def student(account: Account, run: Run) -> dict[str, str]:
    """The environment of a user who may do everything but use CloudWatch and SNS."""
    iam, name = account.client("iam"), f"{run.deployment.prefix}-student"
    allow = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    deny = {"Effect": "Deny", "Action": ["cloudwatch:*", "sns:*"], "Resource": "*"}
    policy = {"Version": "2012-10-17", "Statement": [allow, deny]}
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(policy))
    keys = iam.create_access_key(UserName=name)["AccessKey"]
    return {
        "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
    }


def test_an_account_that_may_have_no_alarms_can_do_without(
    account: Account, run: Run, student: dict[str, str]
) -> None:
    denied = account.run("deploy/alarms.py", run.deployment, **student)
    status = account.run("deploy/status.py", run.deployment, **student)
    destroyed = account.run("deploy/destroy.py", run.deployment, "--yes", **student)

    assert denied.returncode == 1
    assert "deploy/deploy.py --no-alarms --save leaves them out for good." in denied.stderr
    assert "Traceback" not in denied.stderr
    assert "Alarms are left out: these credentials may not call DescribeAlarms" in status.stderr
    assert destroyed.returncode == 0


@pytest.mark.parametrize("email", ["ops", "ops@example", "a b@example.com"])
def test_what_is_not_a_mail_address_is_refused_before_anything_is_made(
    account: Account, run: Run, email: str
) -> None:
    done = account.run("deploy/alarms.py", run.deployment, "--email", email)

    assert done.returncode == 2
    assert "is not a mail address" in done.stderr
    assert described(run) == {}


def test_deploy_makes_them_last_unless_told_not_to(account: Account, run: Run) -> None:
    without = account.deploy(run.deployment, "--no-alarms")
    assert "alarm" not in without.lower()

    with_alarms = account.deploy(run.deployment, "--email", MAIL)

    assert with_alarms.index("Alarms\n") > with_alarms.index("Trigger\n")
    assert f"add     {MAIL} to topic" in with_alarms
    assert len(described(run)) == 7
