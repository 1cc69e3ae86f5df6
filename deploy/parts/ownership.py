"""Whose a namespace is: functions and roles are tagged with the deployment they were made for.

Buckets and the queue carry the prefix in their names; functions, roles, layer, repository and log
groups carry the namespace alone. Two deployments with one namespace would take these from each
other, and roles are an account's in all of its regions.
"""

from __future__ import annotations

from typing import Any

from pipeline.aws import AwsError, read_or_none
from pipeline.cli import Run
from pipeline.settings import PROJECT, Function


def owner_tags(run: Run) -> dict[str, str]:
    """The tags of what has no prefix in its name."""
    return {**PROJECT, "prefix": run.deployment.prefix, "region": run.aws.region}


def foreign_function(run: Run, function: Function) -> str | None:
    """Whose the function of this name is, in words; None where it is ours or there is none."""
    client = run.aws.client("lambda")
    found: Any = read_or_none(
        lambda: client.get_function(FunctionName=function.name), "ResourceNotFoundException"
    )
    if found is None:
        return None
    # Tags are left out of the answer for who may not list them; the setting is there for all.
    variables = (found["Configuration"].get("Environment") or {}).get("Variables", {})
    bucket = variables.get("OUTPUT_BUCKET", "")
    prefix = bucket[: -len("-output")] if bucket.endswith("-output") else None
    prefix = (found.get("Tags") or {}).get("prefix") or prefix
    return _owner(run, f"function '{function.name}'", prefix, run.aws.region)


def foreign_role(run: Run, function: Function) -> str | None:
    """Whose the function's role is, in words; None where it is ours or there is none."""
    iam = run.aws.client("iam")
    found: Any = read_or_none(lambda: iam.get_role(RoleName=function.role)["Role"], "NoSuchEntity")
    if found is None:
        return None
    tags = {tag["Key"]: tag["Value"] for tag in found.get("Tags", [])}
    return _owner(run, f"role '{function.role}'", tags.get("prefix"), tags.get("region"))


def _owner(run: Run, thing: str, prefix: str | None, region: str | None) -> str | None:
    if prefix is None or region is None:
        return f"{thing} was not made by these scripts"
    if (prefix, region) == (run.deployment.prefix, run.aws.region):
        return None
    return f"{thing} belongs to deployment '{prefix}' in {region}"


def foreign(run: Run) -> list[str]:
    """The functions and roles with names of this deployment that are not of it, and whose."""
    functions = run.deployment.functions
    found = [foreign_function(run, function) for function in functions]
    found += [foreign_role(run, function) for function in functions]
    return [text for text in found if text is not None]


def refuse_foreign(run: Run) -> None:
    """Raise AwsError when a function or role of these names is not of this deployment."""
    found = foreign(run)
    if found:
        raise AwsError(
            f"{'; '.join(found)}. Pass another --namespace, which gives '{run.deployment.prefix}' "
            "functions and roles of its own; or the --prefix, --namespace and --region of the "
            "deployment that is meant."
        )
