"""SnapStart: starts the recognizer from a snapshot of its INIT, which a published version has.

Lambda keeps the snapshot of every published version and charges for it by the hour, so older
versions are deleted as soon as the alias has moved.
https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html
"""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from deploy.parts.deployed import function_versions, get_function
from deploy.parts.states import at_rest, has_failed, reason
from pipeline.aws import NOT_FOUND, AwsError, read_or_none
from pipeline.cli import Run
from pipeline.settings import Function

# Lambda runs INIT to take the snapshot, which takes minutes for a large image.
SNAPSHOT_S = 1500

snapstart_option = click.option(
    "--snapstart/--no-snapstart",
    default=None,
    help="Start the recognizer from a snapshot of its INIT (price and limits: docs/settings.md).",
)


def ensure_alias(run: Run, function: Function, is_changing: bool = False) -> str:
    """Publish the deployed function, move the alias to it, and return the name to invoke.

    If code and settings are unchanged, the existing version is kept. `is_changing` tells a dry run
    that the deployment would change the function.
    """
    alias = run.deployment.alias
    called = f"{function.name}:{alias}"
    if run.dry_run:
        if is_changing or not _is_published(run, function):
            text = f"function '{function.name}' and move alias '{alias}' to it"
            run.change("publish", text, lambda: None)
        return called
    version = _publish(run, function)
    _move(run, function, version)
    _delete_versions(run, function, keep=version)
    return called


def _is_published(run: Run, function: Function) -> bool:
    """Return whether the alias points to a working version of what is deployed now."""
    found = get_function(run, function)
    version = alias_version(run, function)
    if found is None or version in (None, "$LATEST"):
        return False
    config = run.aws.client("lambda").get_function(FunctionName=function.name, Qualifier=version)
    published = config["Configuration"]
    return not has_failed(published) and _same_build(published, found["Configuration"])


def remove_alias(run: Run, function: Function) -> None:
    """Delete the alias and all versions; the splitter must no longer use the alias."""
    alias = run.deployment.alias
    if alias_version(run, function) is not None:
        run.change(
            "delete",
            f"alias '{alias}' of function '{function.name}'",
            lambda: run.aws.client("lambda").delete_alias(FunctionName=function.name, Name=alias),
        )
    _delete_versions(run, function, keep=None)


def alias_version(run: Run, function: Function) -> str | None:
    """Return the version that the alias points to; None if there is no alias."""
    client = run.aws.client("lambda")
    found = read_or_none(
        lambda: client.get_alias(FunctionName=function.name, Name=run.deployment.alias), NOT_FOUND
    )
    return None if found is None else found["FunctionVersion"]


def _publish(run: Run, function: Function) -> str:
    """Publish what is deployed now, unless it is published already; return the version number.

    A version whose snapshot failed is deleted first: for unchanged code, Lambda would return it
    again.
    """
    client = run.aws.client("lambda")
    latest = client.get_function(FunctionName=function.name)["Configuration"]
    for version in _versions(run, function):
        number = str(version["Version"])
        if not _same_build(version, latest):
            continue
        # The list has no states; an interrupted run may have left this version unfinished.
        config = _taken(run, function, number)
        if not has_failed(config):
            run.kept(f"version {number} of function '{function.name}'")
            return number
        _discard(run, function, number, reason(config))
    answer = run.change(
        "publish",
        f"a version of function '{function.name}'",
        lambda: client.publish_version(FunctionName=function.name),
    )
    number = str(answer["Version"]) if answer else ""
    config = _taken(run, function, number)
    if has_failed(config):
        raise AwsError(
            f"Lambda could not take the snapshot of version {number} of function "
            f"'{function.name}': {reason(config)}. Its INIT may have failed: see the log "
            f"group '{function.log_group}'. Alias '{run.deployment.alias}' was not moved to it. "
            "Fix that and run the same command again to publish a new version, or deploy without "
            "--snapstart."
        )
    return number


def _taken(run: Run, function: Function, number: str) -> Any:
    """Wait until Lambda has taken the snapshot, or failed to; return the configuration."""
    found = at_rest(run, function.name, number, SNAPSHOT_S)
    if found is None:
        raise AwsError(
            f"Version {number} of function '{function.name}' was deleted meanwhile: run the same "
            "command again."
        )
    return found["Configuration"]


def _discard(run: Run, function: Function, number: str, why: str) -> None:
    """Delete a version whose snapshot failed.

    AWS refuses to while the alias points to it, so the alias is moved to $LATEST, which runs
    without a snapshot, until a new version is published.
    """
    if alias_version(run, function) == number:
        _move(run, function, "$LATEST")
    run.change(
        "delete",
        f"version {number} of function '{function.name}', whose snapshot failed: {why}",
        lambda: run.aws.client("lambda").delete_function(
            FunctionName=function.name, Qualifier=number
        ),
    )


COMPARED = (
    *("CodeSha256", "Environment", "MemorySize", "Timeout", "Role", "Architectures"),
    "EphemeralStorage",
)


def _same_build(version: Any, latest: Any) -> bool:
    return _build(version) == _build(latest)


def _build(config: Any) -> list[Any]:
    apply_on = (config.get("SnapStart") or {}).get("ApplyOn", "None")
    return [apply_on, *(config.get(key) for key in COMPARED)]


def _move(run: Run, function: Function, version: str) -> None:
    client, alias = run.aws.client("lambda"), run.deployment.alias
    current = alias_version(run, function)
    text = f"alias '{alias}' of function '{function.name}' to version {version}"
    settings: dict[str, Any] = {
        "FunctionName": function.name,
        "Name": alias,
        "FunctionVersion": version,
    }
    if current == version:
        run.kept(text)
    elif current is None:
        run.change("create", text, partial(client.create_alias, **settings))
    else:
        run.change("move", text, partial(client.update_alias, **settings))


def _versions(run: Run, function: Function) -> list[Any]:
    """Return the published versions."""
    return [v for v in function_versions(run, function) if v["Version"] != "$LATEST"]


def _delete_versions(run: Run, function: Function, keep: str | None) -> None:
    client = run.aws.client("lambda")
    for version in _versions(run, function):
        number = version["Version"]
        if number != keep:
            run.change(
                "delete",
                f"version {number} of function '{function.name}'",
                partial(client.delete_function, FunctionName=function.name, Qualifier=number),
            )
