"""Functions and versions in states that only the real Lambda has.

The local AWS creates every function at once and never fails. These tests use it, but change the
states in its responses with botocore's event hooks.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from createS3 import create_buckets
from deploy.failures import ensure_queue
from deploy.functions import ensure_functions
from deploy.layer import ensure_layer
from deploy.parts.checks import Check
from deploy.parts.checks_after import checks_after
from deploy.roles import ensure_roles
from pipeline.aws import AwsError
from pipeline.cli import Run
from pipeline.settings import Deployment
from tests.deploy.conftest import Account, aws_of, image_uri

BROKEN = {
    "State": "Failed",
    "StateReasonCode": "ImageAccessDenied",
    "StateReason": "Lambda may not read the image.",
}
NOT_UPDATED = {
    "LastUpdateStatus": "Failed",
    "LastUpdateStatusReasonCode": "ImageAccessDenied",
    "LastUpdateStatusReason": "Lambda may not read the image.",
}
WHY = "ImageAccessDenied: Lambda may not read the image"
# Lambda refuses writes to a function in these states.
BUSY: tuple[dict[str, str], ...] = ({"LastUpdateStatus": "InProgress"}, {"State": "Pending"})
WRITES = ("CreateFunction", "DeleteFunction", "UpdateFunctionCode", "UpdateFunctionConfiguration")


class States:
    """Sets the states that Lambda reports for a function or version, and records the writes."""

    def __init__(self, run: Run, name: str, version: str = "$LATEST") -> None:
        """Change the states of this version in the responses that `run` gets."""
        self._name, self._version = name, version
        self.said: list[dict[str, str]] = [{}]
        """Each response reports the next state; the last one stays."""
        self.after: dict[str, list[dict[str, str]]] = {}
        """The states reported from the first call of this name on."""
        self.calls: list[str] = []
        events = run.aws.client("lambda").meta.events
        events.register("provide-client-params.lambda", self._asked)
        for name in ("GetFunction", "GetFunctionConfiguration"):
            events.register(f"after-call.lambda.{name}", self._answered)
        events.register("after-call.lambda.ListVersionsByFunction", self._listed)
        for name in (*WRITES, "PublishVersion"):
            events.register(f"after-call.lambda.{name}", self._done)

    def _asked(self, params: Any, model: Any, **_: Any) -> None:
        if params.get("FunctionName") != self._name:
            return
        if model.name in (*WRITES, "PublishVersion", "UpdateAlias"):
            if self._version == "$LATEST" and self.said[0] in BUSY:
                text = "The operation cannot be performed at this time."
                error: Any = {"Code": "ResourceConflictException", "Message": text}
                raise ClientError({"Error": error}, model.name)
            qualifier = params.get("Qualifier") or params.get("FunctionVersion")
            self.calls.append(f"{model.name} {qualifier}" if qualifier else model.name)

    def _answered(self, parsed: Any, **_: Any) -> None:
        config = parsed.get("Configuration", parsed)
        if (config.get("FunctionName"), config.get("Version")) == (self._name, self._version):
            config.update(self.said.pop(0) if len(self.said) > 1 else self.said[0])

    def _done(self, parsed: Any, model: Any, **_: Any) -> None:
        if parsed.get("FunctionName") == self._name or model.name == "DeleteFunction":
            self.said = self.after.pop(model.name, self.said)

    @staticmethod
    def _listed(parsed: Any, **_: Any) -> None:
        """Remove the states, which Lambda leaves out of the list of versions."""
        for version in parsed["Versions"]:
            for key in ("State", "StateReason", "StateReasonCode", "LastUpdateStatus"):
                version.pop(key, None)


@pytest.fixture
def run(account: Account, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run on a deployment that is complete except for its trigger, with short waits."""
    waits = (None, 600, lambda _: time.sleep(0.01), time.monotonic)
    monkeypatch.setattr("deploy.parts.states.at_rest.__defaults__", waits)
    run = Run(account.deployment(), aws_of(account, monkeypatch))
    create_buckets(run)
    deploy(run, account)
    return again(run)


def again(run: Run) -> Run:
    """Return another run on the same deployment, with the same clients."""
    return Run(run.deployment, run.aws)


def deploy(run: Run, account: Account, snapstart: bool = False, **overrides: str) -> None:
    names = (run.deployment.prefix, run.deployment.namespace)
    changed = Deployment(*names, {run.deployment.recognizer.key: overrides})
    run.deployment = changed
    queue, roles = ensure_queue(run), ensure_roles(run)
    layer = ensure_layer(run, account.zip_path)
    ensure_functions(run, roles, layer, queue, image_uri(changed), snapstart)


def test_a_failed_update_is_repeated(
    run: Run, account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a failed update, though Lambda reports the settings that it was given
    states = States(run, run.deployment.recognizer.name)
    states.said = [NOT_UPDATED]
    states.after = {"UpdateFunctionCode": [{"LastUpdateStatus": "InProgress"}, {}]}

    # WHEN it is deployed again
    deploy(run, account)

    # THEN code and settings are sent again, and the next run changes nothing
    assert states.calls == ["UpdateFunctionCode", "UpdateFunctionConfiguration"]
    assert run.changes == 2
    assert f"The last update of function '{run.deployment.recognizer.name}' failed: {WHY}" in (
        capsys.readouterr().err
    )
    last = again(run)
    deploy(last, account)
    assert last.changes == 0


def test_the_error_for_a_failed_update_has_lambdas_reason(run: Run, account: Account) -> None:
    name = run.deployment.recognizer.name
    states = States(run, name)
    states.after = {
        "UpdateFunctionConfiguration": [{"LastUpdateStatus": "InProgress"}, NOT_UPDATED]
    }

    with pytest.raises(AwsError) as failed:
        deploy(run, account, FACES="all")

    assert str(failed.value) == (
        f"Lambda could not update function '{name}', which still runs as before: {WHY}. Fix that "
        "and run the same command again."
    )


@pytest.mark.parametrize("busy", BUSY)
def test_an_update_that_an_interrupted_run_began_is_awaited(
    run: Run, account: Account, busy: dict[str, str]
) -> None:
    states = States(run, run.deployment.recognizer.name)
    states.said = [busy, busy, busy, {}]

    deploy(run, account, FACES="all")

    assert states.said == [{}]
    assert states.calls == ["UpdateFunctionConfiguration"]


def test_a_function_that_failed_is_created_again(
    run: Run, account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    name = run.deployment.recognizer.name
    states = States(run, name)
    states.said = [BROKEN]
    states.after = {"CreateFunction": [{"State": "Pending"}, {"State": "Active"}]}

    # WHEN it is a dry run, THEN nothing changes
    dry = Run(run.deployment, run.aws, dry_run=True)
    deploy(dry, account)
    assert states.calls == []

    deploy(run, account)

    assert states.calls == ["DeleteFunction", "CreateFunction"]
    said = capsys.readouterr().err
    text = f"function '{name}', which Lambda could not create: {WHY}"
    assert f"  Would delete {text}" in said
    assert f"  delete  {text}" in said
    last = again(run)
    deploy(last, account)
    assert last.changes == 0


def test_the_error_for_a_failed_function_has_lambdas_reason(run: Run, account: Account) -> None:
    name = run.deployment.recognizer.name
    run.aws.client("lambda").delete_function(FunctionName=name)
    states = States(run, name)
    states.after = {"CreateFunction": [{"State": "Pending"}, BROKEN]}

    with pytest.raises(AwsError) as failed:
        deploy(run, account)

    assert str(failed.value) == (
        f"Lambda could not create function '{name}': {WHY}. Fix that and run the same command "
        "again: it deletes the function and creates it again."
    )


def test_an_idle_function_is_not_awaited(run: Run, account: Account) -> None:
    states = States(run, run.deployment.recognizer.name)
    states.said = [{"State": "Inactive", "StateReasonCode": "Idle"}]
    begun = time.monotonic()

    deploy(run, account)

    assert time.monotonic() - begun < 60  # botocore's waiter takes 300 s, and then fails
    assert (states.calls, run.changes) == ([], 0)
    (found,) = functions_checked(run, run.deployment.recognizer.name)
    assert found.result == "ok"
    assert found.detail.startswith("idle for weeks")


def functions_checked(run: Run, name: str) -> list[Check]:
    return [c for c in checks_after(run, Path("nowhere.zip")) if c.name == f"function '{name}'"]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (BROKEN, f"is Failed: {WHY}"),
        (NOT_UPDATED, f"still runs as before its last update, which failed: {WHY}"),
        ({"State": "Inactive", **NOT_UPDATED}, "its last update, which failed"),
        ({"State": "Pending"}, "is Pending: Lambda gives no reason"),
    ],
)
def test_the_doctor_reports_why_a_function_does_not_run(
    run: Run, state: dict[str, str], said: str
) -> None:
    name = run.deployment.recognizer.name
    States(run, name).said = [state]

    (found,) = functions_checked(run, name)

    assert found.result == "failed"
    assert found.detail.startswith(f"Function '{name}' ")
    assert said in found.detail


def alias_of(run: Run) -> str:
    client, deployment = run.aws.client("lambda"), run.deployment
    found = client.get_alias(FunctionName=deployment.recognizer.name, Name=deployment.alias)
    return str(found["FunctionVersion"])


def versions_of(run: Run) -> list[str]:
    client, name = run.aws.client("lambda"), run.deployment.recognizer.name
    found = client.list_versions_by_function(FunctionName=name)["Versions"]
    return [version["Version"] for version in found if version["Version"] != "$LATEST"]


def called_by_splitter(run: Run) -> str:
    config = run.aws.client("lambda").get_function_configuration(
        FunctionName=run.deployment.splitter.name
    )
    return str(config["Environment"]["Variables"]["RECOGNITION_FUNCTION"])


def test_the_alias_never_moves_to_a_version_whose_snapshot_failed(
    run: Run, account: Account
) -> None:
    name = run.deployment.recognizer.name
    States(run, name, "1").said = [{"State": "Pending"}, BROKEN]

    # WHEN the snapshot fails, and fails again in a second deployment
    for number in ("1", "2"):
        if number == "2":
            States(run, name, "2").said = [{"State": "Pending"}, BROKEN]
        with pytest.raises(AwsError) as failed:
            deploy(again(run), account, snapstart=True)

        # THEN the splitter still calls what it called before
        assert str(failed.value).startswith(
            f"Lambda could not take the snapshot of version {number} of function '{name}': {WHY}. "
        )
        assert "run the same command again" in str(failed.value)
        assert called_by_splitter(run) == name
        assert versions_of(run) == [number]

    # WHEN a snapshot succeeds, THEN the failed version is gone and the alias is created
    deploy(again(run), account, snapstart=True)
    assert (versions_of(run), alias_of(run)) == (["3"], "3")
    assert called_by_splitter(run) == f"{name}:live"


def test_a_snapshot_that_an_interrupted_run_began_is_awaited(run: Run, account: Account) -> None:
    # GIVEN a run that was interrupted while Lambda took the snapshot
    name = run.deployment.recognizer.name
    run.aws.client("lambda").update_function_configuration(
        FunctionName=name, SnapStart={"ApplyOn": "PublishedVersions"}
    )
    run.aws.client("lambda").publish_version(FunctionName=name)
    states = States(run, name, "1")
    states.said = [{"State": "Pending"}, {"State": "Pending"}, {"State": "Active"}]

    deploy(run, account, snapstart=True)

    assert states.said == [{"State": "Active"}]
    assert states.calls == []
    assert (versions_of(run), alias_of(run)) == (["1"], "1")


def test_a_failed_version_behind_the_alias_is_replaced(run: Run, account: Account) -> None:
    # GIVEN an alias that points to a version that has failed since
    deploy(run, account, snapstart=True)
    assert alias_of(run) == "1"
    name = run.deployment.recognizer.name
    states = States(run, name, "1")
    states.said = [BROKEN]
    (found,) = functions_checked(run, name)
    assert found.result == "failed"
    assert found.detail == (
        f"Version 1 of function '{name}', which alias 'live' points to, is Failed: {WHY}"
    )

    # WHEN it is deployed again
    deploy(again(run), account, snapstart=True)

    # THEN videos are processed without a snapshot until there is a new version
    assert states.calls == [
        "UpdateAlias $LATEST",
        "DeleteFunction 1",
        "PublishVersion",
        "UpdateAlias 2",
    ]
    assert (versions_of(run), alias_of(run)) == (["2"], "2")
    last = again(run)
    deploy(last, account, snapstart=True)
    assert last.changes == 0
