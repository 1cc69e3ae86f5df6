"""Checks after deploying: every part exists, is connected, and has its permissions."""

from __future__ import annotations

import json
import re
import tempfile
import urllib.request
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import botocore.exceptions

from deploy.parts.checks import Check, check
from deploy.parts.deployed import environment, get_function, uses_snapstart
from deploy.parts.ffmpeg_layer import check_zip, zip_digest
from deploy.parts.gallery_file import check_gallery_in_s3
from deploy.parts.monitoring import alarm_check, may_see_alarms
from deploy.parts.queues import arn_of, find_queue, messages_in
from deploy.parts.repository import MANIFEST_TYPES
from deploy.parts.rights import current_rights, missing_rights, needed_rights
from deploy.parts.s3_trigger import may_invoke, sends_to
from deploy.parts.snapstart import alias_version
from deploy.parts.states import reason, update_has_failed
from deploy.parts.upload_queue import is_read, own_mapping, queue_attributes
from pipeline.aws import AwsError, error_code
from pipeline.bucket_admin import bucket_exists
from pipeline.cli import Run
from pipeline.policies import function_arn
from pipeline.settings import Function

if TYPE_CHECKING:
    from mypy_boto3_ecr.type_defs import ImageIdentifierTypeDef


def checks_after(run: Run, zip_path: Path, has_alarms: bool = True) -> list[Check]:
    """Check everything that must work for a video to be recognized.

    A check is left out if what it looks at is missing, which another check reports.
    """
    again, trigger = run.command("deploy/deploy.py"), run.command("deploy/trigger.py")
    recognizer, splitter = run.deployment.recognizer, run.deployment.splitter
    found = {function.key: get_function(run, function) for function in (splitter, recognizer)}
    if not any(found.values()):
        nothing = f"No function of '{run.deployment.prefix}' is deployed in {run.aws.region}."
        return [Check("deployment", "failed", nothing, again)]
    buckets = check("buckets", lambda: _buckets(run), run.command("createS3.py"))
    checks = [buckets]
    for function in (splitter, recognizer):
        answer = found[function.key]
        checks.append(check(f"function '{function.name}'", partial(_active, run, function), again))
        if answer is None:
            continue
        config = answer["Configuration"]
        rights = partial(_rights, run, function, environment(config))
        checks.append(check(f"rights of '{function.role}'", rights, again))
        checks += _checks_of(run, function, answer, zip_path, again)
    has_input = buckets.result == "ok"
    if found[splitter.key] is not None:
        checks += _trigger_checks(run, trigger) if has_input else []
        checks.append(check("failure queue", lambda: _failure_queue(run), again))
    if all(found.values()):
        checks.append(_settings(run, found[splitter.key], found[recognizer.key], again))
        is_given = {c.name: c.result for c in checks}[f"rights of '{splitter.role}'"] == "ok"
        call = "splitter may invoke recognizer"
        checks += [check(call, lambda: _may_call(run), again)] if is_given else []
    if has_alarms and may_see_alarms(run):
        checks.append(alarm_check(run))
    return checks


def _checks_of(
    run: Run, function: Function, answer: Any, zip_path: Path, again: str
) -> list[Check]:
    """Check what only one of the functions has."""
    if function.key == run.deployment.splitter.key:
        return [check("layer", lambda: _layer(run, answer["Configuration"], zip_path), again)]
    return [_image(run, answer), check("gallery in use", lambda: _gallery(run, answer), again)]


def _buckets(run: Run) -> str:
    missing = [bucket for bucket in run.deployment.buckets if not bucket_exists(run.aws, bucket)]
    if missing:
        raise AwsError(f"There is no bucket {' or '.join(map(repr, missing))}.")
    return ", ".join(run.deployment.buckets)


def _rights(run: Run, function: Function, variables: dict[str, str]) -> str:
    """Check that the role has every right that the function needs as it is deployed."""
    needed = needed_rights(run, function, variables.get("GALLERY_URI", ""), is_read(run))
    missing = missing_rights(current_rights(run, function), needed)
    if missing:
        raise AwsError(
            f"Role '{function.role}' lacks the rights {', '.join(missing)}, which function "
            f"'{function.name}' needs as it is deployed."
        )
    return f"all that '{function.name}' needs as it is deployed"


def _gallery(run: Run, answer: Any) -> str:
    """Check the gallery that the deployed recognizer reads, whatever this checkout says."""
    variables = environment(answer["Configuration"])
    uri, model = variables.get("GALLERY_URI", ""), variables.get("MODEL", "")
    if not uri:
        return "part of the image"
    size = check_gallery_in_s3(run, uri, model)
    return f"{uri}, {size:,} bytes, was made with {model}"


def _settings(run: Run, splitter: Any, recognizer: Any, again: str) -> Check:
    """Check that the settings of the two deployed functions fit each other."""
    name = "settings"
    result = check(name, lambda: _fitting(run, splitter, recognizer), again)
    if "meanwhile" in result.detail and result.result == "ok":
        return Check(name, "warning", result.detail, again)
    return result


def _fitting(run: Run, splitter: Any, recognizer: Any) -> str:
    deployment = run.deployment
    variables, config = environment(splitter["Configuration"]), recognizer["Configuration"]
    wanted = {
        "STAGE_1_BUCKET": (deployment.stage_1_bucket,),
        "OUTPUT_BUCKET": (deployment.output_bucket,),
        "RECOGNITION_FUNCTION": (
            deployment.recognizer.name,
            f"{deployment.recognizer.name}:{deployment.alias}",
        ),
    }
    for key, values in wanted.items():
        if variables.get(key) not in values:
            raise AwsError(
                f"{key} of function '{deployment.splitter.name}' is {variables.get(key)!r}, not "
                f"{values[0]!r}."
            )
    bucket = environment(config).get("OUTPUT_BUCKET")
    if bucket != deployment.output_bucket:
        raise AwsError(
            f"OUTPUT_BUCKET of function '{deployment.recognizer.name}' is {bucket!r}, not "
            f"'{deployment.output_bucket}'."
        )
    patience = variables.get("RECOGNITION_TIMEOUT_S", "")
    if not patience.isdecimal() or int(patience) < config["Timeout"]:
        raise AwsError(
            f"Function '{deployment.splitter.name}' waits {patience or 'no'} s for an answer, but "
            f"'{deployment.recognizer.name}' may take {config['Timeout']} s."
        )
    if variables["RECOGNITION_FUNCTION"] != deployment.recognizer.name:
        version = alias_version(run, deployment.recognizer)
        if version is None:
            raise AwsError(
                f"Function '{deployment.splitter.name}' calls "
                f"'{variables['RECOGNITION_FUNCTION']}', which does not exist."
            )
        if not uses_snapstart(config):
            return (
                f"an interrupted deployment lets the splitter call version {version} of the "
                "recognizer meanwhile"
            )
    return "both functions' settings fit each other"


def _active(run: Run, function: Function) -> str:
    found = get_function(run, function)
    if found is None:
        raise AwsError(f"Function '{function.name}' does not exist in {run.aws.region}.")
    config = found["Configuration"]
    _check_state(f"Function '{function.name}'", config)
    called = _version_called(run, function)
    if called is not None:
        version = f"Version {called['Version']} of function '{function.name}'"
        _check_state(f"{version}, which alias '{run.deployment.alias}' points to,", called)
    if "Inactive" in (config.get("State"), (called or {}).get("State")):
        return "idle for weeks: Lambda wakes it at the next event, which then takes longer"
    state = config.get("State", "Active")
    return f"{state}, {config['MemorySize']} MB, {config['Timeout']} s"


def _check_state(what: str, config: Any) -> None:
    """Raise AwsError if it cannot run, or runs an earlier deployment."""
    if config.get("State", "Active") not in ("Active", "Inactive"):
        raise AwsError(f"{what} is {config['State']}: {reason(config)}")
    if update_has_failed(config):
        why = reason(config, "LastUpdateStatus")
        raise AwsError(f"{what} still runs as before its last update, which failed: {why}")


def _version_called(run: Run, function: Function) -> Any:
    """Return the configuration of the version that the alias points to; None if there is none."""
    number = alias_version(run, function)
    if number in (None, "$LATEST"):
        return None
    client = run.aws.client("lambda")
    return client.get_function_configuration(FunctionName=function.name, Qualifier=number)


def _layer(run: Run, config: Any, zip_path: Path) -> str:
    """Check that the layer's ffmpeg is executable and built for the function's architecture.

    The layer is downloaded unless `zip_path` is the same zip.
    """
    layers = [layer["Arn"] for layer in config.get("Layers") or []]
    ours = [arn for arn in layers if f":layer:{run.deployment.layer}:" in arn]
    if not ours:
        raise AwsError(f"Function '{run.deployment.splitter.name}' has no layer with ffmpeg.")
    name, _, number = ours[0].rpartition(":")
    version = run.aws.client("lambda").get_layer_version(LayerName=name, VersionNumber=int(number))
    content = version["Content"]
    if zip_path.is_file() and zip_digest(zip_path) == content["CodeSha256"]:
        machine = check_zip(zip_path)
    else:
        with tempfile.TemporaryDirectory(prefix="layer-") as folder:
            copy = Path(folder) / "layer.zip"
            try:
                urllib.request.urlretrieve(content["Location"], copy)  # noqa: S310 - AWS's own URL
            except OSError as error:  # includes urllib's errors
                raise AwsError(
                    f"Cannot download the layer {ours[0]} to check it: {error}. Pass --zip with "
                    "the zip file it was made from, which is then checked instead."
                ) from error
            machine = check_zip(copy)
    if [machine] != config.get("Architectures", ["x86_64"]):
        raise AwsError(f"The layer is for {machine}, the function for {config['Architectures']}.")
    return f"{ours[0].split(':layer:')[1]}, executable on {machine}"


def _image(run: Run, answer: Any) -> Check:
    name = "image"
    result = check(name, lambda: _manifest(run, answer))
    if result.result == "ok" and result.detail.startswith("not checked"):
        return Check(name, "warning", result.detail, "Push it with deploy/image.py.")
    return result


def _manifest(run: Run, answer: Any) -> str:
    uri = answer["Code"].get("ImageUri", "")
    _, _, place = uri.partition("/")
    repository, _, digest = place.partition("@")
    repository, _, tag = repository.partition(":")
    image: ImageIdentifierTypeDef = (
        {"imageDigest": digest} if digest else {"imageTag": tag or "latest"}
    )
    ecr = run.aws.client("ecr")
    try:
        found = ecr.describe_images(repositoryName=repository, imageIds=[image])["imageDetails"][0]
    except botocore.exceptions.ClientError as error:
        if error_code(error) in ("RepositoryNotFoundException", "ImageNotFoundException"):
            return f"not checked: {uri} is not in this account's ECR"
        raise
    kind = found.get("imageManifestMediaType", MANIFEST_TYPES[0])
    if kind not in MANIFEST_TYPES:
        raise AwsError(f"{uri} is a {kind}, which Lambda refuses: build it with deploy/image.py.")
    model = environment(answer["Configuration"]).get("MODEL", "")
    tags = [re.fullmatch(r"(.+)-[0-9a-f]{16}", tag) for tag in found.get("imageTags", [])]
    built_for = {tag[1] for tag in tags if tag}  # deploy/image.py makes such tags
    if built_for and model not in built_for:
        raise AwsError(
            f"{uri} was built for {', '.join(sorted(built_for))}, but MODEL of function "
            f"'{run.deployment.recognizer.name}' is {model!r}."
        )
    size = found.get("imageSizeInBytes", 0) / 1e6
    return f"{uri}, {size:.0f} MB, in a format that Lambda takes"


def _trigger_checks(run: Run, fix: str) -> list[Check]:
    """Check the way of an upload to the splitter: directly, or through the queue."""
    target = ""

    def look() -> str:
        nonlocal target
        target = sends_to(run)
        way = f" through '{run.deployment.upload_queue}'" if ":sqs:" in target else ""
        return f"'{run.deployment.input_bucket}' starts '{run.deployment.splitter.name}'{way}"

    checks = [check("trigger", look, fix)]
    if ":sqs:" in target:
        checks.append(check("queue of uploads", lambda: _upload_queue(run), fix))
    elif target:
        checks.append(check("S3 may invoke", lambda: _s3_may_invoke(run), fix))
    return checks


def _upload_queue(run: Run) -> str:
    """Check that S3 may send to the queue and that Lambda reads it for the splitter."""
    name, splitter = run.deployment.upload_queue, run.deployment.splitter.name
    found, mapping = find_queue(run, name), own_mapping(run)
    if found is None:
        raise AwsError(f"Queue '{name}' does not exist: uploads are lost.")
    if json.loads(found[1].get("Policy", "{}")) != json.loads(queue_attributes(run)["Policy"]):
        raise AwsError(
            f"The policy of queue '{name}' does not let the input bucket, and no other, send."
        )
    if mapping is None or mapping.get("State") != "Enabled":
        state = "" if mapping is None else f" (state {mapping.get('State')})"
        raise AwsError(f"Lambda does not read queue '{name}' for function '{splitter}'{state}.")
    if "ReportBatchItemFailures" not in mapping.get("FunctionResponseTypes", []):
        raise AwsError(f"The event source of '{splitter}' ignores which uploads failed.")
    most = mapping.get("ScalingConfig", {}).get("MaximumConcurrency")
    if most is None:
        raise AwsError(f"The event source of '{splitter}' does not limit the videos at a time.")
    return f"{name}, {messages_in(found[1])} waiting, {most} at a time"


def _s3_may_invoke(run: Run) -> str:
    if not may_invoke(run):
        raise AwsError(
            f"Bucket '{run.deployment.input_bucket}' may not invoke "
            f"'{run.deployment.splitter.name}'."
        )
    return "only the input bucket, and only in this account"


def _may_call(run: Run) -> str:
    """Check with a dry run under the splitter's role or, if that cannot be assumed, a simulation.

    On AWS only Lambda can assume the role, so there the policy is simulated.
    """
    target, name = run.deployment.recognizer, run.deployment.splitter.name
    role = run.aws.client("lambda").get_function_configuration(FunctionName=name)["Role"]
    arn = function_arn(target, run.aws.region, run.aws.account_id, run.aws.partition)
    try:
        keys = run.aws.client("sts").assume_role(RoleArn=role, RoleSessionName="doctor")
    except botocore.exceptions.ClientError as error:
        if error_code(error) not in ("AccessDenied", "AccessDeniedException"):
            raise
        return _simulated(run, role, arn)
    credentials = keys["Credentials"]
    client = boto3.Session(
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
        region_name=run.aws.region,
    ).client("lambda", endpoint_url=run.aws.client("lambda").meta.endpoint_url)
    client.invoke(FunctionName=target.name, InvocationType="DryRun")
    return "a dry run under the splitter's role was allowed"


def _simulated(run: Run, role: str, arn: str) -> str:
    answer = run.aws.client("iam").simulate_principal_policy(
        PolicySourceArn=role, ActionNames=["lambda:InvokeFunction"], ResourceArns=[arn]
    )
    decision = answer["EvaluationResults"][0]["EvalDecision"]
    if decision != "allowed":
        raise AwsError(f"Role {role} may not invoke {arn}: {decision}.")
    return "the policy of the splitter's role allows it (simulated)"


def _failure_queue(run: Run) -> str:
    client, name = run.aws.client("lambda"), run.deployment.splitter.name
    wanted = arn_of(run, run.deployment.failure_queue)
    try:
        config = client.get_function_event_invoke_config(FunctionName=name)
    except client.exceptions.ResourceNotFoundException as error:
        raise AwsError(
            f"Function '{name}' has no failure queue: failed events are lost."
        ) from error
    target = config.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
    if target != wanted:
        raise AwsError(f"Failed events of '{name}' go to {target}, not to {wanted}.")
    sqs = run.aws.client("sqs")
    try:
        sqs.get_queue_url(QueueName=run.deployment.failure_queue)
    except sqs.exceptions.QueueDoesNotExist as error:
        raise AwsError(
            f"Queue '{run.deployment.failure_queue}' does not exist: failed events are lost."
        ) from error
    return f"{run.deployment.failure_queue}, after {config['MaximumRetryAttempts']} retries"
