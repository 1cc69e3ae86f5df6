#!/usr/bin/env python3
"""The functions' roles: one per function, assumed only by Lambda, with least privilege."""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.requirements import require_packages

require_packages()

import click

from deploy.parts.deployed import is_deployed
from deploy.parts.ownership import owner_tags, refuse_foreign
from deploy.parts.rights import (
    POLICY_NAME,
    current_rights,
    document,
    missing_rights,
    needed_rights,
    with_added,
)
from pipeline.aws import read_or_none, tag_list
from pipeline.cli import Run, deployment_options, set_option
from pipeline.policies import Policy, lambda_trust
from pipeline.settings import Function

# IAM is eventually consistent: the functions have a new right some seconds after it is given.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_general.html
SETTLING_S = 10


def ensure_roles(run: Run) -> dict[str, str]:
    """Create both roles or give them what they lack; return their ARNs by function key.

    Nothing is taken from a role, because what is deployed may need it until it is replaced: see
    `remove_unused_rights`. If GALLERY_URI is set, the recognizer's role may read that gallery.
    Raises AwsError when a role or function of these names belongs to another deployment.
    """
    refuse_foreign(run)
    arns, changes = {}, run.changes
    for function in run.deployment.functions:
        needed = needed_rights(run, function)
        arns[function.key] = _ensure_role(run, function, needed)
    if run.changes > changes and not run.dry_run and is_deployed(run):
        run.note(f"wait    {SETTLING_S} s, until the new rights have reached what is running")
        time.sleep(SETTLING_S)
    return arns


def remove_unused_rights(run: Run) -> None:
    """Take from both roles what they no longer need, once what needed it has been replaced.

    An invocation that began before that may still miss a right. Lambda then tries its event again,
    with what is deployed now.
    """
    for function in run.deployment.functions:
        needed = needed_rights(run, function)
        current = current_rights(run, function)
        if run.dry_run:  # as `ensure_roles` would leave it
            current = with_added(current, needed)
        if current != needed:
            run.change(
                "remove",
                f"rights of role '{function.role}' that are no longer needed",
                partial(_put_rights, run, function, needed),
            )


def _put_rights(run: Run, function: Function, rights: Policy) -> None:
    run.aws.client("iam").put_role_policy(
        RoleName=function.role, PolicyName=POLICY_NAME, PolicyDocument=json.dumps(rights)
    )


def _ensure_role(run: Run, function: Function, needed: Policy) -> str:
    iam = run.aws.client("iam")
    name, trust = function.role, lambda_trust()
    role = read_or_none(lambda: iam.get_role(RoleName=name)["Role"], "NoSuchEntity")
    if role is None:
        run.change(
            "create",
            f"role '{name}'",
            lambda: iam.create_role(
                RoleName=name,
                AssumeRolePolicyDocument=json.dumps(trust),
                Description=f"Execution role of the Lambda function {function.name}",
                Tags=tag_list(owner_tags(run)),
            ),
        )
        if not run.dry_run:
            iam.get_waiter("role_exists").wait(RoleName=name)
    elif document(role["AssumeRolePolicyDocument"]) == trust:
        run.kept(f"role '{name}'")
    else:
        run.change(
            "update",
            f"trust of role '{name}'",
            lambda: iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(trust)),
        )
    current = None if role is None else current_rights(run, function)
    missing = missing_rights(current, needed)
    if missing:
        run.change(
            "give",
            f"role '{name}' rights: {', '.join(missing)}",
            partial(_put_rights, run, function, with_added(current, needed)),
        )
    else:
        run.kept(f"rights of role '{name}'")
    if role is not None:
        return role["Arn"]
    return f"arn:{run.aws.partition}:iam::{run.aws.account_id}:role/{name}"


def role_id(run: Run, function: Function) -> str | None:
    """Return the ID of the function's role, which a new role of that name does not share.

    None if there is no role.
    """
    iam = run.aws.client("iam")
    found = read_or_none(lambda: iam.get_role(RoleName=function.role)["Role"], "NoSuchEntity")
    return None if found is None else found["RoleId"]


@click.command()
@deployment_options
@set_option
def main(run: Run) -> None:
    """Create the functions' roles: python3 deploy/roles.py --prefix 1225111111

    This only adds rights. deploy/functions.py and deploy/deploy.py remove those that nothing needs
    any more, once the functions are deployed.
    """
    for arn in ensure_roles(run).values():
        click.echo(arn)
    click.echo(f"Next: {run.command('deploy/layer.py')}", err=True)


if __name__ == "__main__":
    main()
