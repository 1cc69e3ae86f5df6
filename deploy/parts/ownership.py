"""Finds the owner of functions and roles, which are tagged with the deployment that made them.

The names of buckets and the queue contain the prefix; those of functions, roles, layer, repository
and log groups contain only the namespace. Two deployments with the same namespace would overwrite
each other's, even in different regions, because roles belong to the whole account.
"""

from __future__ import annotations

from functools import partial

from deploy.parts.deployed import environment, get_function
from pipeline.aws import AwsError, read_or_none
from pipeline.cli import Run
from pipeline.settings import PROJECT, Function


def owner_tags(run: Run) -> dict[str, str]:
    """Return the tags for resources whose names lack the prefix."""
    return {**PROJECT, "prefix": run.deployment.prefix, "region": run.aws.region}


def foreign_function(run: Run, function: Function) -> str | None:
    """Return who owns the function, in words; None if it is ours or does not exist."""
    found = get_function(run, function)
    if found is None:
        return None
    # Lambda leaves the tags out without lambda:ListTags, so fall back on the setting.
    variables = environment(found["Configuration"])
    bucket = variables.get("OUTPUT_BUCKET", "")
    prefix = bucket[: -len("-output")] if bucket.endswith("-output") else None
    prefix = (found.get("Tags") or {}).get("prefix") or prefix
    return _owner(run, f"function '{function.name}'", prefix, run.aws.region)


def foreign_role(run: Run, function: Function) -> str | None:
    """Return who owns the function's role, in words; None if it is ours or does not exist."""
    iam = run.aws.client("iam")
    found = read_or_none(partial(iam.get_role, RoleName=function.role), "NoSuchEntity")
    if found is None:
        return None
    tags = {tag["Key"]: tag["Value"] for tag in found["Role"].get("Tags", [])}
    return _owner(run, f"role '{function.role}'", tags.get("prefix"), tags.get("region"))


def _owner(run: Run, thing: str, prefix: str | None, region: str | None) -> str | None:
    if prefix is None or region is None:
        return f"{thing} was not made by these scripts"
    if (prefix, region) == (run.deployment.prefix, run.aws.region):
        return None
    return f"{thing} belongs to deployment '{prefix}' in {region}"


def foreign(run: Run) -> list[str]:
    """Return who owns the functions and roles that only share a name with this deployment."""
    functions = run.deployment.functions
    found = [foreign_function(run, function) for function in functions]
    found += [foreign_role(run, function) for function in functions]
    return [text for text in found if text is not None]


def refuse_foreign(run: Run) -> None:
    """Raise AwsError when a function or role of these names belongs to another deployment."""
    found = foreign(run)
    if found:
        raise AwsError(
            f"{'; '.join(found)}. Pass another --namespace to give '{run.deployment.prefix}' "
            "separate functions and roles, or the --prefix, --namespace and --region of that "
            "deployment."
        )
