"""The function's door to S3: a client whose retries end in time, and objects read as a whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import s3_data
from botocore.config import Config
from botocore.exceptions import (
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

DATA = Path(__file__).resolve().parent / "s3-data"
ATTEMPTS = 3
# An invocation has three requests in a row: the gallery, the frame and the output. Each may be
# given up once and answered the second time, which takes three eighths of the function's time.
SHARE_OF_TIMEOUT = 1 / 8
DEFAULT_TIMEOUT_S = 60
# A body that breaks off is requested again; botocore only retries what comes before it.
BODY_ATTEMPTS = 2
BODY_ERRORS = (IncompleteReadError, ReadTimeoutError, ResponseStreamingError)


def make_client(data: Path = DATA) -> S3Client:
    """A client that gives a request up in time for another attempt.

    TIMEOUT_S has the seconds that the function may take; `data` is what s3_data.py wrote.
    """
    timeout_s = float(os.environ.get("TIMEOUT_S") or DEFAULT_TIMEOUT_S)
    patience_s = timeout_s * SHARE_OF_TIMEOUT
    retries: Any = {"total_max_attempts": ATTEMPTS, "mode": "standard"}
    config = Config(connect_timeout=min(3.0, patience_s), read_timeout=patience_s, retries=retries)
    return cast("S3Client", s3_data.session(data).create_client("s3", config=config))


def read_object(s3: S3Client, **request: Any) -> tuple[GetObjectOutputTypeDef, bytes]:
    """The answer to a GetObject request and the whole body.

    Raises ClientError if S3 refuses the request, BotoCoreError if it does not answer.
    """
    attempt = 1
    while True:
        answer = s3.get_object(**request)
        try:
            return answer, answer["Body"].read()
        except BODY_ERRORS:
            if attempt == BODY_ATTEMPTS:
                raise
            attempt += 1
