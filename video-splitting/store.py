"""A video in its bucket, its frames in stage-1 and its agreed name, as S3 keeps them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import ffmpeg
import frames
import recognizer
from botocore.exceptions import ClientError

ARCHIVED = {"GLACIER", "DEEP_ARCHIVE"}
MISSING = {"404", "NoSuchKey", "NotFound"}
# S3 allows 2,048 bytes for all user metadata of an object, and a key takes up to 3,072 when it is
# percent-encoded. face-recognition/handler.py does the same.
MAX_KEY_BYTES = 768


@dataclass(frozen=True)
class Source:
    """A video as it is in the bucket now."""

    bucket: str
    key: str
    etag: str = ""
    version: str | None = None

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    @property
    def metadata(self) -> dict[str, str]:
        """What every object made from the video says about it."""
        return {
            "source-bucket": self.bucket,
            "source-key": key_as_metadata(self.key),
            "source-etag": self.etag,
        }


def key_as_metadata(key: str) -> str:
    """The key in ASCII: percent-encoded, or `sha256:` and its hash where that is too long."""
    encoded = quote(key)
    if len(encoded) <= MAX_KEY_BYTES:
        return encoded
    return f"sha256:{sha256(key.encode()).hexdigest()}"


def look(s3: Any, named: Source) -> Source:
    """The object as it is now: its ETag and version, so that every frame is of that one."""
    try:
        head = s3.head_object(Bucket=named.bucket, Key=named.key)
    except ClientError as error:
        if error.response["Error"]["Code"] in MISSING:
            raise ffmpeg.VideoGone(
                "it was deleted before it was read. Upload it again if it is needed."
            ) from error
        if error.response["Error"]["Code"] in {"403", "AccessDenied"}:
            raise ffmpeg.VideoForbidden(
                "access denied. Give the function's role s3:GetObject on it and s3:ListBucket on "
                "its bucket, and kms:Decrypt if it is encrypted with a customer's key."
            ) from error
        raise
    if head["ContentLength"] == 0:
        raise ffmpeg.EmptyVideo("it has no bytes. Upload it again, whole.")
    if head.get("StorageClass") in ARCHIVED and 'ongoing-request="false"' not in head.get(
        "Restore", ""
    ):
        raise ffmpeg.VideoForbidden(
            f"it is archived ({head['StorageClass']}). Restore it, then send the event again."
        )
    version = head.get("VersionId")
    return Source(
        named.bucket,
        named.key,
        head["ETag"].strip('"'),
        version if version != "null" else None,
    )


def check_still_there(s3: Any, source: Source) -> None:
    """Raise VideoChanged if another video has taken the key since `source` was looked at.

    Whatever was written for the old one may then have replaced what an event of the new one wrote.
    The retry begins after it, and writes what is missing of the new one. A video that was deleted
    has no newer one after it.
    """
    try:
        head = s3.head_object(Bucket=source.bucket, Key=source.key)
    except ClientError as error:
        if error.response["Error"]["Code"] in MISSING:
            return
        raise
    if head["ETag"].strip('"') != source.etag:
        raise ffmpeg.VideoChanged(
            "it was overwritten while its faces were named. A retry names the new one's."
        )


def check_own(source: Source, results: list[recognizer.Result]) -> None:
    """Raise VideoChanged if the recognizer met another event's frame in the place of ours.

    An old event puts its frame where the new one's was, and the recognizer, called for the new
    one, writes the old one's name: possibly after the old event has seen that and mended all.
    """
    for result in results:
        # A recognizer that was deployed earlier does not say.
        if result.get("source_etag", source.etag) != source.etag:
            raise ffmpeg.VideoChanged(
                f"its frame {result['image_file_name']} was overwritten by the event of another "
                "video under this key. A retry names the faces of the one that is there."
            )


def kept_frames(s3: Any, bucket: str, source: Source, wanted: int) -> list[str]:
    """Keys of the frames that an earlier event left, if all are of this very video; else none."""
    expected = {**source.metadata, "frame-policy": frames.policy(wanted)}

    def metadata(index: int) -> dict[str, str]:
        found = _metadata(s3, bucket, frames.frame_key(source.key, index, wanted))
        return found if expected.items() <= found.items() else {}

    count = int(metadata(0).get("frame-count", "0"))
    with ThreadPoolExecutor(max_workers=4) as pool:
        whole = all(pool.map(metadata, range(1, count)))
    return [frames.frame_key(source.key, index, wanted) for index in range(count)] if whole else []


def presigned(s3: Any, source: Source, seconds: int) -> str:
    """A URL that reads exactly this version of the video for `seconds`."""
    version = {"VersionId": source.version} if source.version else {}
    url: str = s3.generate_presigned_url(
        "get_object",
        Params={"Bucket": source.bucket, "Key": source.key, **version},
        ExpiresIn=seconds,
    )
    return url


def put_frame(
    s3: Any, where: tuple[str, str], source: Source, frame: frames.Frame, count: int, policy: str
) -> None:
    """Upload one of `count` frames to `where` (bucket, key), with what it was made from."""
    bucket, key = where
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
            "frame-policy": policy,
        },
    )


def put_agreed(s3: Any, bucket: str, source: Source, results: list[recognizer.Result]) -> str:
    """Write the name most frames agree on, and nothing else, beside the frames' own names.

    It is left as it is where it already says the same of the same video.
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


def remove_surplus(s3: Any, bucket: str, source: Source, count: int) -> int:
    """Delete frames, or their names, that the video has no more; return how many there were.

    A longer video that it replaced, or a deployment that took more frames, left them. What was
    made of a video of another key stays, whatever it is called.
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


def _metadata(s3: Any, bucket: str, key: str) -> dict[str, str]:
    """An object's user metadata; none where there is no object."""
    try:
        return dict(s3.head_object(Bucket=bucket, Key=key)["Metadata"])
    except ClientError as error:
        if error.response["Error"]["Code"] in MISSING:
            return {}
        raise
