"""S3 objects: a video, its frames in stage-1 and its agreed name."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import quote

import frames
import recognizer
from botocore.exceptions import ClientError
from video_errors import EmptyVideo, VideoChanged, VideoForbidden, VideoGone

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ARCHIVED = {"GLACIER", "DEEP_ARCHIVE"}
MISSING = {"404", "NoSuchKey", "NotFound"}
# S3 allows 2,048 bytes for all user metadata of an object, and a percent-encoded key can take
# 3,072. A test compares this with face-recognition/output_keys.py.
MAX_KEY_BYTES = 768


@dataclass(frozen=True)
class Source:
    """A video, as it is in its bucket now."""

    bucket: str
    key: str
    etag: str = ""
    version: str | None = None

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata that identifies the video in every object made from it."""
        return {
            "source-bucket": self.bucket,
            "source-key": key_as_metadata(self.key),
            "source-etag": self.etag,
        }


def key_as_metadata(key: str) -> str:
    """The key in ASCII: percent-encoded, or `sha256:` and its hash if that is too long."""
    encoded = quote(key)
    if len(encoded) <= MAX_KEY_BYTES:
        return encoded
    return f"sha256:{sha256(key.encode()).hexdigest()}"


def inspect(s3: S3Client, named: Source) -> Source:
    """Add the ETag and version that the object has now, so that all frames come from that one."""
    try:
        head = s3.head_object(Bucket=named.bucket, Key=named.key)
    except ClientError as error:
        if error.response["Error"]["Code"] in MISSING:
            raise VideoGone(
                "it was deleted before it was read. Upload it again if it is needed."
            ) from error
        if error.response["Error"]["Code"] in {"403", "AccessDenied"}:
            raise VideoForbidden(
                "access denied. Give the function's role s3:GetObject on it and s3:ListBucket on "
                "its bucket, and kms:Decrypt if it is encrypted with a customer managed key."
            ) from error
        raise
    if head["ContentLength"] == 0:
        raise EmptyVideo("it has no bytes. Upload the complete file again.")
    if head.get("StorageClass") in ARCHIVED and 'ongoing-request="false"' not in head.get(
        "Restore", ""
    ):
        raise VideoForbidden(
            f"it is archived ({head['StorageClass']}). Restore it, then send the event again."
        )
    version = head.get("VersionId")
    return Source(
        named.bucket,
        named.key,
        head["ETag"].strip('"'),
        version if version != "null" else None,
    )


def check_not_overwritten(s3: S3Client, source: Source) -> None:
    """Raise VideoChanged if another video has replaced `source` since `inspect` saw it.

    What was written for the old video may then have replaced what the new video's event wrote. The
    retry starts after that and rewrites whatever does not belong to the new video. A deleted
    video is fine: no newer one needs a name.
    """
    try:
        head = s3.head_object(Bucket=source.bucket, Key=source.key)
    except ClientError as error:
        if error.response["Error"]["Code"] in MISSING:
            return
        raise
    if head["ETag"].strip('"') != source.etag:
        raise VideoChanged(
            "it was overwritten while its faces were named. A retry names those of the new version."
        )


def check_frames_match(source: Source, results: list[recognizer.Result]) -> None:
    """Raise VideoChanged if the recognizer read a frame that another event had put in its place.

    An event of an old video can replace the new video's frame. The recognizer, called for the new
    video, then writes the old video's name, perhaps after the old event's retry has repaired
    everything.
    """
    for result in results:
        # Older deployments of the recognizer do not report the ETag.
        if result.get("source_etag", source.etag) != source.etag:
            raise VideoChanged(
                f"its frame {result['image_file_name']} was overwritten by the event of another "
                "video with this key. A retry names the faces of the current video."
            )


def reusable_frames(s3: S3Client, bucket: str, source: Source, wanted: int) -> list[str]:
    """Keys of the frames that an earlier event made of this very video; [] if any is missing."""
    metadata = partial(_frame_metadata, s3, bucket, source, wanted)
    count = int(metadata(0).get("frame-count", "0"))
    with ThreadPoolExecutor(max_workers=4) as pool:
        complete = all(pool.map(metadata, range(1, count)))
    if not complete:
        return []
    return [frames.frame_key(source.key, index, wanted) for index in range(count)]


def _frame_metadata(
    s3: S3Client, bucket: str, source: Source, wanted: int, index: int
) -> dict[str, str]:
    """Metadata of a frame; empty if there is none of this video and frame policy."""
    found = _metadata(s3, bucket, frames.frame_key(source.key, index, wanted))
    expected = {**source.metadata, "frame-policy": frames.policy(wanted)}
    return found if expected.items() <= found.items() else {}


def presigned(s3: S3Client, source: Source, seconds: int) -> str:
    """A URL that can read exactly this version of the video for `seconds`."""
    version = {"VersionId": source.version} if source.version else {}
    return s3.generate_presigned_url(
        "get_object",
        Params={"Bucket": source.bucket, "Key": source.key, **version},
        ExpiresIn=seconds,
    )


def put_frame(
    s3: S3Client, bucket: str, source: Source, wanted: int, count: int, frame: frames.Frame
) -> str:
    """Upload one of `count` frames, of `wanted` asked for, with its origin; return its key."""
    key = frames.frame_key(source.key, frame.index, wanted)
    s3.put_object(
        Bucket=bucket,
        Key=key,
        Body=frame.path.read_bytes(),
        ContentType="image/jpeg",
        Metadata={
            **source.metadata,
            "frame-index": str(frame.index),
            "frame-count": str(count),
            "frame-time": f"{frame.time:g}",
            "frame-policy": frames.policy(wanted),
        },
    )
    return key


def put_agreed_name(
    s3: S3Client, bucket: str, source: Source, results: list[recognizer.Result]
) -> str:
    """Write the name that most frames agree on, next to the frames' own names; return its key.

    The object holds only the name. One that already says the same of the same video is kept.
    """
    name, votes = recognizer.agreed_name(results)
    key = f"{frames.stem(source.key)}.txt"
    metadata = {
        **source.metadata,
        "name": quote(name),
        "votes": str(votes),
        "frames": str(len(results)),
        "model": str(results[0]["model"]),
    }
    if _metadata(s3, bucket, key) != metadata:
        s3.put_object(
            Bucket=bucket,
            Key=key,
            Body=name.encode(),
            ContentType="text/plain; charset=utf-8",
            Metadata=metadata,
        )
    return key


def remove_surplus(s3: S3Client, bucket: str, source: Source, count: int) -> int:
    """Delete frames, or their names, from index `count` on; return how many there were.

    A longer video under the same key, or a deployment that took more frames, left them. Objects
    made from videos with other keys stay, whatever their names.
    """
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=f"{frames.stem(source.key)}/output-"
    )
    made = [item["Key"] for page in pages for item in page.get("Contents", [])]
    own = {name: source.metadata[name] for name in ("source-bucket", "source-key")}
    surplus = [
        key
        for key in made
        if frames.is_surplus(key, source.key, count)
        and own.items() <= _metadata(s3, bucket, key).items()
    ]
    for key in surplus:
        s3.delete_object(Bucket=bucket, Key=key)
    return len(surplus)


def _metadata(s3: S3Client, bucket: str, key: str) -> dict[str, str]:
    """An object's user metadata; empty if there is no object."""
    try:
        return dict(s3.head_object(Bucket=bucket, Key=key)["Metadata"])
    except ClientError as error:
        if error.response["Error"]["Code"] in MISSING:
            return {}
        raise
