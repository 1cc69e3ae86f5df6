"""The code and configuration that the two functions should have, as the Lambda API names them."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from deploy.parts.ffmpeg_layer import Layer
from pipeline.aws import NO_QUEUE, AwsError, read_or_none
from pipeline.cli import Run
from pipeline.settings import Function

if TYPE_CHECKING:
    from mypy_boto3_lambda.type_defs import FunctionCodeTypeDef

RUNTIME = "python3.12"


@dataclass(frozen=True)
class Target:
    """The code and configuration that a function should have; `code_id` identifies the code."""

    function: Function
    code: FunctionCodeTypeDef
    code_id: str
    settings: dict[str, Any] = field(default_factory=dict)


def zip_code(folder: Path) -> bytes:
    """Return the function's modules as a zip; the same files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.glob("*.py")):
            entry = zipfile.ZipInfo(path.name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
    return buffer.getvalue()


def splitter_target(run: Run, role: str, layer: Layer, recognizer: str) -> Target:
    """Return the splitter: this checkout's code, on the layer's architecture.

    `recognizer` is the function name or alias that it invokes.
    """
    deployment, function = run.deployment, run.deployment.splitter
    code = zip_code(function.folder)
    environment = {
        **function.environment,
        "STAGE_1_BUCKET": deployment.stage_1_bucket,
        "OUTPUT_BUCKET": deployment.output_bucket,
        "RECOGNITION_FUNCTION": recognizer,
        "RECOGNITION_TIMEOUT_S": str(deployment.recognizer.timeout_s),
        "FAILURE_QUEUE_URL": _queue_url(run),
    }
    return Target(
        function,
        {"ZipFile": code},
        base64.b64encode(hashlib.sha256(code).digest()).decode(),
        {
            **_common(function, role, environment),
            "Runtime": RUNTIME,
            "Handler": "handler.handler",
            "Layers": [layer.arn],
            "Architectures": [layer.architecture],
        },
    )


def _queue_url(run: Run) -> str:
    """Return the failure queue's URL; raises AwsError if there is no queue.

    A dry run that would create the queue gets a URL of the form that AWS gives.
    """
    sqs, name = run.aws.client("sqs"), run.deployment.failure_queue
    found = read_or_none(lambda: sqs.get_queue_url(QueueName=name), *NO_QUEUE)
    if found is not None:
        return found["QueueUrl"]
    if not run.dry_run:
        raise AwsError(f"There is no queue '{name}': run {run.command('deploy/failures.py')}")
    return f"{sqs.meta.endpoint_url}/{run.aws.account_id}/{name}"


def recognizer_target(
    run: Run, role: str, image_uri: str, architecture: str, snapstart: bool
) -> Target:
    """Return the recognizer: the image, which includes the model and, usually, the gallery."""
    function = run.deployment.recognizer
    environment = {
        **function.environment,
        "OUTPUT_BUCKET": run.deployment.output_bucket,
    }
    return Target(
        function,
        {"ImageUri": image_uri},
        image_uri,
        {
            **_common(function, role, environment),
            "Architectures": [architecture],
            "SnapStart": {"ApplyOn": "PublishedVersions" if snapstart else "None"},
        },
    )


def _common(function: Function, role: str, environment: dict[str, str]) -> dict[str, Any]:
    return {
        "Role": role,
        "MemorySize": function.memory_mb,
        "Timeout": function.timeout_s,
        "EphemeralStorage": {"Size": function.ephemeral_storage_mb},
        # Clients derive their patience from it: Lambda does not tell a function its limit.
        "Environment": {"Variables": {**environment, "TIMEOUT_S": str(function.timeout_s)}},
    }


def check_image_uri(run: Run, uri: str) -> None:
    """Raise AwsError unless the image is in private ECR, in the function's region."""
    region = run.aws.region
    match = re.fullmatch(
        r"\d{12}\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/.+", uri
    )
    if match is None and not _is_of_own_registry(run, uri):
        raise AwsError(
            f"Lambda takes images from private ECR only, not {uri}: push it with deploy/image.py, "
            "which prints the --image-uri to pass."
        )
    if match is not None and match[1] != region:
        raise AwsError(
            f"Image {uri} is in region {match[1]}, but the function is in {region}, and Lambda "
            f"takes images from its own region only: run deploy/image.py --region {region}."
        )


def _is_of_own_registry(run: Run, uri: str) -> bool:
    """Return whether the image is in the registry that ECR names (for the local AWS)."""
    ecr = run.aws.client("ecr")
    answer = read_or_none(ecr.get_authorization_token, "AccessDeniedException")
    return answer is not None and any(
        uri.startswith(f"{urlsplit(data['proxyEndpoint']).netloc}/")
        for data in answer["authorizationData"]
    )


def _comparable(key: str, value: Any) -> Any:
    """Convert a setting from the form in which Lambda returns it to that in which it is sent."""
    if key == "Layers":
        return [layer["Arn"] for layer in value or []]
    if key == "Environment":
        return {"Variables": (value or {}).get("Variables", {})}
    if key == "SnapStart":
        return {"ApplyOn": (value or {}).get("ApplyOn", "None")}
    return value


def to_send(settings: dict[str, Any], config: Any) -> dict[str, Any]:
    """Return `settings` without SnapStart, unless that is switched on or off.

    A region or an image that has no SnapStart is then deployed like any other.
    """
    want = settings.get("SnapStart")
    if want is None or want != _comparable("SnapStart", config.get("SnapStart")):
        return settings
    return {key: value for key, value in settings.items() if key != "SnapStart"}


def differences(config: Any, settings: dict[str, Any]) -> list[str]:
    """Return how a function's configuration differs from `settings`, one phrase per setting."""
    found = []
    for key, want in settings.items():
        have = _comparable(key, config.get(key))
        pairs = [(key, have, want)]
        if key == "Environment":
            old, new = have["Variables"], want["Variables"]
            names = [*new, *(name for name in old if name not in new)]
            pairs = [(name, old.get(name), new.get(name)) for name in names]
        found += [f"{name} {old!r} -> {new!r}" for name, old, new in pairs if old != new]
    return found
