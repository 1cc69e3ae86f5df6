"""status.py counts the uploads that the splitter skipped, from its log."""

from __future__ import annotations

import json
import time
from itertools import count
from typing import Any

import pytest

from deploy.parts.skipped import LOOK_S, PERIOD_S, SHOWN, skipped_objects
from pipeline.aws import Aws
from pipeline.cli import Run
from tests.deploy.conftest import Account, aws_of


@pytest.fixture
def run(account: Account, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run on a deployment of which only the splitter's log exists."""
    deployment = account.deployment(beside=True)
    group = deployment.splitter.log_group
    account.client("logs").create_log_group(logGroupName=group)
    account.client("logs").create_log_stream(logGroupName=group, logStreamName="s")
    return Run(deployment, aws_of(account, monkeypatch))


def log(run: Run, *lines: str, ago_s: float = 60) -> None:
    """Put these lines into the splitter's log."""
    now = int((time.time() - ago_s) * 1000)
    run.aws.client("logs").put_log_events(
        logGroupName=run.deployment.splitter.log_group,
        logStreamName="s",
        logEvents=[{"timestamp": now + n, "message": line} for n, line in enumerate(lines)],
    )


def line(name: str, **more: str) -> str:
    """The splitter's line about an object that it skipped."""
    return json.dumps({"step": "skipped", "video": f"s3://p-input/{name}", **more})


def test_nothing_skipped_says_nothing(run: Run) -> None:
    log(run, json.dumps({"step": "video", "video": "s3://p-input/a.mp4", "ms": 3}))

    found = skipped_objects(run)

    assert (found.count, found.line()) == (0, "")


def test_a_skipped_key_is_shown_in_one_line(run: Run) -> None:
    log(run, line("a\n\x1b[2J.txt"))

    assert skipped_objects(run).line().endswith(r"s3://p-input/a\n\x1b[2J.txt")


def test_a_splitter_that_never_ran_has_skipped_nothing(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = Run(account.deployment(beside=True), aws_of(account, monkeypatch))

    assert skipped_objects(never).count == 0


def test_skipped_objects_are_counted_once_and_named_with_the_reason(run: Run) -> None:
    log(
        run,
        line("a.txt", reason="text"),
        line("a.txt", reason="text"),  # S3 delivered the event twice
        line("b/"),
        '{"step": "skipped"',  # cut short
        "a line about skipped frames",
        json.dumps({"step": "frames", "video": "s3://p-input/skipped.mp4", "ms": 3}),
    )

    found = skipped_objects(run)

    assert found.line() == (
        "SKIPPED  2 objects in the last day, plainly not videos: "
        "s3://p-input/a.txt (text), s3://p-input/b/"
    )
    assert found.as_json()["count"] == 2


@pytest.mark.parametrize(("more", "tail"), [(0, ""), (1, " and 1 more")])
def test_only_the_first_few_are_named(run: Run, more: int, tail: str) -> None:
    log(run, *(line(f"{n}.txt") for n in range(SHOWN + more)))

    text = skipped_objects(run).line()

    assert text.endswith(f"s3://p-input/{SHOWN - 1}.txt{tail}")
    assert f"  {SHOWN + more} objects" in text


def test_a_day_is_looked_back(run: Run) -> None:
    log(run, line("old.txt"), ago_s=PERIOD_S + 60)
    log(run, line("new.txt"), ago_s=PERIOD_S - 60)

    found = skipped_objects(run)

    assert found.first == ("s3://p-input/new.txt",)
    assert found.line().startswith("SKIPPED  1 object in")


def test_the_search_ends_in_time_and_says_that_there_may_be_more(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a log of several pages
    log(run, *(line(f"{n}.txt") for n in range(3)))
    client = run.aws.client("logs")

    def one_at_a_time(params: dict[str, Any], **_: object) -> None:
        params["limit"] = 1

    client.meta.events.register("provide-client-params.logs.FilterLogEvents", one_at_a_time)
    monkeypatch.setattr(Aws, "client", lambda *_: client)
    ticks = count(0, LOOK_S / 2)  # the second page ends on time

    found = skipped_objects(run, elapsed=lambda: next(ticks))

    assert (found.count, found.is_all) == (2, False)
    assert "at least 2 objects" in found.line()
    assert skipped_objects(run).count == 3


def test_without_the_right_to_read_the_log_status_goes_on(
    run: Run, account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    iam = account.client("iam")
    iam.create_user(UserName=f"u-{run.deployment.prefix}")
    key = iam.create_access_key(UserName=f"u-{run.deployment.prefix}")["AccessKey"]
    keys = (key["AccessKeyId"], key["SecretAccessKey"])
    stranger = Aws(account.aws.region, endpoint_url=account.aws.endpoint, keys=keys)

    found = skipped_objects(Run(run.deployment, stranger))

    assert found.line() == ""
    assert "it takes logs:FilterLogEvents on '/aws/lambda/" in capsys.readouterr().err
