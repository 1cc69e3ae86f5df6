"""Who calls, as moto's IAM and STS know it: secrets, sessions and the policies in force now."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from moto.iam.models import iam_backends
from moto.sts.models import sts_backends

from local_aws.function import CannotStart
from local_aws.iam_guard import Principal
from local_aws.iam_policy import Request, is_allowed


class CannotAssume(CannotStart):
    """Lambda may not assume the role: it does not exist, or its trust policy says otherwise."""


def moto_principals(
    account_id: str, admin_key: str, admin_secret: str
) -> Callable[[str], Principal | None]:
    """A function that finds who an access key belongs to; the admin's may do everything."""
    admin = Principal(f"arn:aws:iam::{account_id}:user/admin", admin_secret, None, None)

    def find(access_key: str) -> Principal | None:
        if access_key == admin_key:
            return admin
        session = sts_backends[account_id]["aws"].get_assumed_role_from_access_key(access_key)
        if session is not None:
            policies = role_policies(session.role_arn)
            secret = session.secret_access_key
            return Principal(session.arn, secret, session.session_token, policies)
        iam = iam_backends[account_id]["aws"]
        user = iam.get_user_from_access_key_id(access_key)
        if user is None:
            return None
        key = next(k for k in iam.list_access_keys(user.name) if k.access_key_id == access_key)
        return Principal(user.arn, key.secret_access_key, None, _policies_of(user))

    return find


def _role(arn: str) -> Any:
    account_id = arn.split(":")[4]
    roles = iam_backends[account_id]["aws"].get_roles()
    return next((role for role in roles if role.arn == arn), None)


def role_policies(role_arn: str) -> list[dict[str, Any]]:
    """The role's policies as they are now; none when it has been deleted."""
    role = _role(role_arn)
    return [] if role is None else _policies_of(role)


def _policies_of(holder: Any) -> list[dict[str, Any]]:
    """Inline and attached policies of a moto role or user."""
    inline = holder.policies
    documents = list(inline.values() if isinstance(inline, dict) else inline)
    documents += [policy.document for policy in holder.managed_policies.values()]
    return [_document(text) for text in documents]


def _document(text: Any) -> dict[str, Any]:
    document = json.loads(unquote(text)) if isinstance(text, str) else text
    return dict(document)


def check_lambda_trust(role_arn: str) -> None:
    """Raise CannotAssume unless the role exists and trusts lambda.amazonaws.com."""
    role = _role(role_arn)
    if role is None:
        raise CannotAssume(f"There is no role {role_arn}.")
    for statement in _statements(_document(role.assume_role_policy_document)):
        principal = statement.get("Principal", {})
        services = principal.get("Service", []) if isinstance(principal, dict) else []
        services = [services] if isinstance(services, str) else services
        # The Resource of a trust policy is the role itself: left out, as in real ones.
        policy = {"Statement": [{**statement, "Resource": "*"}]}
        request = Request("sts:AssumeRole", role_arn, {})
        if "lambda.amazonaws.com" in services and is_allowed([policy], request):
            return
    raise CannotAssume(f"The role {role_arn} does not let lambda.amazonaws.com assume it.")


def _statements(policy: dict[str, Any]) -> list[dict[str, Any]]:
    statements = policy.get("Statement", [])
    return statements if isinstance(statements, list) else [statements]


def assume_role(role_arn: str, session_name: str, duration_s: int) -> dict[str, str]:
    """Temporary credentials of a role, as Lambda gets them; raises CannotAssume."""
    check_lambda_trust(role_arn)
    account_id = role_arn.split(":")[4]
    session = sts_backends[account_id]["aws"].assume_role(
        region_name="us-east-1",
        role_session_name=session_name,
        role_arn=role_arn,
        policy="",
        duration=duration_s,
        external_id="",
    )
    return {
        "AccessKeyId": session.access_key_id,
        "SecretAccessKey": session.secret_access_key,
        "SessionToken": session.session_token,
    }
