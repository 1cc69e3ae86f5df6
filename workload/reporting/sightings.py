"""Reads each video's answer, faces and first frame from the buckets."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import botocore.exceptions

from pipeline.answers import NO_FACE
from pipeline.aws import Aws, AwsError, error_code, explain
from pipeline.keys import frame_key, output_key, stem
from pipeline.settings import Deployment
from workload.reporting.pictures import Picture, thumbnail
from workload.reporting.verdict import Verdict, agreed_verdict, face_verdict
from workload.running.run import VideoRun, WorkloadRun

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class Face:
    """One face in a frame; `box` is (left, top, right, bottom) in pixels of the whole frame."""

    name: str
    distance: float | None
    box: tuple[float, float, float, float] | None
    verdict: Verdict


@dataclass(frozen=True)
class Sighting:
    """One video's card. `faces` are those in the first frame, which is the one shown."""

    video: VideoRun
    verdict: Verdict
    answer: str = ""
    faces: tuple[Face, ...] = ()
    threshold: float | None = None
    model: str = ""
    picture: Picture | None = None
    frames: int = 1
    votes: int | None = None
    note: str = ""

    @property
    def distance(self) -> float | None:
        """The distance of the largest face."""
        return self.faces[0].distance if self.faces else None


@dataclass(frozen=True)
class _Object:
    body: bytes
    etag: str
    metadata: dict[str, str]


def look_at(aws: Aws, deployment: Deployment, run: WorkloadRun) -> list[Sighting]:
    """A card for each of the run's videos, in order. Raises AwsError if S3 denies access."""
    s3 = aws.client("s3")
    with ThreadPoolExecutor(max_workers=8) as pool:
        return list(pool.map(partial(_look, s3, deployment), run.videos))


def _look(s3: S3Client, deployment: Deployment, video: VideoRun) -> Sighting:
    output = None
    if video.answered is not None:  # otherwise the output may be from an earlier run
        output = _read(s3, deployment.output_bucket, output_key(video.key))
    if output is None:
        gone = "The answer arrived but has since been deleted."
        note = video.failure or (gone if video.answered else "No answer by the end of the run.")
        return Sighting(video, Verdict.MISSING, note=note)
    if "frames" in output.metadata:
        return _agreed(s3, deployment, video, output)
    sighting = of_output(video, output.body, output.metadata)
    return _with_picture(s3, deployment, sighting, frame_key(video.key), output)


def _agreed(s3: S3Client, deployment: Deployment, video: VideoRun, output: _Object) -> Sighting:
    """The card of a video with several frames: the agreed name, and the first frame's faces."""
    name = _text(output.body)
    frames, votes = _number(output.metadata, "frames"), _number(output.metadata, "votes")
    first_key = f"{stem(video.key)}/output-00"
    first = _read(s3, deployment.output_bucket, f"{first_key}.txt")
    sighting = Sighting(video, Verdict.UNSURE)
    if first is not None:
        sighting = of_output(video, first.body, first.metadata)
        sighting = _with_picture(s3, deployment, sighting, f"{first_key}.jpg", first)
    return replace(
        sighting,
        answer=name,
        frames=int(frames or 1),
        votes=int(votes or 0),
        model=output.metadata.get("model", ""),
        verdict=agreed_verdict(
            name,
            int(votes or 0),
            int(frames or 1),
            sighting.verdict if sighting.answer == name else None,
        ),
    )


def of_output(video: VideoRun, body: bytes, metadata: dict[str, str]) -> Sighting:
    """The card for an output, without its picture. Invalid metadata is ignored."""
    answer, threshold = _text(body), _number(metadata, "threshold")
    try:
        found = json.loads(metadata["faces"])
        faces = tuple(_face(item, threshold) for item in found)
    except (KeyError, ValueError, TypeError, AttributeError):
        faces = _largest(answer, metadata, threshold)
    if answer == NO_FACE:
        verdict = Verdict.NO_FACE
    elif faces:
        verdict = faces[0].verdict
    else:
        verdict = face_verdict(answer, None, None)
    return Sighting(
        video,
        verdict,
        answer=", ".join(answer.split("\n")),
        faces=faces,
        threshold=threshold,
        model=metadata.get("model", ""),
    )


def _largest(answer: str, metadata: dict[str, str], threshold: float | None) -> tuple[Face, ...]:
    """The largest face, the only one in the metadata when all faces would not fit."""
    if "box" not in metadata:
        return ()
    try:
        box = json.loads(metadata["box"])
    except ValueError:
        box = None
    name = answer.split("\n")[0]
    item = {"name": name, "distance": _number(metadata, "distance"), "box": box}
    return (_face(item, threshold),)


def _face(item: dict[str, Any], threshold: float | None) -> Face:
    name, distance = str(item["name"]), _finite(item.get("distance"))
    box = [_finite(edge) for edge in item["box"]] if isinstance(item.get("box"), list) else []
    edges = tuple(edge for edge in box if edge is not None)
    whole = (edges[0], edges[1], edges[2], edges[3]) if len(box) == len(edges) == 4 else None
    return Face(name, distance, whole, face_verdict(name, distance, threshold))


def _with_picture(
    s3: S3Client, deployment: Deployment, sighting: Sighting, key: str, output: _Object
) -> Sighting:
    frame = _read(s3, deployment.stage_1_bucket, key)
    if frame is None:
        return replace(sighting, note="The frame is no longer in the stage-1 bucket.")
    if output.metadata.get("frame-etag", frame.etag) != frame.etag:
        return replace(sighting, note="The frame has since been replaced.")
    picture = thumbnail(frame.body)
    note = "" if picture else "The frame is not an image."
    return replace(sighting, picture=picture, note=note)


def _read(s3: S3Client, bucket: str, key: str) -> _Object | None:
    """The object; None if it does not exist."""
    try:
        answer = s3.get_object(Bucket=bucket, Key=key)
        body = answer["Body"].read()
    except botocore.exceptions.ClientError as error:
        if error_code(error) in ("NoSuchKey", "404"):
            return None
        raise AwsError(
            f"Cannot read s3://{bucket}/{key}: {explain(error)} The report needs s3:GetObject on "
            "the stage-1 and output buckets, and s3:ListBucket."
        ) from error
    return _Object(body, answer["ETag"].strip('"'), answer["Metadata"])


def _text(body: bytes) -> str:
    return body.decode("utf-8", "replace").strip()


def _number(metadata: dict[str, str], name: str) -> float | None:
    return _finite(metadata.get(name))


def _finite(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
