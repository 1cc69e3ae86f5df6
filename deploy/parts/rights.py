"""The rights that the functions' roles have and need. Everything here only reads."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

from deploy.parts.concurrency import read_concurrency
from deploy.parts.upload_queue import is_read
from pipeline.aws import read_or_none
from pipeline.cli import Run
from pipeline.policies import Policy, recognizer_permissions, splitter_permissions
from pipeline.settings import Function

POLICY_NAME = "permissions"


def needed_rights(
    run: Run, function: Function, gallery_uri: str | None = None, from_queue: bool | None = None
) -> Policy:
    """Return the policy that the function's role needs.

    `gallery_uri` is the value of GALLERY_URI, and `from_queue` says whether uploads wait in a queue
    for the splitter. None: as the deployment's settings and its account demand, and as long as the
    queue is read.
    """
    if gallery_uri is None:
        gallery_uri = run.deployment.recognizer.environment["GALLERY_URI"]
    place = (run.aws.region, run.aws.account_id, run.aws.partition)
    if function.key == run.deployment.splitter.key:
        if from_queue is None:
            from_queue = read_concurrency(run, function).needs_queue or is_read(run)
        return splitter_permissions(run.deployment, *place, from_queue)
    return recognizer_permissions(run.deployment, *place, gallery_uri)


def current_rights(run: Run, function: Function) -> Policy | None:
    """Return the policy that the function's role has; None without a role or a policy."""
    iam = run.aws.client("iam")
    answer = read_or_none(
        lambda: iam.get_role_policy(RoleName=function.role, PolicyName=POLICY_NAME), "NoSuchEntity"
    )
    return None if answer is None else document(answer["PolicyDocument"])


def document(policy: Any) -> Any:
    """Return a policy as a dict; IAM sends URL-encoded JSON, which boto3 usually decodes."""
    return json.loads(unquote(policy)) if isinstance(policy, str) else policy


def missing_rights(current: Policy | None, needed: Policy) -> list[str]:
    """Return the Sids of the statements that `needed` has and `current` lacks."""
    have = [_unnamed(statement) for statement in _statements(current)]
    return [s["Sid"] for s in needed["Statement"] if _unnamed(s) not in have]


def with_added(current: Policy | None, needed: Policy) -> Policy:
    """Return `needed` and, without their Sids, the statements that only `current` has.

    A Sid may occur only once in a policy; it is optional.
    """
    ours = [_unnamed(statement) for statement in needed["Statement"]]
    theirs = [_unnamed(statement) for statement in _statements(current)]
    only_theirs = [statement for statement in theirs if statement not in ours]
    return {**needed, "Statement": [*needed["Statement"], *only_theirs]}


def _statements(policy: Policy | None) -> list[Any]:
    found = [] if policy is None else policy.get("Statement", [])
    return found if isinstance(found, list) else [found]


def _unnamed(statement: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in statement.items() if key != "Sid"}
