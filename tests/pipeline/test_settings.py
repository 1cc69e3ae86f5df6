"""The names of a deployment's resources and the functions' settings."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.settings import (
    NOT_VIDEOS,
    VIDEO_SUFFIXES,
    Deployment,
    SettingsError,
    s3_location,
)


def test_names_are_made_from_the_prefix() -> None:
    deployment = Deployment("1225111111")

    assert deployment.buckets == ("1225111111-input", "1225111111-stage-1", "1225111111-output")
    assert deployment.failure_queue == "1225111111-failures"
    assert [f.name for f in deployment.functions] == ["face-recognition", "video-splitting"]


def test_a_namespace_separates_what_an_account_has_only_once() -> None:
    first, second = Deployment("p1"), Deployment("p1", "dev")

    for name in ("layer", "repository"):
        assert getattr(first, name) != getattr(second, name)
    assert first.splitter.name != second.splitter.name
    assert first.splitter.role != second.splitter.role


BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
FUNCTION = re.compile(r"[a-zA-Z0-9-_]{1,64}")


@given(st.text(string.ascii_lowercase + string.digits + "-_. Aé\n", max_size=60), st.data())
def test_every_accepted_name_is_valid_on_aws(prefix: str, data: st.DataObject) -> None:
    namespace = data.draw(st.text(string.ascii_lowercase + "-_A\n", max_size=45))

    try:
        deployment = Deployment(prefix, namespace)
    except SettingsError:
        return

    assert all(BUCKET.fullmatch(bucket) for bucket in deployment.buckets)
    for function in deployment.functions:
        assert FUNCTION.fullmatch(function.name)
        assert FUNCTION.fullmatch(function.role)


@given(st.from_regex(BUCKET, fullmatch=True), st.text(min_size=1).filter(str.isprintable))
def test_a_gallery_uri_is_split_into_bucket_and_key(bucket: str, key: str) -> None:
    assert s3_location(f"s3://{bucket}/{key}") == (bucket, key)


@given(st.text())
def test_any_other_uri_is_refused_or_split_without_loss(uri: str) -> None:
    try:
        bucket, key = s3_location(uri)
    except SettingsError:
        return
    assert f"s3://{bucket}/{key}" == uri


@pytest.mark.parametrize(
    "uri", ["", "data.pt", "s3://", "s3://b", "s3://b/", "s3:///k", "S3://b/k"]
)
def test_a_uri_of_another_form_is_refused(uri: str) -> None:
    with pytest.raises(SettingsError, match="use s3://BUCKET/KEY"):
        s3_location(uri)


@pytest.mark.parametrize("prefix", ["", "Upper", "under_score", "-edge", "edge-", "a" * 56, "a b"])
def test_a_prefix_that_cannot_start_a_bucket_name_is_refused(prefix: str) -> None:
    with pytest.raises(SettingsError, match=r"cannot start a bucket name: use 1 to 55"):
        Deployment(prefix)


def test_the_longest_prefix_makes_bucket_names_of_63_characters() -> None:
    assert max(map(len, Deployment("a" * 55).buckets)) == 63


def test_suffixes_are_in_lower_case_and_mean_one_thing() -> None:
    suffixes = [*VIDEO_SUFFIXES, *NOT_VIDEOS]
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in suffixes)
    assert len(set(suffixes)) == len(suffixes)
