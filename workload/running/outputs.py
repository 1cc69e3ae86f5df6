"""Reads answers from the output bucket, side by side and in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import botocore.exceptions

from pipeline.aws import Aws, AwsError, error_code, explain
from pipeline.keys import output_key
from pipeline.settings import Deployment
from workload.running.run import WorkloadRun

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

A = TypeVar("A")
B = TypeVar("B")

READERS = 32  # requests at the same time
# Of an answer: with FACES=all, it has one name per face.
LARGEST_ANSWER = 65_536


@dataclass(frozen=True)
class Output:
    """An object of the output bucket: its text, metadata, and LastModified in epoch seconds."""

    key: str
    text: str
    metadata: dict[str, str] = field(default_factory=dict)
    modified: float = 0.0


@dataclass(frozen=True)
class Stored:
    """An object: its bytes, ETag, metadata, and LastModified in epoch seconds."""

    body: bytes
    etag: str
    metadata: dict[str, str]
    modified: float


def read_output(s3: S3Client, bucket: str, key: str) -> Output | None:
    """The output; None if there is none. Raises AwsError if it cannot be read."""
    stored = read_object(s3, bucket, key, LARGEST_ANSWER)
    if stored is None:
        return None
    text = stored.body.decode(errors="replace").strip()
    return Output(key, text, stored.metadata, stored.modified)


def read_object(s3: S3Client, bucket: str, key: str, most: int | None = None) -> Stored | None:
    """An object, or its first `most` bytes; None if there is none.

    Raises AwsError if it cannot be read.
    """
    try:
        answer = s3.get_object(Bucket=bucket, Key=key)
        with answer["Body"] as body:
            content: bytes = body.read(most)
    except botocore.exceptions.ClientError as error:
        if error_code(error) in ("NoSuchKey", "404"):
            return None
        raise AwsError(
            f"Cannot read s3://{bucket}/{key}: {explain(error)} It takes s3:GetObject and "
            f"s3:ListBucket on '{bucket}'."
        ) from error
    modified = answer["LastModified"].timestamp()
    return Stored(content, answer["ETag"].strip('"'), answer["Metadata"], modified)


def side_by_side(
    call: Callable[[A], B], items: Iterable[A], readers: int = READERS
) -> Iterator[tuple[A, B]]:
    """Yield each of `items`, in order, with what `call` returns for it.

    Runs up to `readers` calls at a time. Takes items only a little ahead of what it yields, so that
    there may be any number of them. Raises what `call` raises.
    """
    running: deque[tuple[A, Future[B]]] = deque()
    pool = ThreadPoolExecutor(max_workers=readers)
    try:
        for item in items:
            running.append((item, pool.submit(call, item)))
            if len(running) >= 2 * readers:
                first, future = running.popleft()
                yield first, future.result()
        while running:
            first, future = running.popleft()
            yield first, future.result()
    finally:  # also if the caller stops early
        for _, future in running:
            future.cancel()
        pool.shutdown()


def read_outputs(s3: S3Client, bucket: str, keys: Iterable[str]) -> Iterator[Output | None]:
    """`read_output` of each key, in order, side by side."""
    return (output for _, output in side_by_side(partial(read_output, s3, bucket), keys))


def with_answers(aws: Aws, deployment: Deployment, run: WorkloadRun) -> WorkloadRun:
    """The run with the text of every answer that came. Raises AwsError if one cannot be read."""
    keys = (output_key(video.key) for video in run.videos if video.answered is not None)
    outputs = read_outputs(aws.client("s3"), deployment.output_bucket, keys)
    videos = []
    for video in run.videos:
        output = next(outputs) if video.answered is not None else None
        videos.append(video if output is None else replace(video, answer=output.text))
    return replace(run, videos=tuple(videos))
