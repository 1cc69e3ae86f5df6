#!/usr/bin/env python3
"""The functions' roles: one per function, assumed only by Lambda, with least privilege."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import click

from deploy.parts.ownership import owner_tags, refuse_foreign
from pipeline.aws import read_or_none, tag_list
from pipeline.cli import Run, deployment_options, set_option
from pipeline.policies import (
    Policy,
    lambda_trust,
    recognizer_permissions,
    splitter_permissions,
)
from pipeline.settings import Function

POLICY_NAME = "permissions"


def ensure_roles(run: Run) -> dict[str, str]:
    """Create or update both roles and return their ARNs by function key.

    If GALLERY_URI is set, the recognizer's role may read that gallery. Raises AwsError when a role
    or function of these names belongs to another deployment.
    """
    refuse_foreign(run)
    place = (run.aws.region, run.aws.account_id, run.aws.partition)
    deployment = run.deployment
    gallery_uri = deployment.recognizer.environment["GALLERY_URI"]
    policies = (
        (deployment.recognizer, recognizer_permissions(deployment, *place, gallery_uri)),
        (deployment.splitter, splitter_permissions(deployment, *place)),
    )
    return {f.key: _ensure_role(run, f, policy) for f, policy in policies}


def _ensure_role(run: Run, function: Function, permissions: Policy) -> str:
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
    elif _document(role["AssumeRolePolicyDocument"]) == trust:
        run.kept(f"role '{name}'")
    else:
        run.change(
            "update",
            f"trust of role '{name}'",
            lambda: iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(trust)),
        )
    if role is not None and _current_permissions(run, name) == permissions:
        run.kept(f"permissions of role '{name}'")
    else:
        run.change(
            "put",
            f"permissions of role '{name}'",
            lambda: iam.put_role_policy(
                RoleName=name, PolicyName=POLICY_NAME, PolicyDocument=json.dumps(permissions)
            ),
        )
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


def _current_permissions(run: Run, role: str) -> Any:
    iam = run.aws.client("iam")
    answer = read_or_none(
        lambda: iam.get_role_policy(RoleName=role, PolicyName=POLICY_NAME), "NoSuchEntity"
    )
    return None if answer is None else _document(answer["PolicyDocument"])


def _document(policy: Any) -> Any:
    """Return a policy as a dict; IAM sends URL-encoded JSON, which boto3 usually decodes."""
    return json.loads(unquote(policy)) if isinstance(policy, str) else policy


@click.command()
@deployment_options
@set_option
def main(run: Run) -> None:
    """Create or update the functions' roles: python3 deploy/roles.py --prefix 1225111111"""
    for arn in ensure_roles(run).values():
        click.echo(arn)
    click.echo(f"Next: {run.command('deploy/layer.py')}", err=True)


if __name__ == "__main__":
    main()
