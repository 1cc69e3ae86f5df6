"""Callers as moto's IAM and STS know them: secrets, sessions and current policies."""

from __future__ import annotations

import json
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from moto.core.config import default_user_config
from moto.core.utils import utcnow
from moto.iam.models import IAMBackend, iam_backends
from moto.iam.policy_validation import IAMTrustPolicyDocumentValidator
from moto.sts.exceptions import STSClientError
from moto.sts.models import STSBackend, sts_backends
from moto.sts.responses import TokenResponse

from local_aws.errors import CannotAssume, CannotDeliver
from local_aws.iam_guard import Principal
from local_aws.iam_policy import Request, as_list, is_allowed
from local_aws.iam_requests import TLS
from local_aws.moto_patch import Method, refuse, wrap_method
from local_aws.sigv4 import SignatureError


def load_managed_policies() -> None:
    """moto leaves out AWS's own managed policies unless it is told to load its copies."""
    default_user_config["iam"]["load_aws_managed_policies"] = True


def refuse_example_credentials() -> None:
    """moto gives out credentials from AWS's documentation, with which nothing can be signed."""
    refuse(TokenResponse, "get_session_token", "get_federation_token")


def refuse_broken_trust() -> None:
    """moto accepts any text as a new role's trust policy."""

    @wrap_method(IAMBackend, "create_role")
    def create_role(
        create: Method, backend: Any, role_name: str, document: str, *args: Any, **more: Any
    ) -> Any:
        IAMTrustPolicyDocumentValidator(document).validate()
        return create(backend, role_name, document, *args, **more)


def refuse_missing_roles() -> None:
    """moto gives out credentials of roles that do not exist."""

    @wrap_method(STSBackend, "assume_role")
    def assume(assume: Method, backend: Any, **settings: Any) -> Any:
        arn = settings["role_arn"]
        if _role(arn) is None:
            text = f"The caller is not authorized to perform: sts:AssumeRole on resource: {arn}"
            raise STSClientError("AccessDenied", text)
        return assume(backend, **settings)


def name_administrator() -> None:
    """moto calls whoever has a key that it does not know "moto"."""

    @wrap_method(STSBackend, "get_caller_identity")
    def get_caller_identity(
        get: Method, backend: Any, access_key_id: str, region: str
    ) -> tuple[str, str, str]:
        user_id, arn, account_id = get(backend, access_key_id, region)
        if arn.endswith(":sts::" + account_id + ":user/moto"):
            return "AIDAADMINISTRATOR0000", admin_arn(account_id), account_id
        return user_id, arn, account_id


def admin_arn(account_id: str) -> str:
    """The ARN of the user whose key the server prints."""
    return f"arn:aws:iam::{account_id}:user/admin"


class Principals:
    """Finds the owner of an access key: the administrator, a role's session or a user."""

    def __init__(self, account_id: str, admin_key: str, admin_secret: str) -> None:
        """The administrator's key is known only here; moto has no such user."""
        self._account_id = account_id
        self._admin_key = admin_key
        self._admin = Principal(
            admin_arn(account_id), admin_secret, session_token=None, policies=None
        )

    def find(self, access_key: str) -> Principal | None:
        """The principal with its current policies; None if the key is unknown.

        Raise SignatureError if it was temporary and has expired.
        """
        if access_key == self._admin_key:
            return self._admin
        sts = sts_backends[self._account_id]["aws"]
        session = sts.get_assumed_role_from_access_key(access_key)
        if session is not None:
            if session.expiration < utcnow():
                raise SignatureError(
                    "ExpiredToken",
                    "The provided token has expired.",
                    HTTPStatus.BAD_REQUEST,
                )
            policies = role_policies(session.role_arn)
            secret = session.secret_access_key
            return Principal(session.arn, secret, session.session_token, policies)
        iam = iam_backends[self._account_id]["aws"]
        user = iam.get_user_from_access_key_id(access_key)
        if user is None:
            return None
        key = next(k for k in iam.list_access_keys(user.name) if k.access_key_id == access_key)
        holders = (user, *iam.get_groups_for_user(user.name))
        policies = [policy for holder in holders for policy in _policies_of(holder)]
        return Principal(user.arn, key.secret_access_key, None, policies)


def _role(arn: str) -> Any:
    account_id = arn.split(":")[4] if arn.count(":") > 4 else ""
    roles = iam_backends[account_id]["aws"].get_roles()
    return next((role for role in roles if role.arn == arn), None)


def role_policies(role_arn: str) -> list[dict[str, Any]]:
    """The role's current policies; empty if it has been deleted."""
    role = _role(role_arn)
    return [] if role is None else _policies_of(role)


def check_role(role_arn: str, action: str, resource: str) -> None:
    """Raise CannotDeliver unless the role exists and may do `action` on `resource`."""
    role = _role(role_arn)
    if role is None:
        raise CannotDeliver(f"There is no role {role_arn}.")
    if not is_allowed(_policies_of(role), Request(action, resource, TLS)):
        raise CannotDeliver(
            f"The role {role_arn} is not authorized to perform: {action} on resource: {resource}"
        )


def _policies_of(holder: Any) -> list[dict[str, Any]]:
    """Inline and attached policies of a moto role or user."""
    inline = holder.policies
    documents = list(inline.values() if isinstance(inline, dict) else inline)
    documents += map(_default_version, holder.managed_policies.values())
    return [_document(text) for text in documents]


def _default_version(policy: Any) -> str:
    """The document of a managed policy that is in force."""
    in_force = (v for v in policy.versions if v.version_id == policy.default_version_id)
    return str(next(in_force).document)


def _document(text: str | dict[str, Any]) -> dict[str, Any]:
    return _parsed(text) if isinstance(text, str) else text


@lru_cache(maxsize=256)
def _parsed(text: str) -> dict[str, Any]:
    return dict(json.loads(unquote(text)))


def check_lambda_trust(role_arn: str) -> None:
    """Raise CannotAssume unless the role exists and trusts lambda.amazonaws.com."""
    role = _role(role_arn)
    if role is None:
        raise CannotAssume(f"There is no role {role_arn}.")
    for statement in as_list(_document(role.assume_role_policy_document).get("Statement", [])):
        principal = statement.get("Principal", {})
        services = principal.get("Service", []) if isinstance(principal, dict) else []
        # A trust policy names no Resource: that is the role itself.
        policy = {"Statement": [{**statement, "Resource": "*"}]}
        request = Request("sts:AssumeRole", role_arn, {})
        if "lambda.amazonaws.com" in as_list(services) and is_allowed([policy], request):
            return
    raise CannotAssume(f"The role {role_arn} does not allow lambda.amazonaws.com to assume it.")


def assume_role(role_arn: str, *, session_name: str, duration_s: int) -> dict[str, str]:
    """Return a role's temporary credentials, as Lambda gets them; raise CannotAssume."""
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
