"""SnapStart: a published version of the recognizer, restored from a snapshot of its INIT.

Lambda keeps the snapshot of every published version and charges for it by the hour, so older
versions are deleted as soon as the alias has moved.
https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html
"""

from __future__ import annotations

from typing import Any

import click

from deploy.parts.states import at_rest, has_failed, reason
from deploy.parts.targets import NOT_FOUND, get_function
from pipeline.aws import AwsError, read_or_none
from pipeline.cli import Run
from pipeline.settings import Function

# Taking the snapshot runs INIT: minutes for a large image.
SNAPSHOT_S = 1500

snapstart_option = click.option(
    "--snapstart",
    is_flag=True,
    help="Start the recognizer from a snapshot of its INIT (price and limits: docs/settings.md).",
)


def ensure_alias(run: Run, function: Function, is_changing: bool = False) -> str:
    """Publish what is deployed, move the alias to it, and return the name by which to invoke it.

    Publishing unchanged code and settings gives the version there is: nothing is made twice.
    `is_changing`: the function is to differ from what is deployed, in a dry run.
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
    """Whether the alias means a version of what is deployed now, which can run."""
    found = get_function(run, function)
    version = alias_version(run, function)
    if found is None or version in (None, "$LATEST"):
        return False
    config = run.aws.client("lambda").get_function(FunctionName=function.name, Qualifier=version)
    published = config["Configuration"]
    return not has_failed(published) and _same_build(published, found["Configuration"])


def remove_alias(run: Run, function: Function) -> None:
    """Delete the alias and every version; call it when the splitter no longer uses the alias."""
    alias = run.deployment.alias
    if alias_version(run, function) is not None:
        run.change(
            "delete",
            f"alias '{alias}' of function '{function.name}'",
            lambda: run.aws.client("lambda").delete_alias(FunctionName=function.name, Name=alias),
        )
    _delete_versions(run, function, keep=None)


def alias_version(run: Run, function: Function) -> str | None:
    """The version that the alias means; None without an alias."""
    client = run.aws.client("lambda")
    found = read_or_none(
        lambda: client.get_alias(FunctionName=function.name, Name=run.deployment.alias), NOT_FOUND
    )
    return None if found is None else str(found["FunctionVersion"])


def _publish(run: Run, function: Function) -> str:
    """The version of what is deployed now, ready to run.

    One whose snapshot failed is deleted first: publishing unchanged code would give it again.
    """
    client = run.aws.client("lambda")
    latest = client.get_function(FunctionName=function.name)["Configuration"]
    for version in _versions(run, function):
        number = str(version["Version"])
        if not _same_build(version, latest):
            continue
        # Versions are listed without their states; one may be left from a run that was interrupted.
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
            f"'{function.name}': {reason(config)}. Its INIT may have failed: the log group "
            f"'{function.log_group}' has what it said. Alias '{run.deployment.alias}' was not "
            "moved to it. Mend that and run the same command again, which publishes anew; without "
            "--snapstart no snapshot is needed."
        )
    return number


def _taken(run: Run, function: Function, number: str) -> Any:
    """The version's configuration once its snapshot is taken, or could not be."""
    found = at_rest(run, function.name, number, SNAPSHOT_S)
    if found is None:
        raise AwsError(
            f"Version {number} of function '{function.name}' was deleted meanwhile: run the same "
            "command again."
        )
    return found["Configuration"]


def _discard(run: Run, function: Function, number: str, why: str) -> None:
    """Delete a version that failed. AWS refuses to while the alias points to it.

    The alias then means $LATEST, which runs without a snapshot, until there is a version.
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


COMPARED = ("CodeSha256", "Environment", "MemorySize", "Timeout", "Role", "Architectures")


def _same_build(version: dict[str, Any], latest: dict[str, Any]) -> bool:
    def of(config: dict[str, Any]) -> list[Any]:
        apply_on = (config.get("SnapStart") or {}).get("ApplyOn", "None")
        return [apply_on, *(config.get(key) for key in COMPARED)]

    return of(version) == of(latest)


def _move(run: Run, function: Function, version: str) -> None:
    client, alias = run.aws.client("lambda"), run.deployment.alias
    current = alias_version(run, function)
    text = f"alias '{alias}' of function '{function.name}' to version {version}"
    settings = {"FunctionName": function.name, "Name": alias, "FunctionVersion": version}
    if current == version:
        run.kept(text)
    elif current is None:
        run.change("create", text, lambda: client.create_alias(**settings))
    else:
        run.change("move", text, lambda: client.update_alias(**settings))


def _versions(run: Run, function: Function) -> list[dict[str, Any]]:
    """The published versions; none of a function that does not exist."""
    pages = run.aws.client("lambda").get_paginator("list_versions_by_function")
    found = read_or_none(
        lambda: [
            version
            for page in pages.paginate(FunctionName=function.name)
            for version in page["Versions"]
        ],
        NOT_FOUND,
    )
    return [version for version in found or [] if version["Version"] != "$LATEST"]


def _delete_versions(run: Run, function: Function, keep: str | None) -> None:
    client = run.aws.client("lambda")
    for version in _versions(run, function):
        number = version["Version"]
        if number != keep:
            run.change(
                "delete",
                f"version {number} of function '{function.name}'",
                lambda number=number: client.delete_function(  # type: ignore[misc]
                    FunctionName=function.name, Qualifier=number
                ),
            )
