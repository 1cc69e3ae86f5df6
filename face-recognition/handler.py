"""The face-recognition function: frames in the stage-1 bucket to names in the output bucket."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
from botocore.exceptions import ClientError
from gallery import NO_FACE
from images import UnreadableImage, read_rgb
from recognition import Recognizer

MAX_METADATA_BYTES = 2048  # S3's limit for all user metadata of an object

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


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Recognise the frames that the payload names.

    Payload: {"bucket_name", "image_file_name"} or {"bucket_name", "image_file_names"}. Every frame
    is tried; then RecognitionFailed is raised if any failed, so that nothing counts as done that
    is not. Raises BadPayload before anything is tried.
    """
    bucket, keys = read_payload(event)
    output_bucket = os.environ["OUTPUT_BUCKET"]
    if output_bucket == bucket:
        raise BadPayload(f"Frames and names cannot share the bucket {bucket}.")
    _recognizer.refresh()
    results, failures = [], []
    for key in keys:
        try:
            results.append(recognise(bucket, key, output_bucket))
        except (UnreadableImage, ClientError) as error:
            failures.append(f"{bucket}/{key}: {error}")
    if failures:
        raise RecognitionFailed(f"{len(failures)} of {len(keys)} frames: " + "; ".join(failures))
    return {"model": _recognizer.model, "results": results}


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


def recognise(bucket: str, key: str, output_bucket: str) -> dict[str, Any]:
    """One frame's result; its output object is written unless it is there already."""
    started = time.monotonic()
    frame = read_frame(bucket, key)
    target = output_key(key)
    wanted = identity(frame)
    faces = known_faces(output_bucket, target, wanted)
    is_new = faces is None
    if faces is None:
        faces = [face.as_json() for face in _recognizer.name_faces(read_rgb(frame.data))]
        _s3.put_object(
            Bucket=output_bucket,
            Key=target,
            Body=output_text(faces).encode(),
            ContentType="text/plain; charset=utf-8",
            Metadata=output_metadata(wanted, faces),
        )
    line = {"step": "recognise", "frame": f"{bucket}/{key}", "new": is_new}
    print(json.dumps({**line, "faces": faces, "seconds": round(time.monotonic() - started, 3)}))
    return {"image_file_name": key, "output_key": target, "faces": faces}


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
        "source-key": quote(frame.key),
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


def known_faces(bucket: str, key: str, wanted: dict[str, str]) -> list[dict[str, Any]] | None:
    """The faces that an earlier run wrote for the same frame and settings, else None."""
    try:
        metadata = _s3.head_object(Bucket=bucket, Key=key)["Metadata"]
    except ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
            return None
        raise
    if "faces" not in metadata or any(metadata.get(k) != v for k, v in wanted.items()):
        return None
    faces: list[dict[str, Any]] = json.loads(metadata["faces"])
    return faces


def output_text(faces: list[dict[str, Any]]) -> str:
    """What the text object holds: the name, or one a line, largest face first."""
    return "\n".join(face["name"] for face in faces) or NO_FACE


def output_metadata(wanted: dict[str, str], faces: list[dict[str, Any]]) -> dict[str, str]:
    """The output's user metadata; ASCII, as headers are. `faces` is left out if it is too long."""
    metadata = {**wanted, "name": quote(output_text(faces))}
    if faces:
        largest = faces[0]
        metadata["distance"] = str(largest["distance"])
        metadata["probability"] = str(largest["probability"])
        metadata["box"] = json.dumps(largest["box"], separators=(",", ":"))
    whole = {**metadata, "faces": json.dumps(faces, separators=(",", ":"))}
    size = sum(len(name) + len(value) for name, value in whole.items())
    return whole if size < MAX_METADATA_BYTES else metadata
