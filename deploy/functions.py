#!/usr/bin/env python3
"""Both Lambda functions: the splitter from a zip and a layer, the recognizer from an image."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.requirements import require_packages

require_packages()

import botocore.exceptions
import click

from deploy.failures import ensure_queue
from deploy.image import image_option
from deploy.layer import ensure_layer, zip_option
from deploy.parts.concurrency import ensure_cap
from deploy.parts.deployed import environment, get_function, uses_snapstart
from deploy.parts.ffmpeg_layer import Layer
from deploy.parts.ownership import owner_tags
from deploy.parts.retries import MAX_EVENT_AGE_S, RETRIES
from deploy.parts.snapstart import ensure_alias, remove_alias, snapstart_option
from deploy.parts.states import at_rest, has_failed, ready, reason, update_has_failed
from deploy.parts.targets import (
    Target,
    check_image_uri,
    differences,
    recognizer_target,
    splitter_target,
    to_send,
)
from deploy.roles import ensure_roles, remove_unused_rights, role_id
from pipeline.aws import NOT_FOUND, AwsError, covers, error_message, read_or_none, retry_while
from pipeline.cli import Run, deployment_options, set_option
from pipeline.settings import Function

LOG_DAYS = 30
ROLE_ID = "role-id"  # the function's tag with the ID of its role


def ensure_functions(
    run: Run,
    roles: dict[str, str],
    layer: Layer,
    queue: str,
    image_uri: str | None,
    snapstart: bool = False,
) -> list[str]:
    """Create or update both functions, their log groups, retries and cap; return their ARNs.

    The recognizer is replaced before the splitter that calls it, so a new recognizer must answer
    the splitter that is deployed. What runs works between any two calls (ARCHITECTURE.md).
    Without `image_uri`, the recognizer keeps its current image. With `snapstart`, a version of the
    recognizer is published and the splitter calls it through an alias. Raises AwsError if there is
    no image or it is in another region, or if Lambda fails to apply a change.
    """
    recognizer, splitter = run.deployment.recognizer, run.deployment.splitter
    image = image_uri or _current_image(run, recognizer)
    check_image_uri(run, image)
    for function in (recognizer, splitter):
        _ensure_log_group(run, function)
    target = recognizer_target(run, roles[recognizer.key], image, layer.architecture, snapstart)
    before = run.changes
    _set_aside(run, target)
    arns = [_ensure_function(run, target)]
    is_changing = run.changes > before
    called = ensure_alias(run, recognizer, is_changing) if snapstart else recognizer.name
    target = splitter_target(run, roles[splitter.key], layer, called)
    arns.append(_ensure_function(run, target))
    if not snapstart:
        remove_alias(run, recognizer)
    _ensure_retries(run, splitter, queue)
    ensure_cap(run, splitter)
    return arns


def _current_image(run: Run, function: Function) -> str:
    current = get_function(run, function)
    uri = current["Code"].get("ImageUri") if current else None
    if not uri:
        raise AwsError(
            f"Function '{function.name}' does not exist and no image was given: pass --image-uri "
            "with the image's URI in the private ECR repository."
        )
    return uri


def _ensure_function(run: Run, target: Target) -> str:
    """Create the function, or update what differs, and wait until it is ready."""
    name = target.function.name
    current = at_rest(run, name)
    if current is not None and has_failed(current["Configuration"]):
        why = reason(current["Configuration"])
        run.change(
            "delete",
            f"function '{name}', which Lambda could not create: {why}",
            lambda: run.aws.client("lambda").delete_function(FunctionName=name),
        )
        current = None
    if current is None:
        run.change("create", f"function '{name}'", lambda: _create(run, target))
    else:
        _update(run, target, current)
        _renew_grant(run, target, current)
    if run.dry_run:
        return (
            f"arn:{run.aws.partition}:lambda:{run.aws.region}:{run.aws.account_id}:function:{name}"
        )
    return str(ready(run, name)["FunctionArn"])


def _create(run: Run, target: Target) -> None:
    client = run.aws.client("lambda")
    retry_while(
        lambda: client.create_function(
            FunctionName=target.function.name,
            PackageType="Zip" if "ZipFile" in target.code else "Image",
            Code=target.code,
            Tags={**owner_tags(run), ROLE_ID: role_id(run, target.function) or ""},
            **to_send(target.settings, {}),
        ),
        _is_settling,
    )


# What Lambda says while a role, a queue or a repository, or its policy, is seconds old. No other
# error is worth waiting for.
SETTLING = (
    "cannot be assumed by Lambda",
    "KMS key is invalid for CreateGrant",
    "does not have permission to access the ECR image",
    "does not have permissions to call",
    "The destination ARN",
)


def _is_settling(error: botocore.exceptions.ClientError) -> bool:
    return any(text in error_message(error) for text in SETTLING)


def _set_aside(run: Run, target: Target) -> None:
    """Let the splitter call a published copy of the recognizer while both its parts change.

    Code and settings are changed by two calls. Between them, the recognizer could have the image of
    one model and the setting of another. The splitter's next settings end this again.
    """
    recognizer, splitter = target.function, run.deployment.splitter
    current, caller = get_function(run, recognizer), get_function(run, splitter)
    if current is None or caller is None:
        return
    config, variables = current["Configuration"], environment(caller["Configuration"])
    if variables.get("RECOGNITION_FUNCTION") != recognizer.name:
        return  # it calls a published version already
    is_whole = not (has_failed(config) or update_has_failed(config) or uses_snapstart(config))
    if not is_whole or _is_same_code(target, current) or not _differing(target, config):
        return
    called = ensure_alias(run, recognizer)
    run.change(
        "let",
        f"function '{splitter.name}' call '{called}' meanwhile",
        lambda: run.aws.client("lambda").update_function_configuration(
            FunctionName=splitter.name,
            Environment={"Variables": {**variables, "RECOGNITION_FUNCTION": called}},
        ),
    )
    if not run.dry_run:
        ready(run, splitter.name)


def _is_same_code(target: Target, current: Any) -> bool:
    config = current["Configuration"]
    deployed = current["Code"].get("ImageUri") or config["CodeSha256"]
    architectures = target.settings["Architectures"]
    return bool(deployed == target.code_id and config.get("Architectures") == architectures)


def _differing(target: Target, config: Any) -> list[str]:
    """Return how the settings differ, without the architecture, which is sent with the code."""
    return differences(config, _without_architectures(target))


def _without_architectures(target: Target) -> dict[str, Any]:
    return {k: v for k, v in target.settings.items() if k != "Architectures"}


def _update(run: Run, target: Target, current: Any) -> None:
    client, name = run.aws.client("lambda"), target.function.name
    config = current["Configuration"]
    # Lambda may show the settings that were requested, not those in use: send them all again.
    again = update_has_failed(config)
    if again:
        run.note(
            f"The last update of function '{name}' failed: {reason(config, 'LastUpdateStatus')}"
        )
    if _is_same_code(target, current) and not again:
        run.kept(f"code of function '{name}'")
    else:
        config = _add_variables(run, target, config)
        run.change(
            "update",
            f"code of function '{name}'",
            lambda: retry_while(
                lambda: client.update_function_code(
                    FunctionName=name, Architectures=target.settings["Architectures"], **target.code
                ),
                _is_settling,
            ),
        )
        if not run.dry_run:
            ready(run, name)
    differs = _differing(target, config)
    wanted = to_send(_without_architectures(target), config)
    if not differs and not again:
        run.kept(f"settings of function '{name}'")
        return
    run.change(
        "update",
        f"settings of function '{name}': {', '.join(differs) or 'all of them again'}",
        lambda: retry_while(
            lambda: client.update_function_configuration(FunctionName=name, **wanted),
            _is_settling,
        ),
    )


def _add_variables(run: Run, target: Target, config: Any) -> Any:
    """Give the code that runs the variables that new code needs; return the configuration.

    The others keep their values, so the code that runs does not notice. Only the recognizer's name
    and timeout change, because the recognizer has been replaced already.
    """
    client, name = run.aws.client("lambda"), target.function.name
    old, new = environment(config), target.settings["Environment"]["Variables"]
    ahead = {key: new[key] for key in new if key not in old or key.startswith("RECOGNITION_")}
    variables = {**old, **ahead}
    if variables == old or update_has_failed(config):
        return config
    run.change(
        "add",
        f"variables of function '{name}' for its new code: {', '.join(sorted(ahead))}",
        lambda: client.update_function_configuration(
            FunctionName=name, Environment={"Variables": variables}
        ),
    )
    return config if run.dry_run else ready(run, name)


def _renew_grant(run: Run, target: Target, current: Any) -> None:
    """Let a role that was deleted and created again decrypt the function's environment variables.

    The grant is to the role itself, not to its name, and Lambda makes it only when the function
    gets a different role.
    https://repost.aws/knowledge-center/lambda-kmsaccessdeniedexception-errors
    """
    known = (current.get("Tags") or {}).get(ROLE_ID)
    now = role_id(run, target.function)
    if known is None or now is None or known == now:
        return
    run.change(
        "give",
        f"function '{target.function.name}' its new role '{target.function.role}'",
        partial(_give_role, run, target, now),
    )


def _give_role(run: Run, target: Target, new_id: str) -> None:
    """Switch to the other function's role and back again."""
    client, name = run.aws.client("lambda"), target.function.name
    own = target.settings["Role"]
    other = next(f.role for f in run.deployment.functions if f.key != target.function.key)
    arn = ready(run, name)["FunctionArn"]
    for role in (f"{own.rpartition('/')[0]}/{other}", own):
        retry_while(
            partial(client.update_function_configuration, FunctionName=name, Role=role),
            _is_settling,
        )
        ready(run, name)
    client.tag_resource(Resource=arn, Tags={ROLE_ID: new_id})


def _ensure_log_group(run: Run, function: Function) -> None:
    logs, name = run.aws.client("logs"), function.log_group
    groups = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    group = next((group for group in groups if group["logGroupName"] == name), None)
    if group is None:
        run.change(
            "create", f"log group '{name}'", lambda: logs.create_log_group(logGroupName=name)
        )
    if group is None or group.get("retentionInDays") != LOG_DAYS:
        run.change(
            "keep",
            f"logs in '{name}' for {LOG_DAYS} days",
            lambda: logs.put_retention_policy(logGroupName=name, retentionInDays=LOG_DAYS),
        )


def _ensure_retries(run: Run, function: Function, queue: str) -> None:
    client = run.aws.client("lambda")
    wanted: dict[str, Any] = {
        "MaximumRetryAttempts": RETRIES,
        "MaximumEventAgeInSeconds": MAX_EVENT_AGE_S,
        "DestinationConfig": {"OnFailure": {"Destination": queue}},
    }
    current = read_or_none(
        lambda: client.get_function_event_invoke_config(FunctionName=function.name), NOT_FOUND
    )
    if covers(current, wanted):
        run.kept(f"retries of function '{function.name}'")
        return
    run.change(
        "set",
        f"retries of function '{function.name}': {RETRIES}, then queue "
        f"'{run.deployment.failure_queue}'",
        lambda: retry_while(
            lambda: client.put_function_event_invoke_config(FunctionName=function.name, **wanted),
            _is_settling,
        ),
    )


@click.command()
@deployment_options
@zip_option
@image_option
@set_option
@snapstart_option
def main(
    run: Run,
    zip_path: Path,
    image_uri: str | None,
    snapstart: bool | None,
) -> None:
    """Deploy both functions: python3 deploy/functions.py --prefix 1225111111 --image-uri URI"""
    queue, roles = ensure_queue(run), ensure_roles(run)
    layer = ensure_layer(run, zip_path)
    for arn in ensure_functions(run, roles, layer, queue, image_uri, bool(snapstart)):
        click.echo(arn)
    remove_unused_rights(run)
    click.echo(f"Next: {run.command('deploy/trigger.py')}", err=True)


if __name__ == "__main__":
    main()
