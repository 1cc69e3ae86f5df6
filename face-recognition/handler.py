"""Lambda `face-recognition`: read frames from stage-1 and write names to the output bucket."""

from __future__ import annotations

import gc
import os

gc.disable()  # INIT makes no garbage, and looking for it takes a twentieth of the time
# A second thread of NumPy's, which has nothing to do, takes 35 ms of one vCPU.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from botocore.exceptions import BotoCoreError, ClientError
from frame_answer import FaceJson, answer, known_faces, output_metadata, says
from gallery import UNKNOWN
from images import UnreadableImage, read_rgb
from log_line import begin, log
from output_keys import key_as_metadata, output_key
from recognition import Recognizer
from s3_objects import make_client, read_object
from unknown_faces import MAX_KEY_BYTES, keep

# Parallel S3 requests. Each takes about 20 ms, in which another frame can be computed.
S3_AT_ONCE = 8
KEEPS_EMBEDDINGS = os.environ.get("KEEP_EMBEDDINGS") == "1"
WRITE = ("always", "known", "never")  # when the output of a frame is written
MAX_FRAMES = 1000  # of a payload, as the splitter's FRAMES_PER_INVOKE

# Loaded once per environment, in its INIT phase.
_started = time.monotonic()
try:
    _s3 = make_client()
    _recognizer = Recognizer.from_environment(Path(__file__).resolve().parent, _s3)
finally:
    gc.enable()
log("init", "Environment is ready", seconds=round(time.monotonic() - _started, 3))


class InvocationError(Exception):
    """The frames of an invocation were not all recognized."""


class BadPayload(InvocationError):
    """The payload is malformed; the message says how."""


class RecognitionFailed(InvocationError):
    """Some frames could not be processed; the message names each with its reason."""


@dataclass(frozen=True)
class Payload:
    """What an invocation asks for.

    `unchanged` has the settings behind an answer that the caller already has, or is None.
    """

    bucket: str
    keys: list[str]
    write: str
    unchanged: dict[str, Any] | None
    votes: bool  # the frames are several of one video, which vote on its name


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

    `wanted` is the frame's `identity`; `is_said` means that the output gives this answer already,
    `to_write` that it must still be written.
    """

    frame: Frame
    faces: list[FaceJson]
    wanted: dict[str, str]
    is_said: bool
    to_write: bool

    @property
    def target(self) -> str:
        """The key of the output object."""
        return output_key(self.frame.key)


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Recognize the frames that the payload names.

    Payload: {"bucket_name", "image_file_name"}, which writes the frame's output as "write" says
    (WRITE), or {"bucket_name", "image_file_names"}, the frames of one video, which writes nothing.
    With "unchanged", nothing is computed if the settings are still the same. "correlation_id" is
    for the log. Tries every frame, then raises RecognitionFailed if any failed. Raises BadPayload
    before trying any.
    """
    begin(context, event)
    payload = read_payload(event)
    output_bucket = os.environ["OUTPUT_BUCKET"]
    if output_bucket == payload.bucket:
        raise BadPayload(f"Frames and names cannot share the bucket {payload.bucket}.")
    _recognizer.refresh()
    own = settings()
    if payload.unchanged is not None and own.items() <= payload.unchanged.items():
        return {**own, "unchanged": True, "results": []}
    results = [
        {
            "image_file_name": done.frame.key,
            "output_key": done.target,
            "source_etag": done.wanted["source-etag"],
            "frame_etag": done.frame.etag,
            "written": done.is_said or done.to_write,
            "faces": done.faces,
        }
        for done in recognize_all(payload, output_bucket)
    ]
    return {**own, "results": results}


def recognize_all(payload: Payload, output_bucket: str) -> list[Recognized]:
    """Recognize each frame, and write the output of a single one if the payload asks for it.

    Raises RecognitionFailed after trying all. Frames are read while another is computed.
    """
    done: list[Recognized] = []
    failures: list[str] = []
    bucket, keys = payload.bucket, payload.keys
    with ThreadPoolExecutor(S3_AT_ONCE) as pool:
        frames = [pool.submit(read_frame, bucket, key) for key in keys]
        # Frames that vote have no outputs.
        output = (
            None
            if payload.votes
            else pool.submit(read_metadata, output_bucket, output_key(keys[0]))
        )
        for key, frame in zip(keys, frames, strict=True):
            with noting(f"{bucket}/{key}", failures):
                found = output.result() if output else {}
                recognized = recognize(frame.result(), found, payload)
                if recognized.to_write:
                    write_output(output_bucket, recognized)
                done.append(recognized)
    if failures:
        noun = "frame" if len(keys) == 1 else "frames"
        raise RecognitionFailed(f"{len(failures)} of {len(keys)} {noun}: " + "; ".join(failures))
    return done


@contextmanager
def noting(frame: str, failures: list[str]) -> Iterator[None]:
    """Collect an error of one frame in `failures`, so that the other frames are still tried.

    The caller raises them all. The log has the traceback of one that nobody foresaw.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - it must not be blamed on another frame
        kind = type(error).__name__
        text = f"{kind}: {error}"
        log("embed", "Failed: embed", "ERROR", frame=frame, error=text, exception_name=kind)
        if isinstance(error, (UnreadableImage, ClientError, BotoCoreError)):
            failures.append(f"{frame}: {error}")
        else:
            traceback.print_exc()
            failures.append(f"{frame}: {text}")


def read_payload(event: Any) -> Payload:
    """Check a payload; raises BadPayload."""
    if not isinstance(event, dict):
        raise BadPayload("The payload must be a JSON object.")
    bucket = event.get("bucket_name")
    if not _is_name(bucket):
        raise BadPayload("The payload has no bucket_name.")
    if ("image_file_name" in event) == ("image_file_names" in event):
        raise BadPayload("The payload must have either image_file_name or image_file_names.")
    keys = event.get("image_file_names", [event.get("image_file_name")])
    if not isinstance(keys, list) or not keys:
        raise BadPayload("image_file_names must be a list of at least one key.")
    if len(keys) > MAX_FRAMES:
        raise BadPayload(f"image_file_names has {len(keys):,} keys: send at most {MAX_FRAMES:,}.")
    if not all(_is_name(key) for key in keys):
        raise BadPayload("Every image file name must be a string of UTF-8 that is not empty.")
    if len(set(keys)) != len(keys):
        raise BadPayload("image_file_names lists a frame twice.")
    for key in keys if KEEPS_EMBEDDINGS else ():
        if (length := len(key.encode())) > MAX_KEY_BYTES:
            raise BadPayload(
                f"With KEEP_EMBEDDINGS=1, S3 has room for a key of {MAX_KEY_BYTES:,} bytes, and "
                f"{key[:40]}... has {length:,}. Use a shorter key, or KEEP_EMBEDDINGS=0."
            )
    votes = "image_file_names" in event
    allowed = ("never",) if votes else WRITE
    write = event.get("write", allowed[0])
    if write not in allowed:
        name = "image_file_names" if votes else "image_file_name"
        raise BadPayload(f"With {name}, write must be one of {', '.join(allowed)}: {write!r}.")
    unchanged = event.get("unchanged")
    if "unchanged" in event and not isinstance(unchanged, dict):
        raise BadPayload("unchanged must be an object with the settings of an earlier answer.")
    return Payload(bucket, keys, write, unchanged, votes)


def _is_name(value: Any) -> TypeGuard[str]:
    """Whether a value may be the name of something in S3."""
    try:
        return isinstance(value, str) and len(value.encode()) > 0
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can escape
        return False


def recognize(frame: Frame, output: dict[str, str], payload: Payload) -> Recognized:
    """The faces of a frame, taken from its output's metadata if that is up to date."""
    started = time.monotonic()
    wanted = identity(frame)
    faces = known_faces(output, wanted)
    is_new = faces is None
    if faces is None:
        named = _recognizer.name_faces(read_rgb(frame.data), payload.votes)
        faces = [face.as_json() for face in named]
        if KEEPS_EMBEDDINGS:  # before the answer: a retry that finds the answer finds these as well
            size = _recognizer.gallery.image_size
            keep(_s3, frame.key, frame.bucket, wanted, size, named)
    if is_new:  # the faces of a crowd do not fit into the metadata, but the rest shows the answer
        is_said = output == output_metadata(wanted, faces)
    else:
        is_said = says(output, faces, _recognizer.faces)
    _, face = answer(faces, _recognizer.faces)
    is_known = face is not None and face["name"] != UNKNOWN
    asked = payload.write == "always" or (payload.write == "known" and is_known)
    log(
        "embed",
        "Frame recognized",
        frame=f"{frame.bucket}/{frame.key}",
        new=is_new,
        faces=faces,
        seconds=round(time.monotonic() - started, 3),
    )
    return Recognized(frame, faces, wanted, is_said, asked and not is_said)


def read_frame(bucket: str, key: str) -> Frame:
    """Read a frame from S3; raises what `read_object` raises."""
    found, data = read_object(_s3, Bucket=bucket, Key=key)
    return Frame(bucket, key, data, found["ETag"].strip('"'), found["Metadata"])


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
        **settings(),
    }


def settings() -> dict[str, str]:
    """What an answer depends on besides the frame, as in the response and in metadata."""
    return {
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


def write_output(bucket: str, done: Recognized) -> None:
    """Write the output object: the answer as text, and everything else as metadata."""
    text, _ = answer(done.faces, done.wanted["selection"])
    _s3.put_object(
        Bucket=bucket,
        Key=done.target,
        Body=text.encode(),
        ContentType="text/plain; charset=utf-8",
        Metadata=output_metadata(done.wanted, done.faces),
    )
