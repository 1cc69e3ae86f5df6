"""The strangers of a run: the unknown faces that KEEP_EMBEDDINGS=1 kept, grouped by likeness."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.aws import Aws, AwsError
from pipeline.keys import EMBEDDINGS_ENDING, embeddings_key, frame_key, stem
from pipeline.settings import Deployment
from workload.reporting.likeness import distances, groups
from workload.reporting.pictures import cut_out
from workload.reporting.sightings import READERS, Sighting
from workload.running.buckets import objects
from workload.running.function_settings import environment_of
from workload.running.outputs import read_object

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MOST_FACES = 4000  # grouping more would take more than 0.5 GB
FACE_PX = 120
MOST_TRIES = 10  # to find a frame that is still there


@dataclass(frozen=True)
class UnknownFace:
    """A face that nobody was near enough to: where it is kept, and how it is compared.

    `number`: its place in the object `key`; `settings`: what its distances depend on.
    """

    video: str
    key: str
    number: int
    box: tuple[float, ...]
    embedding: Any
    settings: tuple[str, str, float]  # model, metric, threshold
    gallery: str
    frame_etag: str


@dataclass(frozen=True)
class Stranger:
    """The faces of somebody unknown. `picture` is a data URI of one; empty if there is none."""

    number: int
    faces: tuple[UnknownFace, ...]
    picture: str = ""

    @property
    def videos(self) -> list[str]:
        """The videos that show them."""
        return list(dict.fromkeys(face.video for face in self.faces))


def strangers_of(
    aws: Aws, deployment: Deployment, cards: Sequence[Sighting]
) -> tuple[Stranger, ...]:
    """The strangers in the videos of `cards`, those in most videos first.

    Nobody if the deployment does not keep embeddings. What another gallery than the answer's did
    not know does not count. Raises AwsError if S3 denies access or there are too many faces.
    """
    settings = environment_of(aws, deployment.recognizer, "AccessDeniedException")
    if settings["KEEP_EMBEDDINGS"] != "1":
        return ()
    s3, bucket = aws.client("s3"), deployment.stage_1_bucket
    videos = [card for card in cards if card.answer]
    with ThreadPoolExecutor(max_workers=READERS) as pool:
        found = [face for some in pool.map(partial(_kept, s3, bucket), videos) for face in some]
        if len(found) > MOST_FACES:
            raise AwsError(
                f"The run has {len(found):,} unknown faces, and at most {MOST_FACES:,} can be "
                "grouped: report on fewer videos at a time."
            )
        people = sorted(grouped(found), key=lambda faces: -len({face.video for face in faces}))
        pictures = pool.map(partial(_picture, s3, bucket), people)
        return tuple(
            Stranger(number, tuple(faces), picture)
            for number, (faces, picture) in enumerate(zip(people, pictures), 1)
        )


def grouped(faces: Sequence[UnknownFace]) -> list[list[UnknownFace]]:
    """The faces of each stranger; only faces of one model and threshold are compared."""
    people = []
    for settings in dict.fromkeys(face.settings for face in faces):
        some = [face for face in faces if face.settings == settings]
        apart = distances(np.stack([face.embedding for face in some]), settings[1])
        indexes = groups(apart, [face.key for face in some], settings[2])
        people += [[some[index] for index in group] for group in indexes]
    return people


def as_references(deployment: Deployment, region: str, strangers: Sequence[Stranger]) -> str:
    """Where the embeddings of each stranger are, as JSON for enroll.py: no embedding is in it."""
    people = {
        str(one.number): [{"key": face.key, "face": face.number} for face in one.faces]
        for one in strangers
    }
    found = {"bucket": deployment.stage_1_bucket, "region": region, "strangers": people}
    return json.dumps(found, separators=(",", ":")).replace("<", "\\u003c")


def _kept(s3: S3Client, bucket: str, card: Sighting) -> list[UnknownFace]:
    video = card.video.key
    numbered = objects(s3, bucket, f"{stem(video)}/output-")
    keys = [item["Key"] for item in numbered if item["Key"].endswith(EMBEDDINGS_ENDING)]
    faces = []
    for key in [embeddings_key(frame_key(video)), *keys]:
        found = read_object(s3, bucket, key)
        faces += faces_in(found.body, key, video) if found is not None else []
    return [face for face in faces if face.gallery == card.gallery]


def faces_in(body: bytes, key: str, video: str) -> list[UnknownFace]:
    """The faces in an object of embeddings. Raises AwsError if it is not one."""
    try:
        read = json.loads(body)
        settings = (str(read["model"]), str(read["metric"]), float(read["threshold"]))
        return [
            UnknownFace(
                video,
                key,
                number,
                tuple(map(float, face["box"])),
                np.frombuffer(base64.b64decode(face["embedding"]), "<f4"),
                settings,
                read["gallery"],
                read["frame-etag"],
            )
            for number, face in enumerate(read["faces"])
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise AwsError(f"{key} does not hold embeddings: {error!r}. Delete it.") from error


def _picture(s3: S3Client, bucket: str, faces: Sequence[UnknownFace]) -> str:
    """A face, cut out of its frame; empty if none of their frames is there any more."""
    for face in faces[:MOST_TRIES]:
        frame = read_object(s3, bucket, face.key[: -len(EMBEDDINGS_ENDING)])
        if frame is not None and frame.etag == face.frame_etag:
            return cut_out(frame.body, face.box, FACE_PX)
    return ""
