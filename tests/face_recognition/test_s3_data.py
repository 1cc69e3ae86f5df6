"""Tests: an S3 client that reads only the part of botocore's data that s3_data.py keeps."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import botocore.loaders
import botocore.session
import pytest
import s3_data
from botocore import xform_name
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError

REGIONS = ("us-east-1", "eu-central-1", "af-south-1", "us-gov-west-1", "cn-north-1")
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


def client(session: Any, region: str, endpoint: str | None = None) -> Any:
    session.set_credentials("AKIATEST", "test")
    return session.create_client("s3", region_name=region, endpoint_url=endpoint)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "s3-data"
    s3_data.write(path)
    return path


class SentError(Exception):
    """A request was ready to be sent."""


def request_of(session: Any, region: str, operation: str) -> tuple[str, str]:
    """The URL of a request and its signature."""

    def stop(request: Any, **_: object) -> None:
        raise SentError(request.url, request.headers["Authorization"])

    made = client(session, region)
    made.meta.events.register("before-send.s3", stop)
    with pytest.raises(SentError) as sent:
        getattr(made, operation)(Bucket="bucket", Key="a key")
    url, signature = sent.value.args
    return url, signature


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("operation", ["get_object", "put_object", "head_object"])
def test_requests_are_those_of_the_whole_botocore(
    folder: Path, region: str, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a clock that stands still
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: NOON)
    # WHEN the same request is made with all of botocore's data and with the part
    whole = request_of(botocore.session.get_session(), region, operation)
    part = request_of(s3_data.session(folder), region, operation)
    # THEN both are sent to the same address, signed alike
    assert part == whole


@pytest.mark.parametrize("variable", ["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"])
def test_other_endpoints_of_aws_can_be_asked_for(
    folder: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "true")

    url, _ = request_of(s3_data.session(folder), "us-east-1", "get_object")

    whole, _ = request_of(botocore.session.get_session(), "us-east-1", "get_object")
    assert url == whole
    assert variable.split("_")[2].lower() in url


def test_objects_are_written_read_and_missed(folder: Path, endpoint: str, s3: Any) -> None:
    # GIVEN a client with the part of the data
    ours = client(s3_data.session(folder), "us-east-1", endpoint)
    s3.create_bucket(Bucket="part")
    # WHEN it writes and reads an object
    ours.put_object(Bucket="part", Key="k", Body=b"text", Metadata={"name": "value"})
    found = ours.get_object(Bucket="part", Key="k")
    # THEN it is all there, with its metadata
    assert (found["Body"].read(), found["Metadata"]) == (b"text", {"name": "value"})
    assert ours.head_object(Bucket="part", Key="k")["ContentLength"] == 4
    # AND errors have their names
    with pytest.raises(ClientError) as missing:
        ours.get_object(Bucket="part", Key="none")
    assert missing.value.response["Error"]["Code"] == "NoSuchKey"


def test_a_bucket_of_another_region_is_found(folder: Path) -> None:
    # GIVEN an S3 that says in the answer to HeadBucket alone where the bucket is
    made = client(s3_data.session(folder), "us-east-1")
    sent: list[tuple[str, str]] = []

    def answered(request: Any, **_: object) -> AWSResponse:
        place = urlsplit(request.url)
        sent.append((request.method, place.netloc))
        headers: Any = {"x-amz-bucket-region": "eu-west-1"} if request.method == "HEAD" else {}
        status = 200 if "eu-west-1" in place.netloc else 301
        return AWSResponse(request.url, status, headers, Body())

    made.meta.events.register("before-send.s3", answered)
    # WHEN an object is read, THEN it is read there
    made.get_object(Bucket="bucket", Key="k")
    assert sent[0] == ("GET", "bucket.s3.amazonaws.com")
    assert sent[-1] == ("GET", "bucket.s3.eu-west-1.amazonaws.com")


class Body(io.BytesIO):
    """The empty body of an answer."""

    def stream(self) -> Iterator[bytes]:
        yield b""


def test_no_service_is_looked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # GIVEN a botocore whose own data are gone, as in the image
    monkeypatch.setattr(botocore.loaders.Loader, "BUILTIN_DATA_PATH", "/nowhere")
    monkeypatch.setattr(botocore.loaders.Loader, "CUSTOMER_DATA_PATH", "/nowhere")
    session = s3_data.session(folder)
    made = client(session, "us-east-1")
    # THEN a client can still be made, and nothing is looked for elsewhere
    assert session.get_component("data_loader").search_paths == [str(folder)]
    assert sorted(made.meta.service_model.operation_names) == sorted(s3_data.OPERATIONS)


def test_every_operation_that_the_recognizer_calls_is_there() -> None:
    folder = Path(s3_data.__file__).parent
    sources = [path.read_text() for path in folder.glob("*.py")]

    called = {name for text in sources for name in re.findall(r"\b_?s3\.([a-z]+_[a-z_]+)\(", text)}

    assert {"get_object", "put_object"} <= called
    assert called <= {xform_name(name) for name in s3_data.OPERATIONS}


def test_without_the_folder_all_data_are_used(tmp_path: Path) -> None:
    made = client(s3_data.session(tmp_path / "none"), "us-east-1")
    assert len(made.meta.service_model.operation_names) > 50
