"""S3 objects: a video and its frames in stage-1. Its answer is in video_answer.py."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import keys
from botocore.exceptions import BotoCoreError, ClientError
from frames import Frame
from recognizer import Result
from video_errors import EmptyVideo, VideoChanged, VideoForbidden, VideoGone

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ARCHIVED = {"GLACIER", "DEEP_ARCHIVE"}
MISSING = {"404", "NoSuchKey", "NotFound"}
# S3 allows 2,048 bytes for all user metadata of an object, and a percent-encoded key can take
# 3,072. A test compares this with face-recognition/output_keys.py.
MAX_KEY_BYTES = 768

# An object's ETag and user metadata; both empty if there is no object.
Head = tuple[str, dict[str, str]]


@dataclass(frozen=True)
class Source:
    """A video, as it is in its bucket now; `size` is in bytes."""

    bucket: str
    key: str
    etag: str = ""
    version: str | None = None
    size: int = 0

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
        head["ContentLength"],
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


def check_frames_match(source: Source, results: list[Result]) -> None:
    """Raise VideoChanged if the recognizer read a frame that another event had put in its place.

    An event of an old video can replace the new video's frame. The recognizer, called for the new
    video, then answers for the old one, perhaps after the old event's retry has repaired
    everything.
    """
    for result in results:
        if result["source_etag"] != source.etag:
            raise VideoChanged(
                f"its frame {result['image_file_name']} was overwritten by the event of another "
                "video with this key. A retry names the faces of the current video."
            )


@dataclass(frozen=True)
class Plan:
    """Which frames of a video are taken: `auto`, or a number of them."""

    frames: int
    is_auto: bool = False

    @property
    def keeps_one(self) -> bool:
        """Whether stage-1 keeps one frame per video."""
        return self.is_auto or self.frames == 1

    @property
    def policy(self) -> str:
        """The name of the policy; frames made under another policy are made again."""
        return "auto" if self.is_auto else "first" if self.frames == 1 else f"even-{self.frames}"

    def key(self, video: str, index: int) -> str:
        """The stage-1 key of the frame `index` that is kept of `video`."""
        return keys.frame_key(video) if self.keeps_one else keys.numbered_key(video, index)


@dataclass(frozen=True)
class Stored:
    """A frame in stage-1: its key, its ETag, and what its metadata say."""

    key: str
    etag: str
    index: int
    time: float
    damaged: bool


def inspect_both(s3: S3Client, named: Source, bucket: str, frame_key: str) -> tuple[Source, Head]:
    """What `inspect` gives, and the first frame in `bucket`: two requests at the same time."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        frame = pool.submit(described, s3, bucket, frame_key)
        return inspect(s3, named), frame.result()


def kept_frames(
    s3: S3Client, bucket: str, source: Source, plan: Plan, first_head: Head
) -> list[Stored]:
    """The frames that an earlier event kept of this very video; [] if any is missing.

    `first_head` describes the first one.
    """

    def kept(index: int) -> Stored | None:
        return _kept(source, plan, index, described(s3, bucket, plan.key(source.key, index)))[0]

    first, count = _kept(source, plan, 0, first_head)
    with ThreadPoolExecutor(max_workers=4) as pool:
        found = [first, *pool.map(kept, range(1, count))]
    return [stored for stored in found if stored] if all(found) else []


def _kept(source: Source, plan: Plan, index: int, head: Head) -> tuple[Stored | None, int]:
    """A frame of this very video and policy, and how many there are; None if there is none."""
    key = plan.key(source.key, index)
    etag, found = head
    expected = {**source.metadata, "frame-policy": plan.policy}
    if not expected.items() <= found.items():
        return None, 0
    # Anybody may have edited an object: what this code did not write is made again.
    frame, count = (_whole_number(found.get(f"frame-{name}", "")) for name in ("index", "count"))
    time = _seconds(found.get("frame-time", ""))
    if frame is None or time is None or count is None or not 1 <= count <= plan.frames:
        return None, 0
    stored = Stored(key, etag, frame, time, "frame-damaged" in found)
    return stored, 1 if plan.keeps_one else count


def _whole_number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,3}", text) else None


def _seconds(text: str) -> float | None:
    """A time as `put_frame` writes it."""
    return float(text) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?(e[+-][0-9]{2})?", text) else None


def presigned(s3: S3Client, source: Source, seconds: int) -> str:
    """A URL that can read exactly this version of the video for `seconds`.

    S3 answers with a plain type and encoding, whatever the object was put with: ffmpeg would
    unpack a video whose metadata say gzip, and fail.
    """
    version = {"VersionId": source.version} if source.version else {}
    return s3.generate_presigned_url(
        "get_object",
        Params={
            "Bucket": source.bucket,
            "Key": source.key,
            "ResponseContentType": "application/octet-stream",
            "ResponseContentEncoding": "identity",
            **version,
        },
        ExpiresIn=seconds,
    )


def fetch(s3: S3Client, source: Source, path: Path) -> bool:
    """Write exactly this version of the video to `path`; False if the store does not give it."""
    version: Any = {"VersionId": source.version} if source.version else {}
    try:
        body = s3.get_object(
            Bucket=source.bucket, Key=source.key, IfMatch=f'"{source.etag}"', **version
        )["Body"]
        with path.open("wb") as file:
            for block in body.iter_chunks(1 << 20):
                file.write(block)
    except (ClientError, BotoCoreError):
        return False
    return True


def put_frame(
    s3: S3Client, bucket: str, source: Source, plan: Plan, count: int, key: str, frame: Frame
) -> Stored:
    """Upload one of `count` frames with its origin to `key`."""
    damaged = {"frame-damaged": "true"} if frame.damaged else {}
    answer = s3.put_object(
        Bucket=bucket,
        Key=key,
        Body=frame.path.read_bytes(),
        ContentType="image/jpeg",
        Metadata={
            **source.metadata,
            "frame-index": str(frame.index),
            "frame-count": str(count),
            "frame-time": f"{frame.time:g}",
            "frame-policy": plan.policy,
            **damaged,
        },
    )
    return Stored(key, answer["ETag"].strip('"'), frame.index, frame.time, frame.damaged)


def remove_surplus(s3: S3Client, bucket: str, source: Source, count: int) -> int:
    """Delete frames from index `count` on, and texts of frames; return how many there were.

    A longer video under the same key, a second look or a deployment that took more frames left
    the frames; an older deployment left the texts. If several frames are kept (`count` is not 0),
    so is the frame of a deployment that kept one. Objects made from videos with other keys stay,
    whatever their names.
    """
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=f"{keys.stem(source.key)}/output-"
    )
    made = [item["Key"] for page in pages for item in page.get("Contents", [])]
    if count:
        single = keys.frame_key(source.key)
        made += [single, single + keys.EMBEDDINGS_ENDING]
    surplus = [
        key
        for key in made
        if keys.is_surplus(key, source.key, count)
        and is_made_from(source, described(s3, bucket, key)[1])
    ]
    # Embeddings stay for as long as their version of the video is the current one.
    for key in (key for key in made if keys.is_of_frame(key, source.key)):
        metadata = described(s3, bucket, key)[1]
        if is_made_from(source, metadata) and metadata.get("source-etag") != source.etag:
            surplus.append(key)
    for key in surplus:
        s3.delete_object(Bucket=bucket, Key=key)
    return len(surplus)


def is_made_from(source: Source, metadata: dict[str, str]) -> bool:
    """Whether an object with these metadata was made from a video with this key."""
    own = {name: source.metadata[name] for name in ("source-bucket", "source-key")}
    return own.items() <= metadata.items()


def described(s3: S3Client, bucket: str, key: str) -> Head:
    """An object's ETag and user metadata; both empty if there is no object."""
    try:
        head = s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] in MISSING:
            return "", {}
        raise
    return head["ETag"].strip('"'), dict(head["Metadata"])
