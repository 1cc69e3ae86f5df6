"""The scripts' one door to boto3: clients, waiting for what must settle, errors in plain words."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import boto3
import botocore.exceptions
from botocore.config import Config

T = TypeVar("T")

MAX_CONNECTIONS = 64  # of one client: as many calls can run side by side


class AwsError(RuntimeError):
    """AWS refused or cannot be reached; the message says what failed, on what, and what to do."""


class Aws:
    """Clients of one profile, region and (through AWS_ENDPOINT_URL or `endpoint_url`) endpoint."""

    def __init__(
        self,
        region: str | None = None,
        profile: str | None = None,
        endpoint_url: str | None = None,
        keys: tuple[str, str] | None = None,
    ) -> None:
        """Raise AwsError when the profile does not exist or no region is set anywhere.

        `keys` are an access key and its secret key, for who has no profile.
        """
        access_key, secret_key = keys or (None, None)
        try:
            self._session: Any = boto3.Session(
                profile_name=profile,
                region_name=region,
                aws_access_key_id=access_key,
                aws_secret_access_key=secret_key,
            )
        except botocore.exceptions.ProfileNotFound as error:
            raise AwsError(
                f"{error}. `aws configure list-profiles` shows those there are."
            ) from error
        if not self._session.region_name:
            raise AwsError("No AWS region is set: pass --region, or set AWS_DEFAULT_REGION.")
        self.region: str = self._session.region_name
        asked = {"--region": region, "--profile": profile, "--endpoint-url": endpoint_url}
        # What leads another script, or the AWS CLI, to the same place.
        self.options = tuple(
            word for name, value in asked.items() if value for word in (name, value)
        )
        self._endpoint_url = endpoint_url
        self._clients: dict[str, Any] = {}
        self._account_id: str | None = None

    def client(self, service: str) -> Any:
        """The boto3 client of `service`, made once."""
        if service not in self._clients:
            self._clients[service] = self._session.client(
                service,
                endpoint_url=self._endpoint_url,
                config=Config(
                    retries={"mode": "standard", "total_max_attempts": 5},
                    max_pool_connections=MAX_CONNECTIONS,
                ),
            )
        return self._clients[service]

    @property
    def account_id(self) -> str:
        """The 12-digit account of the credentials in use; raises AwsError when there are none."""
        if self._account_id is None:
            self._account_id = str(self.client("sts").get_caller_identity()["Account"])
        return self._account_id

    @property
    def partition(self) -> str:
        """`aws`, `aws-cn` or `aws-us-gov`: the second part of every ARN in this region."""
        return str(self._session.get_partition_for_region(self.region))


def error_code(error: botocore.exceptions.ClientError) -> str:
    """AWS's code for what went wrong, such as `NoSuchBucket` or `404`."""
    return str(error.response.get("Error", {}).get("Code", ""))


def error_message(error: botocore.exceptions.ClientError) -> str:
    """AWS's own sentence about what went wrong."""
    return str(error.response.get("Error", {}).get("Message", ""))


ADVICE = {
    "403": "(the credentials in use may not do this, or it is another account's)",
    "AccessDenied": "The credentials in use may not do this; ask for the permission named above.",
    "AccessDeniedException": "The credentials in use may not do this; ask for the permission.",
    "ExpiredToken": "The session has ended: sign in again (`aws sso login`, or new keys).",
    "ExpiredTokenException": "The session has ended: sign in again (`aws sso login`, or new keys).",
    "RequestExpired": "This machine's clock may be wrong, or the session has ended.",
    "InvalidClientTokenId": "The access key is unknown: check AWS_ACCESS_KEY_ID or the profile.",
    "InvalidAccessKeyId": "The access key is unknown: check AWS_ACCESS_KEY_ID or the profile.",
    "SignatureDoesNotMatch": "The secret key does not belong to the access key: check both.",
    "UnrecognizedClientException": "The access key is unknown: check the profile and the region.",
}


def explain(error: Exception) -> str:
    """One or two sentences for the user: what AWS said to which call, and what to do next."""
    if isinstance(error, botocore.exceptions.ClientError):
        advice = ADVICE.get(error_code(error), "")
        text = f"{error.operation_name} failed: {error_code(error)}: {error_message(error)}"
        return f"{text} {advice}".strip()
    if isinstance(
        error,
        (
            botocore.exceptions.NoCredentialsError,
            botocore.exceptions.PartialCredentialsError,
        ),
    ):
        return f"{error}. Run this in AWS CloudShell, pass --profile, or run `aws configure`."
    if isinstance(error, botocore.exceptions.EndpointConnectionError):
        return f"{error}. Check the network, --region and AWS_ENDPOINT_URL."
    return str(error)


def retry_while(
    call: Callable[[], T],
    is_settling: Callable[[botocore.exceptions.ClientError], bool],
    seconds: float = 60,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """`call()`, again every 2 s while it raises an error that `is_settling`, for up to `seconds`.

    The last error is raised when the time is over; any other error at once.
    """
    deadline = clock() + seconds
    while True:
        try:
            return call()
        except botocore.exceptions.ClientError as error:
            if not is_settling(error) or clock() >= deadline:
                raise
        sleep(2)


def tag_list(tags: dict[str, str]) -> list[dict[str, str]]:
    """Tags in the form in which IAM, ECR and S3 take and give them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def covers(current: Any, wanted: Any) -> bool:
    """Whether `current`, as AWS gives it, says all that `wanted` says; it may say more.

    Lists must match item by item: AWS adds keys of its own to what was sent, but no items.
    """
    if isinstance(wanted, dict):
        return isinstance(current, dict) and all(
            key in current and covers(current[key], value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(current, list)
            and len(current) == len(wanted)
            and all(covers(have, want) for have, want in zip(current, wanted))
        )
    return bool(current == wanted)


def bucket_region(aws: Aws, bucket: str) -> str | None:
    """The region of this account's bucket of that name; None where there is no bucket.

    Raises ClientError 403 when the bucket is another account's, or not to be seen.
    """
    answer: Any = read_or_none(
        lambda: aws.client("s3").head_bucket(Bucket=bucket, ExpectedBucketOwner=aws.account_id),
        "404",
        "NoSuchBucket",
    )
    if answer is None:
        return None
    # An older boto3 leaves the region among the headers.
    headers = answer["ResponseMetadata"].get("HTTPHeaders", {})
    return str(answer.get("BucketRegion") or headers.get("x-amz-bucket-region") or aws.region)


def read_or_none(call: Callable[[], T], *codes: str) -> T | None:
    """`call()`, or None when it raises a ClientError with one of `codes`: nothing is set yet."""
    try:
        return call()
    except botocore.exceptions.ClientError as error:
        if error_code(error) in codes:
            return None
        raise
