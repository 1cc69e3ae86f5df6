"""The face-recognition function: frames in the stage-1 bucket to names in the output bucket."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
from botocore.exceptions import ClientError
from gallery import NO_FACE
from images import UnreadableImage, read_rgb
from recognition import Recognizer

# Requests to S3 side by side: each takes some 20 ms, in which another frame can be computed.
S3_AT_ONCE = 8
MAX_METADATA_BYTES = 2048  # S3's limit for all user metadata of an object
# A key takes up to 3,072 bytes when it is percent-encoded. video-splitting/store.py does the same.
MAX_KEY_BYTES = 768

# Loaded in INIT, once an environment: the next frames find everything in memory.
_started = time.monotonic()
_s3 = boto3.client("s3")
_recognizer = Recognizer.from_environment(Path(__file__).resolve().parent, _s3)
print(json.dumps({"step": "init", "seconds": round(time.monotonic() - _started, 3)}))


class BadPayload(ValueError):
    """The payload is not of the agreed form; the message says what is wrong with it."""


class RecognitionFailed(RuntimeError):
    """Some frames could not be handled; the message names each and says why."""


@dataclass(frozen=True)
class Frame:
    """One frame in S3: its bytes, ETag (no quotes) and user metadata."""

    bucket: str
    key: str
    data: bytes
    etag: str
    metadata: dict[str, str]


@dataclass(frozen=True)
class Recognized:
    """A frame and its faces, as the answer has them, largest first.

    `wanted` is the frame's `identity`; `is_new`: the output is still to be written.
    """

    frame: Frame
    faces: list[dict[str, Any]]
    wanted: dict[str, str]
    is_new: bool

    @property
    def target(self) -> str:
        """The key of its output."""
        return output_key(self.frame.key)


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Recognize the frames that the payload names.

    Payload: {"bucket_name", "image_file_name"} or {"bucket_name", "image_file_names"}. Every frame
    is tried; then RecognitionFailed is raised if any failed, so that nothing counts as done that
    is not. Raises BadPayload before anything is tried.
    """
    bucket, keys = read_payload(event)
    output_bucket = os.environ["OUTPUT_BUCKET"]
    if output_bucket == bucket:
        raise BadPayload(f"Frames and names cannot share the bucket {bucket}.")
    _recognizer.refresh()
    results = [
        {
            "image_file_name": done.frame.key,
            "output_key": done.target,
            "source_etag": done.wanted["source-etag"],
            "faces": done.faces,
        }
        for done in recognize_all(bucket, keys, output_bucket)
    ]
    return {"model": _recognizer.model, "results": results}


def recognize_all(bucket: str, keys: list[str], output_bucket: str) -> list[Recognized]:
    """Each frame's faces, with its output written; raises RecognitionFailed when all were tried.

    Frames are read, and outputs written, while others are computed.
    """
    done: list[Recognized] = []
    failures: list[str] = []
    with ThreadPoolExecutor(S3_AT_ONCE) as pool:
        looks = [
            (
                pool.submit(read_frame, bucket, key),
                pool.submit(read_metadata, output_bucket, output_key(key)),
            )
            for key in keys
        ]
        writes = []
        for key, (frame, output) in zip(keys, looks, strict=True):
            with noting(f"{bucket}/{key}", failures):
                done.append(recognize(frame.result(), output.result()))
                writes.append((key, pool.submit(write_output, output_bucket, done[-1])))
        for key, write in writes:
            with noting(f"{bucket}/{key}", failures):
                write.result()
    if failures:
        raise RecognitionFailed(f"{len(failures)} of {len(keys)} frames: " + "; ".join(failures))
    return done


@contextmanager
def noting(frame: str, failures: list[str]) -> Iterator[None]:
    """Add to `failures` what goes wrong with one frame and must not keep others from being tried.

    What goes wrong with everything is raised as it is.
    """
    try:
        yield
    except (UnreadableImage, ClientError) as error:
        failures.append(f"{frame}: {error}")


def read_payload(event: Any) -> tuple[str, list[str]]:
    """The bucket and the keys that a payload names; raises BadPayload."""
    if not isinstance(event, dict):
        raise BadPayload("The payload must be a JSON object.")
    bucket = event.get("bucket_name")
    if not isinstance(bucket, str) or not bucket:
        raise BadPayload("The payload has no bucket_name.")
    if ("image_file_name" in event) == ("image_file_names" in event):
        raise BadPayload("The payload must have either image_file_name or image_file_names.")
    keys = event.get("image_file_names", [event.get("image_file_name")])
    if not isinstance(keys, list) or not keys:
        raise BadPayload("image_file_names must be a list of at least one key.")
    if not all(isinstance(key, str) and key for key in keys):
        raise BadPayload("Every image file name must be a text that is not empty.")
    if len(set(keys)) != len(keys):
        raise BadPayload("image_file_names names a frame twice.")
    return bucket, keys


def recognize(frame: Frame, output: dict[str, str]) -> Recognized:
    """The faces of a frame, taken from its output's metadata where that is already the frame's."""
    started = time.monotonic()
    wanted = identity(frame)
    faces = known_faces(output, wanted)
    is_new = faces is None
    if faces is None:
        faces = [face.as_json() for face in _recognizer.name_faces(read_rgb(frame.data))]
    line = {"step": "embed", "frame": f"{frame.bucket}/{frame.key}", "new": is_new}
    print(json.dumps({**line, "faces": faces, "seconds": round(time.monotonic() - started, 3)}))
    return Recognized(frame, faces, wanted, is_new)


def read_frame(bucket: str, key: str) -> Frame:
    """The frame in S3; raises ClientError when it is not there or may not be read."""
    answer = _s3.get_object(Bucket=bucket, Key=key)
    etag = answer["ETag"].strip('"')
    return Frame(bucket, key, answer["Body"].read(), etag, answer["Metadata"])


def output_key(frame_key: str) -> str:
    """`a/test_00.jpg` -> `a/test_00.txt`; another ending stays: `x.png` -> `x.png.txt`."""
    return frame_key.removesuffix(".jpg") + ".txt"


def identity(frame: Frame) -> dict[str, str]:
    """What an output must name to be this frame's, made the way it would be made now."""
    own = {
        "source-bucket": frame.bucket,
        "source-key": key_as_metadata(frame.key),
        "source-etag": frame.etag,
    }
    source = {name: frame.metadata.get(name, value) for name, value in own.items()}
    return {
        **source,
        "frame-etag": frame.etag,
        "model": _recognizer.model,
        "gallery": _recognizer.gallery.digest,
        "threshold": f"{_recognizer.gallery.threshold:.4f}",
        "selection": _recognizer.faces,
    }


def key_as_metadata(key: str) -> str:
    """The key in ASCII: percent-encoded, or `sha256:` and its hash where that is too long."""
    encoded = quote(key)
    if len(encoded) <= MAX_KEY_BYTES:
        return encoded
    return f"sha256:{sha256(key.encode()).hexdigest()}"


def read_metadata(bucket: str, key: str) -> dict[str, str]:
    """The user metadata of the output that is there; none when there is no output."""
    try:
        metadata: dict[str, str] = _s3.head_object(Bucket=bucket, Key=key)["Metadata"]
    except ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
            return {}
        raise
    return metadata


def known_faces(metadata: dict[str, str], wanted: dict[str, str]) -> list[dict[str, Any]] | None:
    """The faces that an earlier run wrote for the same frame and settings, else None."""
    if "faces" not in metadata or any(metadata.get(k) != v for k, v in wanted.items()):
        return None
    faces: list[dict[str, Any]] = json.loads(metadata["faces"])
    return faces


def write_output(bucket: str, done: Recognized) -> None:
    """Write the output object, unless it is there already."""
    if done.is_new:
        _s3.put_object(
            Bucket=bucket,
            Key=done.target,
            Body=output_text(done.faces).encode(),
            ContentType="text/plain; charset=utf-8",
            Metadata=output_metadata(done.wanted, done.faces),
        )


def output_text(faces: list[dict[str, Any]]) -> str:
    """What the text object holds: the name, or one a line, largest face first."""
    return "\n".join(face["name"] for face in faces) or NO_FACE


def output_metadata(wanted: dict[str, str], faces: list[dict[str, Any]]) -> dict[str, str]:
    """The output's user metadata; ASCII, as headers are.

    `faces`, then `name`, which the text has, too, are left out where they are too long for S3.
    """
    metadata = {**wanted, "name": quote(output_text(faces))}
    if faces:
        largest = faces[0]
        metadata["distance"] = str(largest["distance"])
        metadata["probability"] = str(largest["probability"])
        metadata["box"] = json.dumps(largest["box"], separators=(",", ":"))
    metadata["faces"] = json.dumps(faces, separators=(",", ":"))
    for name in ("faces", "name"):
        if sum(len(key) + len(value) for key, value in metadata.items()) >= MAX_METADATA_BYTES:
            del metadata[name]
    return metadata
