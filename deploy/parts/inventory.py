"""Lists every resource of a deployment: status shows them, destroy removes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from deploy.parts.deployed import get_function
from deploy.parts.ffmpeg_layer import delete_layer_version, layer_versions
from deploy.parts.monitoring import (
    MADE_BY,
    NO_DASHBOARD,
    NO_TOPIC,
    dashboard_name,
    foreign_monitoring,
    found_alarms,
    found_dashboard,
    found_topic,
    may_see_alarms,
    subscriptions,
    topic_arn,
    topic_name,
)
from deploy.parts.ownership import foreign, foreign_function, foreign_role, owner_tags
from deploy.parts.queues import find_queue, messages_in
from deploy.parts.upload_queue import mappings
from pipeline.aws import NO_QUEUE, NOT_FOUND, read_or_none
from pipeline.bucket_admin import bucket_region, empty_bucket
from pipeline.cli import Run, counted

# What services say about a resource that was deleted between two calls.
GONE = (
    *(NOT_FOUND, "RepositoryNotFoundException", "NoSuchEntity", "NoSuchBucket"),
    *(*NO_QUEUE, *NO_TOPIC, *NO_DASHBOARD),
)


@dataclass(frozen=True)
class Thing:
    """One resource: its kind and name, a detail to show, and how to delete it."""

    kind: str
    name: str
    detail: str
    delete: Callable[[], Any]
    objects: int = 0

    def __str__(self) -> str:
        """Return the text that users see."""
        return f"{self.kind} '{self.name}'{f' ({self.detail})' if self.detail else ''}"


def inventory(run: Run) -> list[Thing]:
    """Return every resource that exists, in an order in which they can be deleted.

    Resources that only share a name with the deployment are left out (see `not_ours`).
    """
    namespaced = not foreign(run)
    return [
        *(_monitoring(run) if may_see_alarms(run) else []),
        *_event_sources(run),
        *_functions(run),
        *(_layers(run) if namespaced else []),
        *(_repository(run) if namespaced else []),
        *_queues(run),
        *(_log_groups(run) if namespaced else []),
        *_roles(run),
        *_buckets(run),
    ]


def not_ours(run: Run) -> list[str]:
    """Describe what has this deployment's names but belongs to another one or is elsewhere."""
    elsewhere = (
        f"bucket '{bucket}' is in region {region}"
        for bucket in run.deployment.buckets
        if (region := _region_of(run, bucket)) not in (None, run.aws.region)
    )
    monitoring = foreign_monitoring(run) if may_see_alarms(run) else []
    return [*foreign(run), *elsewhere, *monitoring]


def _monitoring(run: Run) -> list[Thing]:
    """The alarms first, so that none goes off while the rest is removed."""
    cloudwatch, sns = run.aws.client("cloudwatch"), run.aws.client("sns")
    things = [
        Thing(
            "alarm", name, alarm["StateValue"], partial(cloudwatch.delete_alarms, AlarmNames=[name])
        )
        for name, alarm in found_alarms(run).items()
        if MADE_BY in alarm.get("AlarmDescription", "")
    ]
    body, tags = found_dashboard(run), found_topic(run)
    if body is not None and MADE_BY in json.dumps(body):
        name = dashboard_name(run.deployment)
        delete = partial(cloudwatch.delete_dashboards, DashboardNames=[name])
        things.append(Thing("dashboard", name, "", delete))
    if tags is not None and owner_tags(run).items() <= tags.items():
        detail = ", ".join(subscriptions(run))
        delete = partial(sns.delete_topic, TopicArn=topic_arn(run))
        things.append(Thing("topic", topic_name(run.deployment), detail, delete))
    return things


def _functions(run: Run) -> list[Thing]:
    client, things = run.aws.client("lambda"), []
    for function in reversed(run.deployment.functions):  # the splitter first: it calls the other
        found = get_function(run, function)
        if found is not None and foreign_function(run, function) is None:
            config = found["Configuration"]
            detail = f"{config.get('State', 'Active')}, changed {config['LastModified']}"
            # Deletes all versions and aliases as well.
            delete = partial(client.delete_function, FunctionName=function.name)
            things.append(Thing("function", function.name, detail, delete))
    return things


def _layers(run: Run) -> list[Thing]:
    return [
        Thing(
            "layer",
            f"{run.deployment.layer}:{version['Version']}",
            ", ".join(version.get("CompatibleArchitectures") or []),
            partial(delete_layer_version, run, version["Version"]),
        )
        for version in reversed(layer_versions(run))
    ]


def _repository(run: Run) -> list[Thing]:
    ecr, name = run.aws.client("ecr"), run.deployment.repository
    found = read_or_none(
        lambda: ecr.describe_repositories(repositoryNames=[name]), "RepositoryNotFoundException"
    )
    if found is None:
        return []
    pages = ecr.get_paginator("list_images").paginate(repositoryName=name)
    images = read_or_none(lambda: sum(len(page["imageIds"]) for page in pages), *GONE)
    if images is None:
        return []
    delete = partial(ecr.delete_repository, repositoryName=name, force=True)
    return [Thing("repository", name, counted(images, "image"), delete)]


def _event_sources(run: Run) -> list[Thing]:
    client = run.aws.client("lambda")
    return [
        Thing(
            "event source",
            mapping["UUID"],
            f"queue '{run.deployment.upload_queue}', {mapping['State']}",
            partial(client.delete_event_source_mapping, UUID=mapping["UUID"]),
        )
        for mapping in mappings(run)
    ]


def _queues(run: Run) -> list[Thing]:
    sqs, things = run.aws.client("sqs"), []
    for name in (run.deployment.upload_queue, run.deployment.failure_queue):
        found = find_queue(run, name)
        if found is not None:
            detail = counted(messages_in(found[1]), "message")
            delete = partial(sqs.delete_queue, QueueUrl=found[0])
            things.append(Thing("queue", name, detail, delete))
    return things


def _log_groups(run: Run) -> list[Thing]:
    logs, things = run.aws.client("logs"), []
    for function in run.deployment.functions:
        name = function.log_group
        for group in logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]:
            if group["logGroupName"] == name:
                detail = f"{group.get('storedBytes', 0):,} bytes"
                delete = partial(logs.delete_log_group, logGroupName=name)
                things.append(Thing("log group", name, detail, delete))
    return things


def _roles(run: Run) -> list[Thing]:
    iam, things = run.aws.client("iam"), []
    for function in run.deployment.functions:
        name = function.role
        found = read_or_none(partial(iam.get_role, RoleName=name), "NoSuchEntity")
        if found is not None and foreign_role(run, function) is None:
            things.append(Thing("role", name, "", partial(_delete_role, run, name)))
    return things


def _delete_role(run: Run, name: str) -> None:
    iam = run.aws.client("iam")
    for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
        iam.delete_role_policy(RoleName=name, PolicyName=policy)
    for attached in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
        iam.detach_role_policy(RoleName=name, PolicyArn=attached["PolicyArn"])
    iam.delete_role(RoleName=name)


def _buckets(run: Run) -> list[Thing]:
    pages, things = run.aws.client("s3").get_paginator("list_object_versions"), []
    for bucket in run.deployment.buckets:
        if _region_of(run, bucket) != run.aws.region:
            continue
        count = read_or_none(partial(_objects_in, pages.paginate(Bucket=bucket)), *GONE)
        if count is None:
            continue
        delete = partial(_delete_bucket, run, bucket)
        things.append(Thing("bucket", bucket, counted(count, "object"), delete, count))
    return things


def _objects_in(pages: Iterable[Any]) -> int:
    return sum(len(page.get("Versions", [])) + len(page.get("DeleteMarkers", [])) for page in pages)


def _delete_bucket(run: Run, bucket: str) -> None:
    s3 = run.aws.client("s3")
    empty_bucket(s3, bucket, with_versions=True)
    s3.delete_bucket(Bucket=bucket)


def _region_of(run: Run, bucket: str) -> str | None:
    """Return the region of this account's bucket of this name; None if the account has none."""
    # 403: another account owns the bucket, so it is not part of this deployment.
    return read_or_none(lambda: bucket_region(run.aws, bucket), "403")
