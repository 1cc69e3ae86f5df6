"""Reads each video's answer, and the faces and frame that it comes from, from the buckets."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import botocore.exceptions

from pipeline.answers import NO_FACE
from pipeline.aws import Aws, AwsError, error_code, explain
from pipeline.keys import frame_key, output_key, stem
from pipeline.settings import Deployment
from workload.reporting.faces import (
    Face,
    Person,
    answer_face,
    faces_in,
    nearest_in,
    number,
    people_in,
    spoken,
)
from workload.reporting.pictures import Picture, thumbnail
from workload.reporting.verdict import Verdict, agreed_verdict, face_verdict
from workload.running.buckets import objects
from workload.running.run import VideoRun, WorkloadRun

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class Sighting:
    """One video's card. `faces` are those in the frame that is shown: the answer's.

    `answering`: the face that the answer comes from. `people`: everybody found, if several frames
    were looked at. `time`: when the answer's frame is shown, in seconds from the video's start.
    """

    video: VideoRun
    verdict: Verdict
    answer: str = ""
    faces: tuple[Face, ...] = ()
    answering: Face | None = None
    nearest: str = ""
    threshold: float | None = None
    model: str = ""
    picture: Picture | None = None
    frames: int = 1
    votes: int | None = None
    people: tuple[Person, ...] = ()
    time: float | None = None
    note: str = ""

    @property
    def distance(self) -> float | None:
        """The distance of the face that the answer comes from."""
        return self.answering.distance if self.answering else None

    @property
    def said(self) -> str:
        """The answer as people read it; empty if there is none."""
        return spoken(self.answer, self.nearest, self.distance)


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
    return _with_picture(s3, deployment, of_output(video, output.body, output.metadata), output)


def of_output(video: VideoRun, body: bytes, metadata: dict[str, str]) -> Sighting:
    """The card for an output, without its picture. Invalid metadata is ignored."""
    answer, threshold = _text(body), number(metadata, "threshold")
    faces = faces_in(answer, metadata)
    face = answer_face(faces, metadata)
    frames, votes = number(metadata, "frames"), number(metadata, "votes")
    distance = face.distance if face else number(metadata, "distance")
    if answer == NO_FACE:
        verdict = Verdict.NO_FACE
    elif frames is None:
        verdict = face.verdict if face else face_verdict(answer, None, None)
    else:
        verdict = agreed_verdict(answer, int(votes or 0), int(frames), distance, threshold)
    return Sighting(
        video,
        verdict,
        answer=answer,
        faces=faces,
        answering=face,
        nearest=nearest_in(answer, face, metadata),
        threshold=threshold,
        model=metadata.get("model", ""),
        frames=int(frames or 1),
        votes=None if frames is None else int(votes or 0),
        people=people_in(metadata),
    )


def _with_picture(
    s3: S3Client, deployment: Deployment, sighting: Sighting, output: _Object
) -> Sighting:
    """The card with the frame that its answer comes from, which the ETag in the text tells."""
    key, etag = frame_key(sighting.video.key), output.metadata.get("frame-etag")
    frame = _read(s3, deployment.stage_1_bucket, key)
    if (frame is None or frame.etag != etag) and sighting.frames > 1:  # FRAMES=N keeps them all
        prefix = f"{stem(sighting.video.key)}/output-"
        kept = {
            item["ETag"].strip('"'): item["Key"]
            for item in objects(s3, deployment.stage_1_bucket, prefix)
        }
        if etag in kept:
            frame = _read(s3, deployment.stage_1_bucket, kept[etag])
    if frame is None:
        return replace(sighting, note="The frame is no longer in the stage-1 bucket.")
    if etag not in (None, frame.etag):
        return replace(sighting, note="The frame has since been replaced.")
    picture = thumbnail(frame.body)
    note = "" if picture else "The frame is not an image."
    time = number(frame.metadata, "frame-time")
    return replace(sighting, picture=picture, note=note, time=time)


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
