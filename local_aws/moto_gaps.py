"""The list of all repairs of moto. Each fixes one difference from AWS that the project meets.

tests/local_aws/test_moto_gaps.py checks that plain moto still needs each of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from pathlib import Path

from moto.core import serialize
from moto.moto_server.werkzeug_app import DomainDispatcherApplication

from local_aws import (
    disk_bodies,
    moto_cloudwatch,
    moto_ecr,
    moto_events,
    moto_function_settings,
    moto_iam,
    moto_lambda,
    moto_logs,
    moto_mappings,
    moto_s3,
    moto_s3_requests,
    moto_sqs,
)
from local_aws.code_links import CodeLinks
from local_aws.code_store import ImageFacts
from local_aws.moto_events import PendingEvents
from local_aws.moto_mappings import Mapping


def repairs(
    *,
    endpoint: str,
    region: str,
    account_concurrency: int,
    registry_password: str,
    objects: Path,
    links: CodeLinks,
    pending: PendingEvents,
    on_mapping: Callable[[Mapping], None],
    describe_image: Callable[[str], ImageFacts],
) -> list[Callable[[], None]]:
    """The repairs, in order, for a server at `endpoint` that stores S3 objects in `objects`."""
    return [
        partial(moto_lambda.count_reserved_concurrency, account_concurrency),
        partial(moto_mappings.leave_queues_to_pollers, on_mapping),
        moto_mappings.check_mappings,  # wraps the one above: refuse, then create
        moto_lambda.refuse_duplicate_permissions,
        moto_lambda.replace_event_invoke_configs,
        moto_lambda.keep_snap_start,
        moto_lambda.clear_environment,
        moto_lambda.update_ephemeral_storage,
        moto_lambda.update_image_config,
        moto_lambda.show_only_given_image_config,
        moto_lambda.write_times_as_lambda_does,
        partial(moto_lambda.resolve_images, describe_image),
        partial(moto_lambda.refuse_unusable_images, describe_image),
        moto_lambda.refuse_impossible_memory,  # wraps the updates above: refuse, then change
        moto_lambda.refuse_untrusting_roles,
        moto_function_settings.find_by_any_arn,
        moto_function_settings.name_the_alias,
        moto_function_settings.note_changes,
        moto_function_settings.refuse_impossible_settings,
        moto_lambda.keep_published_code,
        moto_lambda.keep_aliased_versions,
        moto_lambda.number_versions_once,
        partial(moto_lambda.link_layer_code, links),
        partial(moto_lambda.link_function_code, links),
        partial(moto_events.collect_events, pending),
        moto_s3.refuse_undeliverable_notifications,
        moto_s3.announce_uploads_once,
        moto_s3.limit_metadata,
        moto_s3.limit_keys,  # wraps the one above: a long key is refused first
        moto_s3.route_any_key,
        moto_s3.escape_carriage_returns,
        moto_s3.refuse_unknown_subresources,
        moto_s3.read_tls_only_policies,
        moto_s3_requests.list_in_pages,
        moto_s3_requests.encode_listed_versions,
        moto_s3_requests.refuse_unknown_tokens,
        moto_s3_requests.ignore_unreadable_ranges,
        moto_s3_requests.compare_digests,
        moto_s3_requests.refuse_single_parts,
        moto_s3_requests.refuse_broken_policies,
        moto_s3_requests.limit_bucket_names,
        moto_s3_requests.limit_deletions,
        moto_s3_requests.refuse_unknown_acls,
        moto_s3_requests.refuse_idle_lifecycle_rules,
        partial(disk_bodies.keep_bodies_on_disk, objects),
        disk_bodies.forget_objects,
        partial(moto_ecr.name_this_registry, endpoint, region),
        partial(moto_ecr.issue_registry_password, endpoint, region, registry_password),
        moto_ecr.refuse_broken_manifests,
        moto_ecr.measure_layers,
        moto_sqs.refuse_impossible_attributes,
        moto_sqs.refuse_impossible_messages,
        moto_sqs.take_messages_in_turn,
        moto_sqs.read_retention_alone,
        moto_iam.load_managed_policies,
        moto_iam.refuse_example_credentials,
        moto_iam.refuse_broken_trust,
        moto_iam.refuse_missing_roles,
        moto_iam.name_administrator,
        moto_cloudwatch.compute_metric_data,
        moto_cloudwatch.compute_metric_statistics,
        moto_logs.read_filter_patterns,
        moto_logs.filter_log_events_in_order,
        moto_logs.refuse_queries_and_subscriptions,
        route_once,
        parse_times_once,
    ]


def route_once() -> None:
    """moto lists its folders and tries 180 patterns, inside a lock, for every request."""
    DomainDispatcherApplication.get_backend_for_host = functools.cache(
        DomainDispatcherApplication.get_backend_for_host
    )


def parse_times_once() -> None:
    """moto parses the time of every object in a listing, which takes a third of its time."""
    serialize.parse_to_aware_datetime = functools.lru_cache(maxsize=10_000)(
        serialize.parse_to_aware_datetime
    )
