"""Everything of a deployment that exists: status shows it and destroy removes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from deploy.parts.ownership import foreign, foreign_function, foreign_role
from pipeline.aws import AwsError, bucket_region, read_or_none
from pipeline.cli import Run

MISSING = "ResourceNotFoundException"


@dataclass(frozen=True)
class Thing:
    """One resource: its kind and name, what is worth knowing of it, and how it is deleted."""

    kind: str
    name: str
    detail: str
    delete: Callable[[], Any]
    objects: int = 0

    def __str__(self) -> str:
        """As the user reads it."""
        return f"{self.kind} '{self.name}'{f' ({self.detail})' if self.detail else ''}"


def counted(count: int, thing: str) -> str:
    """How many there are, in words: `1 object`, `2 objects`."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def inventory(run: Run) -> list[Thing]:
    """All that exists, in the order in which it can be deleted: users before what they use.

    What only shares a name with the deployment is not of it (see `not_ours`).
    """
    namespaced = not foreign(run)
    return [
        *_functions(run),
        *(_layers(run) if namespaced else []),
        *(_repository(run) if namespaced else []),
        *_queue(run),
        *(_log_groups(run) if namespaced else []),
        *_roles(run),
        *_buckets(run),
    ]


def not_ours(run: Run) -> list[str]:
    """What has a name of this deployment and is another's, or in another region, in words."""
    elsewhere = (
        f"bucket '{bucket}' is in region {region}"
        for bucket in run.deployment.buckets
        if (region := _region_of(run, bucket)) not in (None, run.aws.region)
    )
    return [*foreign(run), *elsewhere]


def _functions(run: Run) -> list[Thing]:
    client, things = run.aws.client("lambda"), []
    for function in reversed(run.deployment.functions):  # the caller before the called

        def read(name: str = function.name) -> Any:
            return client.get_function_configuration(FunctionName=name)

        def delete(name: str = function.name) -> None:
            client.delete_function(FunctionName=name)  # with all its versions and aliases

        config = read_or_none(read, MISSING)
        if config is not None and foreign_function(run, function) is None:
            detail = f"{config.get('State', 'Active')}, changed {config['LastModified']}"
            things.append(Thing("function", function.name, detail, delete))
    return things


def _layers(run: Run) -> list[Thing]:
    client, name, things = run.aws.client("lambda"), run.deployment.layer, []
    pages = client.get_paginator("list_layer_versions").paginate(LayerName=name)
    versions = read_or_none(lambda: [v for page in pages for v in page["LayerVersions"]], MISSING)
    for version in versions or []:

        def delete(number: int = version["Version"]) -> None:
            client.delete_layer_version(LayerName=name, VersionNumber=number)

        detail = ", ".join(version.get("CompatibleArchitectures") or [])
        things.append(Thing("layer", f"{name}:{version['Version']}", detail, delete))
    return things


def _repository(run: Run) -> list[Thing]:
    ecr, name = run.aws.client("ecr"), run.deployment.repository
    found = read_or_none(
        lambda: ecr.describe_repositories(repositoryNames=[name]), "RepositoryNotFoundException"
    )
    if found is None:
        return []
    pages = ecr.get_paginator("list_images").paginate(repositoryName=name)
    images = sum(len(page["imageIds"]) for page in pages)

    def delete() -> None:
        ecr.delete_repository(repositoryName=name, force=True)

    return [Thing("repository", name, counted(images, "image"), delete)]


def _queue(run: Run) -> list[Thing]:
    sqs, name = run.aws.client("sqs"), run.deployment.failure_queue
    try:
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    except sqs.exceptions.QueueDoesNotExist:
        return []
    wanted = "ApproximateNumberOfMessages"
    count = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[wanted])["Attributes"][wanted]
    return [
        Thing("queue", name, counted(int(count), "message"), lambda: sqs.delete_queue(QueueUrl=url))
    ]


def _log_groups(run: Run) -> list[Thing]:
    logs, things = run.aws.client("logs"), []
    for function in run.deployment.functions:
        groups = logs.describe_log_groups(logGroupNamePrefix=function.log_group)["logGroups"]
        for group in groups:
            if group["logGroupName"] != function.log_group:
                continue

            def delete(name: str = function.log_group) -> None:
                logs.delete_log_group(logGroupName=name)

            detail = f"{group.get('storedBytes', 0):,} bytes"
            things.append(Thing("log group", function.log_group, detail, delete))
    return things


def _roles(run: Run) -> list[Thing]:
    iam, things = run.aws.client("iam"), []
    for function in run.deployment.functions:

        def read(name: str = function.role) -> Any:
            return iam.get_role(RoleName=name)

        def delete(name: str = function.role) -> None:
            for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
                iam.delete_role_policy(RoleName=name, PolicyName=policy)
            for policy in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
                iam.detach_role_policy(RoleName=name, PolicyArn=policy["PolicyArn"])
            iam.delete_role(RoleName=name)

        if read_or_none(read, "NoSuchEntity") is not None and foreign_role(run, function) is None:
            things.append(Thing("role", function.role, "", delete))
    return things


def _buckets(run: Run) -> list[Thing]:
    s3, things = run.aws.client("s3"), []
    for bucket in run.deployment.buckets:
        if _region_of(run, bucket) != run.aws.region:
            continue
        count = sum(
            len(page.get("Versions", [])) + len(page.get("DeleteMarkers", []))
            for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket)
        )

        def delete(name: str = bucket) -> None:
            empty_bucket(s3, name)
            s3.delete_bucket(Bucket=name)

        detail = counted(count, "object")
        things.append(Thing("bucket", bucket, detail, delete, count))
    return things


def _region_of(run: Run, bucket: str) -> str | None:
    """The region of the account's bucket of this name; None where the account has none."""
    # 403: the name is another account's, so the bucket is not of this deployment
    return read_or_none(lambda: bucket_region(run.aws, bucket), "403")


def empty_bucket(s3: Any, bucket: str) -> None:
    """Delete every object, version and delete marker, and end unfinished uploads."""
    while True:  # always the first page: what a page's marker names is gone by the next
        page = s3.list_object_versions(Bucket=bucket, MaxKeys=1000)
        entries = page.get("Versions", []) + page.get("DeleteMarkers", [])
        if not entries:
            break
        keys = [{"Key": e["Key"], "VersionId": e["VersionId"]} for e in entries]
        answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
        if answer.get("Errors"):
            first = answer["Errors"][0]
            raise AwsError(
                f"Cannot delete s3://{bucket}/{first['Key']}: {first['Code']}: {first['Message']}"
            )
    for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
        for upload in page.get("Uploads", []):
            s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
