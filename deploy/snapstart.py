"""SnapStart: a published version of the recogniser, restored from a snapshot of its INIT.

Lambda keeps the snapshot of every published version and charges for it by the hour, so older
versions are deleted as soon as the alias has moved.
https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html
"""

from __future__ import annotations

from typing import Any

import click

from pipeline.aws import read_or_none
from pipeline.cli import Run
from pipeline.settings import Function

NOT_FOUND = "ResourceNotFoundException"

snapstart_option = click.option(
    "--snapstart",
    is_flag=True,
    help="Start the recogniser from a snapshot of its INIT (see the README for price and limits).",
)


def ensure_alias(run: Run, function: Function) -> str:
    """Publish what is deployed, move the alias to it, and return the name by which to invoke it.

    Publishing unchanged code and settings gives the version there is: nothing is made twice.
    """
    alias = run.deployment.alias
    called = f"{function.name}:{alias}"
    if run.dry_run:
        run.note(f"Would publish function '{function.name}' and move alias '{alias}' to it")
        return called
    current = _alias_version(run, function)
    version = _publish(run, function)
    _move(run, function, current, version)
    _delete_versions(run, function, keep=version)
    return called


def remove_alias(run: Run, function: Function) -> None:
    """Delete the alias and every version; call it when the splitter no longer uses the alias."""
    alias = run.deployment.alias
    if _alias_version(run, function) is not None:
        run.change(
            "delete",
            f"alias '{alias}' of function '{function.name}'",
            lambda: run.aws.client("lambda").delete_alias(FunctionName=function.name, Name=alias),
        )
    _delete_versions(run, function, keep=None)


def _alias_version(run: Run, function: Function) -> str | None:
    client = run.aws.client("lambda")
    found = read_or_none(
        lambda: client.get_alias(FunctionName=function.name, Name=run.deployment.alias), NOT_FOUND
    )
    return None if found is None else str(found["FunctionVersion"])


def _publish(run: Run, function: Function) -> str:
    """The version of what is deployed now, ready to run."""
    client = run.aws.client("lambda")
    before = {version["Version"]: version for version in _versions(run, function)}
    latest = client.get_function(FunctionName=function.name)["Configuration"]
    for number, version in before.items():
        if _same_build(version, latest):
            run.kept(f"version {number} of function '{function.name}'")
            return str(number)
    answer = run.change(
        "publish",
        f"a version of function '{function.name}'",
        lambda: client.publish_version(FunctionName=function.name),
    )
    number = str(answer["Version"]) if answer else ""
    # Taking the snapshot runs INIT: minutes for a large image.
    client.get_waiter("published_version_active").wait(FunctionName=function.name, Qualifier=number)
    return number


COMPARED = ("CodeSha256", "Environment", "MemorySize", "Timeout", "Role", "Architectures")


def _same_build(version: dict[str, Any], latest: dict[str, Any]) -> bool:
    def of(config: dict[str, Any]) -> list[Any]:
        apply_on = (config.get("SnapStart") or {}).get("ApplyOn", "None")
        return [apply_on, *(config.get(key) for key in COMPARED)]

    return of(version) == of(latest)


def _move(run: Run, function: Function, current: str | None, version: str) -> None:
    client, alias = run.aws.client("lambda"), run.deployment.alias
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
