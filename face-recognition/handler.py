"""Lambda `face-recognition`: read frames from stage-1 and write names to the output bucket."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
from botocore.exceptions import ClientError
from gallery import NO_FACE
from images import UnreadableImage, read_rgb
from output_keys import key_as_metadata, output_key
from recognition import Recognizer

# Parallel S3 requests. Each takes about 20 ms, in which another frame can be computed.
S3_AT_ONCE = 8
MAX_METADATA_BYTES = 2048  # S3's limit for all user metadata of an object

# Loaded once per environment, in its INIT phase.
_started = time.monotonic()
_s3 = boto3.client("s3")
_recognizer = Recognizer.from_environment(Path(__file__).resolve().parent, _s3)
print(json.dumps({"step": "init", "seconds": round(time.monotonic() - _started, 3)}))


class InvocationError(Exception):
    """The frames of an invocation were not all recognized."""


class BadPayload(InvocationError):
    """The payload is malformed; the message says how."""


class RecognitionFailed(InvocationError):
    """Some frames could not be processed; the message names each with its reason."""


@dataclass(frozen=True)
class Frame:
    """A frame in S3: its bytes, ETag (without quotes) and user metadata."""

    bucket: str
    key: str
    data: bytes
    etag: str
    metadata: dict[str, str]


@dataclass(frozen=True)
class Recognized:
    """A frame and its faces, largest first, as they appear in the answer.

    `wanted` is the frame's `identity`; `is_new` says that the output must still be written.
    """

    frame: Frame
    faces: list[dict[str, Any]]
    wanted: dict[str, str]
    is_new: bool

    @property
    def target(self) -> str:
        """The key of the output object."""
        return output_key(self.frame.key)


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Recognize the frames that the payload names.

    Payload: {"bucket_name", "image_file_name"} or {"bucket_name", "image_file_names"}. Tries every
    frame, then raises RecognitionFailed if any failed. Raises BadPayload before trying any.
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
    """Recognize each frame and write its output; raises RecognitionFailed after trying all.

    Other frames are read and written while one is computed.
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
    """Collect an error of one frame in `failures`, so that the other frames are still tried.

    Errors that would affect every frame propagate.
    """
    try:
        yield
    except (UnreadableImage, ClientError) as error:
        failures.append(f"{frame}: {error}")


def read_payload(event: Any) -> tuple[str, list[str]]:
    """The bucket and keys in a payload; raises BadPayload."""
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
        raise BadPayload("Every image file name must be a string that is not empty.")
    if len(set(keys)) != len(keys):
        raise BadPayload("image_file_names lists a frame twice.")
    return bucket, keys


def recognize(frame: Frame, output: dict[str, str]) -> Recognized:
    """The faces of a frame, taken from its output's metadata if that is up to date."""
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
    """Read a frame from S3; raises ClientError if it is missing or may not be read."""
    answer = _s3.get_object(Bucket=bucket, Key=key)
    etag = answer["ETag"].strip('"')
    return Frame(bucket, key, answer["Body"].read(), etag, answer["Metadata"])


def identity(frame: Frame) -> dict[str, str]:
    """The metadata that an output has if it was made from this frame with the current settings."""
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


def read_metadata(bucket: str, key: str) -> dict[str, str]:
    """The user metadata of an output; empty if there is no output."""
    try:
        return _s3.head_object(Bucket=bucket, Key=key)["Metadata"]
    except ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
            return {}
        raise


def known_faces(metadata: dict[str, str], wanted: dict[str, str]) -> list[dict[str, Any]] | None:
    """The faces that an earlier run wrote for the same frame and settings, or None."""
    if "faces" not in metadata or any(metadata.get(k) != v for k, v in wanted.items()):
        return None
    faces: list[dict[str, Any]] = json.loads(metadata["faces"])
    return faces


def write_output(bucket: str, done: Recognized) -> None:
    """Write the output object, unless it is up to date."""
    if done.is_new:
        _s3.put_object(
            Bucket=bucket,
            Key=done.target,
            Body=output_text(done.faces).encode(),
            ContentType="text/plain; charset=utf-8",
            Metadata=output_metadata(done.wanted, done.faces),
        )


def output_text(faces: list[dict[str, Any]]) -> str:
    """The text of an output: one name per line, largest face first."""
    return "\n".join(face["name"] for face in faces) or NO_FACE


def output_metadata(wanted: dict[str, str], faces: list[dict[str, Any]]) -> dict[str, str]:
    """The output's user metadata, in ASCII because S3 sends it in headers.

    If it is too long for S3, it omits `faces`, then `name`, which the text repeats.
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
