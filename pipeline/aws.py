"""The scripts' only access to boto3: clients, retries, and readable error messages."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, overload

import boto3
import boto3.exceptions
import botocore.exceptions
from botocore.config import Config

from pipeline.setting_table import UserError

if TYPE_CHECKING:  # the stubs are installed for development only
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sts import STSClient

T = TypeVar("T")

MAX_CONNECTIONS = 64  # concurrent calls that one client can make

NOT_FOUND = "ResourceNotFoundException"  # Lambda's and CloudWatch Logs' code for a missing resource
NO_QUEUE = ("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue")


class AwsError(UserError, RuntimeError):
    """A step on AWS cannot be done; the message says what failed, on what, and what to do next."""


class Tag(TypedDict):
    """A tag as IAM, ECR and S3 represent it."""

    Key: str
    Value: str


class Aws:
    """Clients for one profile, region and endpoint (`endpoint_url`, else AWS_ENDPOINT_URL)."""

    def __init__(
        self,
        region: str | None = None,
        profile: str | None = None,
        endpoint_url: str | None = None,
        keys: tuple[str, str] | None = None,
    ) -> None:
        """Raise AwsError when the profile does not exist or no region is configured.

        `keys` is an access key ID and its secret key, for callers without a profile.
        """
        access_key, secret_key = keys or (None, None)
        try:
            self._session = boto3.Session(
                profile_name=profile,
                region_name=region,
                aws_access_key_id=access_key,
                aws_secret_access_key=secret_key,
            )
        except botocore.exceptions.ProfileNotFound as error:
            raise AwsError(
                f"{error}. `aws configure list-profiles` lists the available profiles."
            ) from error
        if not self._session.region_name:
            raise AwsError("No AWS region is set: pass --region, or set AWS_DEFAULT_REGION.")
        self.region: str = self._session.region_name
        given = {"--region": region, "--profile": profile, "--endpoint-url": endpoint_url}
        # The options that point another script, or the AWS CLI, at the same account and region.
        self.options = tuple(
            word for name, value in given.items() if value for word in (name, value)
        )
        self._endpoint_url = endpoint_url
        self._clients: dict[str, Any] = {}
        self._account_id: str | None = None

    @overload
    def client(self, service: Literal["cloudwatch"]) -> CloudWatchClient: ...
    @overload
    def client(self, service: Literal["ecr"]) -> ECRClient: ...
    @overload
    def client(self, service: Literal["iam"]) -> IAMClient: ...
    @overload
    def client(self, service: Literal["lambda"]) -> LambdaClient: ...
    @overload
    def client(self, service: Literal["logs"]) -> CloudWatchLogsClient: ...
    @overload
    def client(self, service: Literal["s3"]) -> S3Client: ...
    @overload
    def client(self, service: Literal["sns"]) -> Any: ...
    @overload
    def client(self, service: Literal["sqs"]) -> SQSClient: ...
    @overload
    def client(self, service: Literal["sts"]) -> STSClient: ...
    def client(self, service: str) -> Any:
        """Return the boto3 client for `service`, created on first use."""
        if service not in self._clients:
            config = Config(
                retries={"mode": "standard", "total_max_attempts": 5},
                max_pool_connections=MAX_CONNECTIONS,
            )
            try:
                self._clients[service] = self._session.client(  # type: ignore[call-overload]
                    service, endpoint_url=self._endpoint_url, config=config
                )
            except (OSError, ValueError) as error:
                if isinstance(error, botocore.exceptions.BotoCoreError):
                    raise
                # A malformed URL, or a credential_process that is missing or prints no JSON.
                raise AwsError(
                    f"Cannot reach {service} with these settings: {error}. Check --endpoint-url, "
                    "AWS_ENDPOINT_URL, and the profile and its credential_process in ~/.aws/config."
                ) from error
            self._clients[service].meta.events.register("needs-retry", retry_conflicts)
        return self._clients[service]

    @property
    def account_id(self) -> str:
        """The 12-digit account of the credentials in use; raises ClientError if they are bad."""
        if self._account_id is None:
            self._account_id = self.client("sts").get_caller_identity()["Account"]
        return self._account_id

    @property
    def partition(self) -> str:
        """`aws`, `aws-cn` or `aws-us-gov`: the second part of every ARN in this region."""
        return self._session.get_partition_for_region(self.region)


# What a service says while another change of the same resource, such as its deletion, goes on.
CONFLICTS = ("OperationAborted", "OperationAbortedException", "ConcurrentModification")
CONFLICT_WAIT_S = 2.0
CONFLICT_ATTEMPTS = 30


def retry_conflicts(response: Any, attempts: int, **_: object) -> float | None:
    """Tell botocore to send a request again, and after how many seconds; None: not to.

    For up to a minute, calls that meet another change of the same resource are repeated.
    """
    code = None if response is None else response[1].get("Error", {}).get("Code")
    if code in CONFLICTS and attempts < CONFLICT_ATTEMPTS:
        return CONFLICT_WAIT_S
    return None


def error_code(error: botocore.exceptions.ClientError) -> str:
    """Return AWS's error code, such as `NoSuchBucket` or `404`."""
    return str(error.response.get("Error", {}).get("Code", ""))


def error_message(error: botocore.exceptions.ClientError) -> str:
    """Return AWS's own error message."""
    return str(error.response.get("Error", {}).get("Message", ""))


ADVICE = {
    "403": "(these credentials lack the permission, or the resource is in another account)",
    "AccessDenied": "These credentials lack the permission named above: ask for it.",
    "AccessDeniedException": "These credentials lack the permission: ask for it.",
    "ExpiredToken": "The session has expired: sign in again (`aws sso login`, or new keys).",
    "ExpiredTokenException": "The session has expired: sign in again (`aws sso login`, or new "
    "keys).",
    "RequestExpired": "This machine's clock may be wrong, or the session has expired.",
    "InvalidClientTokenId": "The access key is unknown: check AWS_ACCESS_KEY_ID or the profile.",
    "InvalidAccessKeyId": "The access key is unknown: check AWS_ACCESS_KEY_ID or the profile.",
    "SignatureDoesNotMatch": "The secret key does not match the access key: check both.",
    "UnrecognizedClientException": "The access key is unknown: check the profile and the region.",
}


# boto3's own errors, such as that of a failed upload, are not botocore's.
AWS_ERRORS = (
    botocore.exceptions.BotoCoreError,
    botocore.exceptions.ClientError,
    boto3.exceptions.Boto3Error,
)
SSO_ERRORS = (
    botocore.exceptions.SSOError,
    botocore.exceptions.TokenRetrievalError,
    botocore.exceptions.UnauthorizedSSOTokenError,
)


def explain(error: Exception) -> str:
    """Return one line for the user: what AWS or boto3 said to which call, and what to do."""
    return " ".join(_explained(error).split())


def _explained(error: Exception) -> str:
    if isinstance(error, SSO_ERRORS):
        return f"{error}. Sign in: aws sso login, with the --profile that you use here."
    if isinstance(error, botocore.exceptions.CredentialRetrievalError):
        return f"{error}. Check the profile and its credential_process in ~/.aws/config."
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
    """Repeat `call` every 2 s, for up to `seconds`, while its error satisfies `is_settling`.

    Raises any other error at once, and the last error when the time is up.
    """
    deadline = clock() + seconds
    while True:
        try:
            return call()
        except botocore.exceptions.ClientError as error:
            if not is_settling(error) or clock() >= deadline:
                raise
        sleep(2)


def tag_list(tags: Mapping[str, str]) -> list[Tag]:
    """Return tags in the form that IAM, ECR and S3 use."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def covers(current: object, wanted: object) -> bool:
    """Return whether `current` has everything that `wanted` has; it may have more.

    Lists must match item by item: AWS adds keys to what was sent, but never list items.
    """
    if isinstance(wanted, Mapping):
        return isinstance(current, Mapping) and all(
            key in current and covers(current[key], value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(current, list)
            and len(current) == len(wanted)
            and all(covers(have, want) for have, want in zip(current, wanted))
        )
    return current == wanted


def read_or_none(call: Callable[[], T], *codes: str) -> T | None:
    """Return `call()`, or None if it raises a ClientError with one of `codes`."""
    try:
        return call()
    except botocore.exceptions.ClientError as error:
        if error_code(error) in codes:
            return None
        raise
